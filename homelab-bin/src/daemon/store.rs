//! Opens the secret store in a data directory; makes store and key file at the first start.
//!
//! A store whose key is not there is served sealed: everything that needs it waits and says so, until somebody opens it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use homelab_secrets::backend::embedded::Embedded;
use homelab_secrets::backend::{self, System};
use homelab_secrets::store::{SecretStore, Vault};
use tokio_util::sync::CancellationToken;

use super::health::Health;

mod cluster;

pub(super) use cluster::open_in_cluster;

/// How often it is looked whether the store is open.
const LOOK: Duration = Duration::from_secs(1);

/// A store in a directory.
pub(crate) struct Kept {
    /// Open or sealed.
    pub(crate) vault: Vault,
    /// It was made just now.
    pub(crate) is_new: bool,
}

impl Kept {
    /// The store whether it is open or not.
    pub(crate) fn handle(&self) -> SecretStore {
        self.vault.handle()
    }
}

/// The store in `directory`, opened by the key file beside it if that can be.
pub(crate) async fn open(directory: &Path) -> Result<Kept> {
    let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).await;
    made.with_context(|| format!("make the data directory {} (--data-dir names another)", directory.display()))?;
    let (key_file, store_file) = (directory.join("store.key"), directory.join("store.redb"));
    let redb = Embedded::open(&store_file).with_context(|| format!("open the store {}", store_file.display()))?;
    let host = Arc::new(System);
    let vault = Vault::new(Arc::new(redb), host.clone());
    let is_new = !vault.initialized().await.with_context(|| format!("read the store {}", store_file.display()))?;
    if is_new {
        let key = backend::key_file(&key_file, true, &*host).context("make a key for the new store")?;
        vault.initialize(vec![key]).await.with_context(|| format!("make the store {}", store_file.display()))?;
    } else if let Err(error) = unseal(&vault, &key_file).await {
        tracing::error!(
            "the store {} stays sealed: {error:#}; open it with `homelab secrets unseal`",
            store_file.display()
        );
    }
    Ok(Kept { vault, is_new })
}

async fn unseal(vault: &Vault, key_file: &Path) -> Result<()> {
    // A store without its key is never given a new one: that would open nothing.
    let key = backend::key_file(key_file, false, &System)?;
    vault.unseal(key).await.with_context(|| format!("with {}", key_file.display()))
}

/// Keeps health in step with the seal until `stop`.
pub(crate) async fn watch(vault: Vault, health: Arc<Health>, stop: CancellationToken) {
    loop {
        health.set("store", vault.store().is_ok());
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}
