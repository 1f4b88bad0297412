//! `homelab server`: the secret manager alone, without Kubernetes.
//!
//! The same store and the same HTTP API as in the daemon. Rights come from policies in Vault's language and from tokens;
//! the first token is the root token, which the first start leaves in a file beside the store.

mod place;
mod tls;

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use homelab_secrets::backend::System;
use homelab_secrets::policy::PolicySet;
use homelab_secrets::server::{HttpFetch, Rate, ServerConfig, ServerOptions, ServerState, router};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::place::Opened;
use self::tls::Tls;
use crate::args::SecretServer;
use crate::cli::output;
use crate::daemon::health::{self, Health};
use crate::daemon::listeners::Listener;
use crate::daemon::logging;
use crate::daemon::metrics::Metrics;
use crate::daemon::sealed::Early;
use crate::daemon::{audit, store};

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(args: SecretServer) -> Result<()> {
    check(&args)?;
    crate::seclude()?;
    let metrics = Arc::new(Metrics::default());
    logging::start(args.log_json, Arc::clone(&metrics));
    crate::allow_connections();
    let stop = CancellationToken::new();
    tokio::spawn(crate::daemon::stop_on_signal(stop.clone()));

    let opened =
        if args.dev { place::in_memory(args.root_token.as_deref()).await? } else { place::on_disk(&args).await? };
    let tls = Tls::of(&args, &opened)?;
    let health = Arc::new(Health::default());
    health.expect("store");
    welcome(&args, &opened, &tls);
    let early = Early {
        secrets: args.listen,
        certificates: tls.resolver(),
        watched: args.listen_metrics,
        health: Arc::clone(&health),
        metrics: Arc::clone(&metrics),
        awaited: None,
    };
    if !early.wait(&opened.vault, &stop).await? {
        return Ok(());
    }
    let log = match args.dev {
        true => None,
        false => audit::open(&args.audit, &opened.directory, &opened.vault.handle()).await?,
    };
    let listener = Listener::bind("secrets", args.listen, tls.resolver()).await?;
    let router = audit::layered(router(state(&args, &opened, log.as_ref())?), log.as_ref());
    let mut tasks = JoinSet::new();
    if let Some(address) = args.listen_metrics {
        let watched = Listener::bind("metrics", address, None).await?;
        tracing::info!(listener = watched.name(), address = %watched.address()?, "listens");
        let router = health::router(Arc::clone(&health), Arc::clone(&metrics));
        tasks.spawn(watched.serve(router, Arc::clone(&metrics), stop.clone()));
    }
    tasks.spawn(store::watch(opened.vault.clone(), Arc::clone(&health), Arc::clone(&metrics), stop.clone()));
    tasks.spawn(tls.keep_current(stop.clone()));
    if let Some(log) = log {
        log.show(&metrics);
        let (store, stop) = (opened.vault.handle(), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = audit::keep(log, store, health, stop).await {
                tracing::error!("{error:#}");
            }
        });
    }
    tracing::info!(listener = listener.name(), address = %listener.address()?, "listens");
    listener.serve(router, metrics, stop).await;
    while tasks.join_next().await.is_some() {}
    tracing::info!("stopped");
    Ok(())
}

/// What a single flag can not know of the others.
fn check(args: &SecretServer) -> Result<()> {
    let local = args.listen.ip().is_loopback();
    match (args.dev, args.no_tls) {
        (true, _) if !local => {
            bail!(
                "--dev serves plain HTTP and keeps nothing: it listens on a loopback address only, not on {}",
                args.listen
            )
        }
        (false, true) if !local => {
            bail!(
                "--no-tls would send secrets in clear to {}: leave it out, or listen on a loopback address",
                args.listen
            )
        }
        _ => Ok(()),
    }
}

fn state(args: &SecretServer, opened: &Opened, log: Option<&audit::Log>) -> Result<ServerState> {
    let config = ServerConfig {
        store: opened.vault.handle(),
        // There are no policy objects without a cluster: policies in Vault's language decide alone.
        policy: Arc::new(PolicySet::default()),
        host: Arc::new(System),
        kubernetes: None,
    };
    let options = ServerOptions {
        rate: args.rate.map(|per_second| Rate { per_second, burst: per_second.saturating_mul(2) }),
        trusted_proxies: args.trusted_proxies.clone(),
        vault: Some(opened.vault.clone()),
        fetch: Some(Arc::new(HttpFetch)),
        place: Some(audit::placed(opened.place.clone(), log)),
        ..ServerOptions::default()
    };
    let root = opened.root_token.as_ref().map(|token| token.as_str());
    ServerState::with_options(config, root, options).context("start the server")
}

/// What to type next.
fn welcome(args: &SecretServer, opened: &Opened, tls: &Tls) {
    let address = args.listen;
    let scheme = if tls.is_plain() { "http" } else { "https" };
    let mut lines = vec![format!("the secret manager will serve {scheme}://{address}")];
    if args.dev {
        lines.push("everything is in memory: it is gone when this program ends".into());
    } else {
        let sealed =
            if opened.vault.store().is_ok() { "" } else { ", and is sealed: `homelab secrets unseal` opens it" };
        lines.push(format!("the store is in {}{sealed}", opened.directory.display()));
    }
    lines.push("in another terminal:".into());
    lines.push(format!("  export HOMELAB_ADDR={scheme}://{address}"));
    if let Some(ca) = tls.own_ca() {
        lines.push(format!("  export HOMELAB_CACERT={}", ca.display()));
    }
    match (&opened.token_file, &opened.root_token) {
        (Some(file), _) => lines.push(format!("  export HOMELAB_TOKEN=\"$(cat {})\"", file.display())),
        // Only in a try is a token printed: it opens nothing that lasts.
        (None, Some(token)) if args.dev => lines.push(format!("  export HOMELAB_TOKEN={}", token.as_str())),
        _ => {}
    }
    lines.push("  homelab kv put kv/hello greeting=world && homelab kv get kv/hello".into());
    output::note(&lines.join("\n"));
}

#[cfg(test)]
mod tests;
