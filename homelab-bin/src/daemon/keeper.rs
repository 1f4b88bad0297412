//! The part of the daemon that keeps secrets: the store, its log, policies, certificates, and what is published of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use homelab_core::client::Clients;
use homelab_core::meta::Account;
use homelab_secrets::backup::Board;
use homelab_secrets::policy::SharedPolicies;
use homelab_secrets::server::kubernetes_auth::TokenReviewer;
use homelab_secrets::server::restore::Awaited;
use homelab_secrets::store::{SecretStore, StorePlace, StoreVersions, Vault};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backups::Backups;
use super::certificates::{self, Authority, Leaf};
use super::sealed::Early;
use super::settings::Settings;
use super::store::Absent;
use super::{Daemon, OWNER, Shared, audit, jiff_now, leader, publish, store};
use crate::args;
use crate::cli::output;

/// How often it is looked whether the server certificate is due.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(3600);

/// What is made once, at the start, and used by everything about secrets.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) store: SecretStore,
    /// The same store with its seal.
    pub(super) vault: Vault,
    /// Where it lies.
    pub(super) place: StorePlace,
    pub(super) audit: Option<audit::Log>,
    /// How scheduled backups are doing.
    pub(super) backups: Board,
    pub(super) policies: SharedPolicies,
    pub(super) authority: Authority,
    pub(super) leaf: Arc<Leaf>,
}

/// Opens the store, waiting until somebody opens its seal if need be; none: a stop came first.
pub(super) async fn open(daemon: &Daemon, tasks: &mut JoinSet<Result<()>>) -> Result<Option<Shared>> {
    let settings = &daemon.settings;
    let mut kept = open_store(daemon).await?;
    let store = kept.handle();
    let authority = daemon
        .retry("certificates", async || publish::authority(&daemon.clients.own(), settings, jiff_now()).await)
        .await?;
    let names = certificates::names(&settings.args.service, &settings.home, &urls(settings));
    let leaf = Leaf::new(authority.clone(), names, jiff_now())?;
    // Who opens the store has to find it.
    let client = daemon.clients.own();
    daemon.retry("the published CA", async || publish::address(&client, settings, &authority).await).await?;
    if !early(daemon, &leaf, kept.is_awaited.then_some(&kept.vault)).wait(&kept.vault, &daemon.stop).await? {
        return Ok(None);
    }
    if kept.is_awaited {
        own_key(daemon, &mut kept).await?;
    }
    let audit = audit::open(&settings.args.audit, &settings.args.data_dir, &store).await?;
    let vault = kept.vault.clone();
    let place = audit::placed(kept.place, audit.as_ref());
    let policies = SharedPolicies::default();
    let watched =
        store::watch(kept.vault, Arc::clone(&daemon.health), Arc::clone(&daemon.metrics), daemon.stop.clone());
    tasks.spawn(async move {
        watched.await;
        Ok(())
    });
    let versions = Arc::new(StoreVersions::new(store.clone(), Arc::new(policies.clone())));
    let ca_pem = authority.certificate.clone();
    let keeper = Keeper { store, vault, place, audit, policies, authority, leaf, backups: Board::default() };
    Ok(Some(Shared { versions: Some(versions.clone()), sealed: Some(versions), ca_pem, keeper: Some(keeper) }))
}

/// Starts what goes on beside the listeners, and publishes where they are.
pub(super) async fn start(daemon: &Daemon, keeper: &Keeper, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    tasks.spawn(policies(
        daemon.clients.clone(),
        Arc::clone(&daemon.settings),
        keeper.policies.clone(),
        daemon.stop.clone(),
    ));
    if let Some(log) = &keeper.audit {
        log.show(&daemon.metrics);
        let (log, store, health) = (log.clone(), keeper.store.clone(), Arc::clone(&daemon.health));
        tasks.spawn(audit::keep(log, store, health, daemon.stop.clone()));
    }
    let (store, board) = (keeper.store.clone(), keeper.backups.clone());
    let backups = Backups { store, board, metrics: Arc::clone(&daemon.metrics), stop: daemon.stop.clone() };
    backups.start(&daemon.settings.args.backup, &daemon.settings.args.data_dir, tasks)?;
    tasks.spawn(renewals(Arc::clone(&keeper.leaf), daemon.stop.clone()));
    let (client, settings) = (daemon.clients.own(), &daemon.settings);
    daemon.retry("the webhook", async || publish::webhook(&client, settings, &keeper.authority).await).await
}

fn early(daemon: &Daemon, leaf: &Arc<Leaf>, awaited: Option<&Vault>) -> Early {
    let awaited = awaited.map(|vault| Awaited {
        vault: vault.clone(),
        accounts: Arc::new(TokenReviewer::new(daemon.clients.own())),
        owner: Account::new(&daemon.settings.home, OWNER),
    });
    Early {
        secrets: daemon.settings.args.listen_secrets,
        certificates: Some(Arc::clone(leaf) as _),
        watched: Some(daemon.settings.args.listen_metrics),
        health: Arc::clone(&daemon.health),
        metrics: Arc::clone(&daemon.metrics),
        awaited,
    }
}

async fn open_store(daemon: &Daemon) -> Result<store::Kept> {
    let (directory, home) = (&daemon.settings.args.data_dir, &daemon.settings.home);
    let age = daemon.settings.args.age_identity.as_deref();
    let absent = if daemon.settings.args.wait_for_restore { Absent::Await } else { Absent::Make };
    match daemon.settings.args.store {
        args::StoreBackend::Embedded => {
            let around = store::Around::new(daemon.clients.own(), &daemon.settings);
            store::open(directory, Some(&around), age, absent).await
        }
        args::StoreBackend::Kubernetes => {
            let open = async || store::open_in_cluster(daemon.clients.own(), home, directory, age, absent).await;
            daemon.retry("the secret store", open).await
        }
    }
}

/// Whoever sent the backup may be gone by the next start, and its key with them.
async fn own_key(daemon: &Daemon, kept: &mut store::Kept) -> Result<()> {
    let (directory, home) = (&daemon.settings.args.data_dir, &daemon.settings.home);
    match daemon.settings.args.store {
        args::StoreBackend::Embedded => store::own_key(kept, directory).await,
        args::StoreBackend::Kubernetes => store::own_key_in_cluster(kept, daemon.clients.own(), home, directory).await,
    }
}

fn urls(settings: &Settings) -> Vec<&str> {
    std::iter::once(settings.secrets_url.as_str()).chain(settings.args.webhook_url.as_deref()).collect()
}

async fn policies(
    clients: Clients,
    settings: Arc<Settings>,
    policies: SharedPolicies,
    stop: CancellationToken,
) -> Result<()> {
    let context = homelab_secrets::controller::Context {
        client: clients.own(),
        namespaces: settings.only(),
        policies,
        shutdown: stop,
        events: leader::events(&clients, &settings, homelab_core::meta::manager::SECRETS),
    };
    Ok(homelab_secrets::controller::run(context).await?)
}

async fn renewals(leaf: Arc<Leaf>, stop: CancellationToken) -> Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(CERTIFICATE_CHECK) => {}
            () = stop.cancelled() => return Ok(()),
        }
        match leaf.renew(jiff_now()) {
            Ok(true) => tracing::info!("made a new server certificate"),
            Ok(false) => {}
            Err(error) => tracing::warn!("server certificate not renewed: {}", output::chain(&error)),
        }
    }
}
