//! What listens: secrets, admission, hooks, metrics and health, debugging.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use homelab_gitops::controller::hooks::ClusterHooks;
use homelab_gitops::server::{Hooks, hooks_router};
use homelab_secrets::backend::System;
use homelab_secrets::inject::InjectConfig;
use homelab_secrets::inject::server::{AdmissionState, admission_router};
use homelab_secrets::server::kubernetes_auth::{ApiServerDocuments, TokenReviewer};
use homelab_secrets::server::{self, HttpFetch, ServerConfig, ServerOptions, ServerState};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use super::listeners::Listener;
use super::settings::Settings;
use super::{Daemon, Shared, audit, debug, health};
use crate::adapters::secrets::CountedVersions;
use crate::args::Part;

/// Where it is waited for changes.
const WATCH: &str = "/v1/sys/homelab/versions/watch";

/// Binds all listeners, then serves them: a port in use is known before anything is served.
pub(super) async fn start(daemon: &Daemon, shared: &Shared, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    let args = &daemon.settings.args;
    let mut bound = Vec::new();
    if let Some(keeper) = &shared.keeper {
        let leaf = || Some(Arc::clone(&keeper.leaf) as Arc<dyn rustls::server::ResolvesServerCert>);
        bound.push((Listener::bind("secrets", args.listen_secrets, leaf()).await?, secrets(daemon, keeper)?));
        bound.push((Listener::bind("admission", args.listen_admission, leaf()).await?, admission(daemon, shared)?));
    }
    if daemon.has(Part::Gitops) {
        bound.push((Listener::bind("hooks", args.listen_hooks, None).await?, hooks(daemon)));
    }
    let watched = health::router(Arc::clone(&daemon.health), Arc::clone(&daemon.metrics));
    bound.push((Listener::bind("metrics", args.listen_metrics, None).await?, watched));
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

fn secrets(daemon: &Daemon, keeper: &Keeper) -> Result<Router> {
    let config = ServerConfig {
        store: keeper.store.clone(),
        policy: Arc::new(keeper.policies.clone()),
        host: Arc::new(System),
        kubernetes: Some(Arc::new(TokenReviewer::new(daemon.clients.own()))),
    };
    let trusted_proxies = daemon.settings.args.trusted_proxies.clone();
    let options = ServerOptions {
        vault: Some(keeper.vault.clone()),
        fetch: Some(Arc::new(HttpFetch)),
        api_server: Some(Arc::new(ApiServerDocuments::new(daemon.clients.own()))),
        trusted_proxies,
        place: Some(keeper.place.clone()),
        backups: keeper.backups.clone(),
        daemon: daemon.settings.args.parts.daemon_account.clone(),
        ..ServerOptions::default()
    };
    let router = server::router(ServerState::with_options(config, None, options)?);
    Ok(audit::layered(router.layer(middleware::from_fn_with_state(daemon.stop.clone(), until)), keeper.audit.as_ref()))
}

fn admission(daemon: &Daemon, shared: &Shared) -> Result<Router> {
    Ok(admission_router(AdmissionState {
        lookup: Arc::new(versions(daemon, shared)?),
        config: Arc::new(inject_config(&daemon.settings, shared)),
    }))
}

/// Whoever watches for changes waits for long: a stop does not wait for that.
async fn until(State(stop): State<CancellationToken>, request: Request, next: Next) -> Response {
    if request.uri().path() != WATCH {
        return next.run(request).await;
    }
    let answer = stop.run_until_cancelled(next.run(request)).await;
    answer.unwrap_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, "the secret server is stopping\n").into_response())
}

/// The versions of secrets, counted.
pub(super) fn versions(daemon: &Daemon, shared: &Shared) -> Result<CountedVersions> {
    let versions = shared.versions.clone().context("no part of this daemon knows versions of secrets")?;
    Ok(CountedVersions::new(versions, Arc::clone(&daemon.metrics)))
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
        ca_pem: shared.ca_pem.clone(),
        image_pull_policy: settings.args.agent_pull_policy.clone(),
    }
}
