//! What only the leader does: the controllers of GitSyncs, Apps and SecretSyncs, joined by the adapters, and the care for
//! pods.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use homelab_core::client::{Clients, Kinds};
use homelab_core::events::Events;
use homelab_core::meta::manager;
use homelab_core::watch::Watches;
use homelab_gitops::backend::gix::GixSource;
use homelab_gitops::backend::trees::Trees;
use homelab_gitops::sealed::SealedFiles;
use homelab_gitops::source::GitSource;
use homelab_mesh::backend::choose::Routers;
use homelab_rollout::backend::helm::{HelmConfig, HelmDeployer};
use homelab_secrets::controller::sync::{AccountSecrets, KeptElsewhere, StoreSecrets};

use super::settings::Settings;
use super::{Daemon, Shared, publish, servers};
use crate::adapters::artifacts::TreeArtifacts;
use crate::adapters::sealed_files::CountedMount;
use crate::adapters::traffic::MeshTraffic;
use crate::args::Part;

/// Runs all controllers until the daemon stops or one of them ends.
pub(super) async fn run(daemon: &Daemon, shared: &Shared) -> Result<()> {
    let settings = &daemon.settings;
    let git = settings.data("git");
    let source = GixSource::new(git.clone());
    let source: Arc<dyn GitSource> = Arc::new(match &settings.args.local_git {
        Some(directory) => source.with_local(directory.clone()),
        None => source,
    });
    let stop = daemon.stop.clone();
    let watches = Watches::new(daemon.clients.own());
    let gitops = homelab_gitops::controller::run(
        gitops(daemon, shared, Arc::clone(&source), watches.clone()),
        stop.clone().cancelled_owned(),
    );
    let pods = homelab_secrets::controller::pods::run(pods(daemon));
    let synced =
        homelab_secrets::controller::sync::run(synced(daemon, shared, watches.clone()), stop.clone().cancelled_owned());
    let (gitops, pods, synced) =
        (async { gitops.await.context("run GitSyncs") }, async { pods.await.context("care for pods") }, async {
            synced.await.context("run SecretSyncs")
        });
    if !daemon.has(Part::Rollout) {
        return tokio::try_join!(gitops, pods, synced).map(|_| ());
    }
    let rollout = rollout(daemon, shared, Trees::new(source, git), watches)?;
    let rollout = homelab_rollout::controller::run(rollout, stop.cancelled_owned());
    tokio::try_join!(gitops, pods, synced, async { rollout.await.context("run Apps") }).map(|_| ())
}

fn synced(daemon: &Daemon, shared: &Shared, watches: Watches) -> homelab_secrets::controller::sync::Context {
    let secrets: Arc<dyn AccountSecrets> = match &shared.keeper {
        Some(keeper) => {
            let audit = keeper.audit.as_ref().map(|log| log.audit.clone());
            Arc::new(StoreSecrets::new(keeper.store.clone(), keeper.policies.clone(), audit))
        }
        None => Arc::new(KeptElsewhere),
    };
    homelab_secrets::controller::sync::Context {
        clients: daemon.clients.clone(),
        watches,
        events: events(&daemon.clients, &daemon.settings, manager::SECRETS),
        secrets,
        namespaces: daemon.settings.only(),
    }
}

fn pods(daemon: &Daemon) -> homelab_secrets::controller::pods::Context {
    let settings = &daemon.settings;
    homelab_secrets::controller::pods::Context {
        client: daemon.clients.own(),
        namespaces: settings.only(),
        webhook: settings.cluster_name(),
        left_alone: publish::left_alone(settings),
        holders: daemon.metrics.holders(),
        events: events(&daemon.clients, settings, manager::SECRETS),
        shutdown: daemon.stop.clone(),
    }
}

fn gitops(
    daemon: &Daemon,
    shared: &Shared,
    source: Arc<dyn GitSource>,
    watches: Watches,
) -> homelab_gitops::controller::Context {
    let sealed = shared.sealed.as_ref().map(|mount| {
        Arc::new(CountedMount::new(Arc::clone(mount), Arc::clone(&daemon.metrics))) as Arc<dyn SealedFiles>
    });
    homelab_gitops::controller::Context {
        clients: daemon.clients.clone(),
        kinds: Arc::new(Kinds::new(daemon.clients.own())),
        watches,
        events: events(&daemon.clients, &daemon.settings, manager::GITOPS),
        source,
        sealed,
        namespaces: daemon.settings.only(),
    }
}

fn rollout(
    daemon: &Daemon,
    shared: &Shared,
    trees: Trees,
    watches: Watches,
) -> Result<homelab_rollout::controller::Context> {
    let settings = &daemon.settings;
    let program = std::env::current_exe().context("find this program, which helm runs as its post-renderer")?;
    let injector =
        serde_json::to_value(servers::inject_config(settings, shared)).context("write the injector's settings")?;
    let helm = HelmConfig::new(settings.args.helm.clone(), program, injector);
    let deployer = HelmDeployer::start(&daemon.config, daemon.clients.clone(), helm).context("prepare helm")?;
    let routers = Routers::new(daemon.clients.own()).with_propagation(settings.args.propagation);
    Ok(homelab_rollout::controller::Context {
        clients: daemon.clients.clone(),
        watches,
        namespaces: settings.args.namespaces.clone(),
        deployer: Arc::new(deployer),
        traffic: Arc::new(MeshTraffic::new(routers, Arc::clone(&daemon.metrics))),
        secrets: Arc::new(servers::versions(daemon, shared)?),
        artifacts: Arc::new(TreeArtifacts::new(trees, Arc::clone(&daemon.metrics))),
        events: events(&daemon.clients, settings, manager::ROLLOUT),
        cases: daemon.cases.clone(),
    })
}

/// Events of one controller.
pub(super) fn events(clients: &Clients, settings: &Settings, controller: &str) -> Events {
    Events::new(clients.own(), controller, settings.identity.clone())
}
