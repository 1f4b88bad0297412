//! What listens: secrets, admission, hooks, metrics and health, debugging.

use std::sync::Arc;

use anyhow::{Result, bail};
use axum::Router;
use homelab_gitops::controller::hooks::ClusterHooks;
use homelab_gitops::server::{Hooks, hooks_router};
use homelab_secrets::backend::System;
use homelab_secrets::inject::InjectConfig;
use homelab_secrets::inject::server::{AdmissionState, admission_router};
use homelab_secrets::server::kubernetes_auth::{ApiServerDocuments, TokenReviewer};
use homelab_secrets::server::{self, HttpFetch, ServerConfig, ServerOptions, ServerState};
use tokio::task::JoinSet;

use super::listeners::Listener;
use super::settings::Settings;
use super::{Daemon, Shared, audit, debug, health};
use crate::adapters::secrets::StoreVersions;

/// Binds all listeners, then serves them: a port in use is known before anything is served.
pub(super) async fn start(daemon: &Daemon, shared: &Shared, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    let args = &daemon.settings.args;
    let leaf = || Some(Arc::clone(&shared.leaf) as Arc<dyn rustls::server::ResolvesServerCert>);
    let mut bound = vec![
        (Listener::bind("secrets", args.listen_secrets, leaf()).await?, secrets(daemon, shared)?),
        (Listener::bind("admission", args.listen_admission, leaf()).await?, admission(daemon, shared)),
        (Listener::bind("hooks", args.listen_hooks, None).await?, hooks(daemon)),
        (
            Listener::bind("metrics", args.listen_metrics, None).await?,
            health::router(Arc::clone(&daemon.health), Arc::clone(&daemon.metrics)),
        ),
    ];
    if let Some(address) = args.listen_debug {
        if !address.ip().is_loopback() {
            bail!("--listen-debug {address} is no loopback address; it shows values of Apps to whoever reaches it");
        }
        bound.push((Listener::bind("debug", address, None).await?, debug::router(daemon.cases.clone())));
    }
    for (listener, router) in bound {
        tracing::info!(listener = listener.name(), address = %listener.address()?, "listens");
        let (metrics, stop) = (Arc::clone(&daemon.metrics), daemon.stop.clone());
        tasks.spawn(async move {
            listener.serve(router, metrics, stop).await;
            Ok(())
        });
    }
    Ok(())
}

fn secrets(daemon: &Daemon, shared: &Shared) -> Result<Router> {
    let config = ServerConfig {
        store: shared.store.clone(),
        policy: Arc::new(shared.policies.clone()),
        host: Arc::new(System),
        kubernetes: Some(Arc::new(TokenReviewer::new(daemon.clients.own()))),
    };
    let trusted_proxies = daemon.settings.args.trusted_proxies.clone();
    let options = ServerOptions {
        vault: Some(shared.vault.clone()),
        fetch: Some(Arc::new(HttpFetch)),
        api_server: Some(Arc::new(ApiServerDocuments::new(daemon.clients.own()))),
        trusted_proxies,
        place: Some(shared.place.clone()),
        ..ServerOptions::default()
    };
    Ok(audit::layered(server::router(ServerState::with_options(config, None, options)?), shared.audit.as_ref()))
}

fn admission(daemon: &Daemon, shared: &Shared) -> Router {
    let lookup = StoreVersions::new(shared.store.clone(), shared.policies.clone(), Arc::clone(&daemon.metrics));
    admission_router(AdmissionState {
        lookup: Arc::new(lookup),
        config: Arc::new(inject_config(&daemon.settings, shared)),
    })
}

fn hooks(daemon: &Daemon) -> Router {
    let hooks: Arc<dyn Hooks> = Arc::new(ClusterHooks::new(daemon.clients.clone(), daemon.settings.only()));
    hooks_router(hooks)
}

/// What every injected pod needs to know.
pub(super) fn inject_config(settings: &Settings, shared: &Shared) -> InjectConfig {
    InjectConfig {
        image: settings.args.agent_image.clone(),
        addr: settings.secrets_url.clone(),
        ca_pem: shared.authority.certificate.clone(),
        image_pull_policy: settings.args.agent_pull_policy.clone(),
    }
}
