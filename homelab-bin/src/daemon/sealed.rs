//! A store that is sealed at the start, or not there yet: its seal is served, and health, until somebody opens it.
//!
//! Everything else begins after that, the audit log too: its key is in the store. So nothing that is served here may
//! reach a secret, also not in the moment after the store was opened.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use homelab_secrets::backend::System;
use homelab_secrets::backend::memory::Memory;
use homelab_secrets::policy::PolicySet;
use homelab_secrets::server::restore::{Awaited, restore_router};
use homelab_secrets::server::{self, ServerConfig, ServerOptions, ServerState};
use homelab_secrets::store::Vault;
use rustls::server::ResolvesServerCert;
use tokio_util::sync::CancellationToken;

use super::health::{self, Health};
use super::listeners::Listener;
use super::metrics::Metrics;

/// How often it is looked whether the store is open.
const LOOK: Duration = Duration::from_millis(200);

/// Who is reached where while the store is sealed.
pub(crate) struct Early {
    /// Address of the secret server.
    pub(crate) secrets: SocketAddr,
    /// Its certificates; none: plain HTTP.
    pub(crate) certificates: Option<Arc<dyn ResolvesServerCert>>,
    /// Address of metrics and health.
    pub(crate) watched: Option<SocketAddr>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    /// There is no store yet: a backup is taken.
    pub(crate) awaited: Option<Awaited>,
}

impl Early {
    /// Waits until `vault` is open; `false`: `stop` came first.
    pub(crate) async fn wait(self, vault: &Vault, stop: &CancellationToken) -> Result<bool> {
        if vault.store().is_ok() {
            return Ok(true);
        }
        let (ended, mut serving) = (stop.child_token(), tokio::task::JoinSet::new());
        let secrets = Listener::bind("secrets", self.secrets, self.certificates).await?;
        let mut router = server::router(seal_only(vault)?);
        if let Some(awaited) = self.awaited {
            router = restore_router(awaited).merge(router);
        }
        serving.spawn(secrets.serve(router, Arc::clone(&self.metrics), ended.clone()));
        if let Some(address) = self.watched {
            let watched = Listener::bind("metrics", address, None).await?;
            let router = health::router(self.health, Arc::clone(&self.metrics));
            serving.spawn(watched.serve(router, self.metrics, ended.clone()));
        }
        while vault.store().is_err() && stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {}
        ended.cancel();
        while serving.join_next().await.is_some() {}
        Ok(!stop.is_cancelled())
    }
}

/// A server with the seal of `vault`, over a store that never opens.
fn seal_only(vault: &Vault) -> Result<ServerState> {
    let config = ServerConfig {
        store: Vault::new(Arc::new(Memory::default()), Arc::new(System)).handle(),
        policy: Arc::new(PolicySet::default()),
        host: Arc::new(System),
        kubernetes: None,
    };
    let options = ServerOptions { vault: Some(vault.clone()), ..ServerOptions::default() };
    ServerState::with_options(config, None, options).context("serve the seal")
}
