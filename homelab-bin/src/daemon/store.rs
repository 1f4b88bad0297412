//! Opens the secret store in a data directory; makes store and key file at the first start.
//!
//! A store whose key is not there is served sealed: everything that needs it waits and says so, until somebody opens it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use homelab_secrets::backend::age::AgeIdentities;
use homelab_secrets::backend::cluster_witness::ClusterWitness;
use homelab_secrets::backend::embedded::Embedded;
use homelab_secrets::backend::{self, System};
use homelab_secrets::keys::Unlock;
use homelab_secrets::store::{BackendKind, SecretStore, StorePlace, Vault, Watched};
use kube::Client;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::health::Health;
use super::metrics::Metrics;
use super::settings::Settings;

mod cluster;

pub(super) use cluster::{open_in_cluster, own_key_in_cluster};

/// How often it is looked whether the store is open.
const LOOK: Duration = Duration::from_secs(1);
/// Least time between two copies of the store's head.
const COPIED: Duration = Duration::from_secs(1);
/// ConfigMap with the copy of the store's head. Stays when the data directory is put back or lost.
const HEAD: &str = "homelab-head";
/// Secret with the key of a slot.
const KEY_SECRET: &str = "homelab-key";
/// What health waits for while the store is older than the copy of its head.
const ROLLBACK: &str = "accept-rollback";

/// A store in a directory.
pub(crate) struct Kept {
    /// Open or sealed.
    pub(crate) vault: Vault,
    /// It was made just now.
    pub(crate) is_new: bool,
    /// There was none, and a backup is waited for.
    pub(crate) is_awaited: bool,
    /// Where it lies, and what opened it.
    pub(crate) place: StorePlace,
}

impl Kept {
    /// The store whether it is open or not.
    pub(crate) fn handle(&self) -> SecretStore {
        self.vault.handle()
    }
}

/// What a store has of a cluster.
pub(crate) struct Around {
    client: Client,
    namespace: String,
    /// Whether the head is copied, and whether a store that is older than its copy stays sealed.
    watch: Option<bool>,
}

impl Around {
    /// Of the daemon's own namespace.
    pub(crate) fn new(client: Client, settings: &Settings) -> Self {
        let args = &settings.args;
        Self {
            client,
            namespace: settings.home.clone(),
            watch: (!args.no_rollback_check).then_some(args.strict_rollback),
        }
    }

    fn watched(&self) -> Option<(Watched, String)> {
        let witness = ClusterWitness::new(self.client.clone(), &self.namespace, HEAD);
        let name = witness.to_string();
        let watched = |strict| Watched { witness: Arc::new(witness), strict, every: COPIED };
        self.watch.map(|strict| (watched(strict), name))
    }

    /// The keys in the Secret, and the Secret's name.
    async fn keys(&self) -> Result<(Vec<Unlock>, String)> {
        let keys = backend::cluster_keys(self.client.clone(), &self.namespace, KEY_SECRET, false, &System).await?;
        Ok((keys, format!("Secret {}/{KEY_SECRET}", self.namespace)))
    }
}

/// What is done where no store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// One is made.
    Make,
    /// A backup is waited for, which somebody sends.
    Await,
}

impl Absent {
    fn is_awaited(self) -> bool {
        self == Self::Await
    }
}

/// The store in `directory`, opened by the identities in the file `age`, by the key file beside it, or by the Secret of the
/// cluster `around` it, if one of these can be.
pub(crate) async fn open(
    directory: &Path,
    around: Option<&Around>,
    age: Option<&Path>,
    absent: Absent,
) -> Result<Kept> {
    let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).await;
    made.with_context(|| format!("make the data directory {} (--data-dir names another)", directory.display()))?;
    let (key_file, store_file) = (directory.join("store.key"), directory.join("store.redb"));
    let redb = Embedded::open(&store_file).with_context(|| format!("open the store {}", store_file.display()))?;
    let host = Arc::new(System);
    let (watched, witness) = around.and_then(Around::watched).unzip();
    let vault = Vault::watched(Arc::new(redb), host.clone(), watched);
    let none = !vault.initialized().await.with_context(|| format!("read the store {}", store_file.display()))?;
    let is_awaited = none && absent.is_awaited();
    let is_new = none && !is_awaited;
    let mut key = None;
    if is_awaited {
        tracing::warn!("there is no store {}: a backup is waited for (--wait-for-restore)", store_file.display());
    } else if is_new {
        let unlock = backend::key_file(&key_file, true, &*host).context("make a key for the new store")?;
        vault.initialize(vec![unlock]).await.with_context(|| format!("make the store {}", store_file.display()))?;
        key = Some(key_file.display().to_string());
    } else {
        match unseal(&vault, &key_file, around, age).await {
            Ok(by) => key = Some(by),
            Err(error) => tracing::error!(
                "the store {} stays sealed: {error:#}; open it with `homelab secrets unseal`",
                store_file.display()
            ),
        }
    }
    let place = StorePlace {
        backend: BackendKind::Embedded,
        at: store_file.display().to_string(),
        key_beside: key.as_deref() == Some(&key_file.display().to_string()),
        key,
        witness,
        audit: None,
    };
    Ok(Kept { vault, is_new, is_awaited, place })
}

/// Gives a store that was put back, and is open, a key of its own in `directory`, by which the next start opens it.
pub(crate) async fn own_key(kept: &mut Kept, directory: &Path) -> Result<()> {
    let file = directory.join("store.key");
    let unlock = backend::key_file(&file, true, &System).context("make a key for the store that was put back")?;
    kept.vault.store()?.add_slot(unlock).await.context("let the new key open the store that was put back")?;
    kept.place.key = Some(file.display().to_string());
    kept.place.key_beside = true;
    Ok(())
}

/// Opens it; says by what.
async fn unseal(vault: &Vault, key_file: &Path, around: Option<&Around>, age: Option<&Path>) -> Result<String> {
    let Some(age) = age else { return unseal_by_key(vault, key_file, around).await };
    let Err(first) = by_age(vault, age).await else { return Ok(name_of(age)) };
    let second = unseal_by_key(vault, key_file, around).await;
    second.map_err(|second| anyhow::anyhow!("{first:#}; {second:#}"))
}

async fn by_age(vault: &Vault, file: &Path) -> Result<()> {
    let text = tokio::fs::read_to_string(file).await.map(Zeroizing::new);
    let text = text.with_context(|| format!("read the age identities in {}", file.display()))?;
    let opened = async { vault.unseal_by_age(&AgeIdentities::parse(&text)?).await };
    opened.await.with_context(|| format!("with the {}", name_of(file)))
}

fn name_of(age: &Path) -> String {
    format!("age identities in {}", age.display())
}

async fn unseal_by_key(vault: &Vault, key_file: &Path, around: Option<&Around>) -> Result<String> {
    // A store without its key is never given a new one: that would open nothing.
    let by_file = match backend::key_file(key_file, false, &System) {
        Ok(key) => vault.unseal(key).await,
        Err(error) => Err(error),
    };
    let Err(first) = by_file else { return Ok(key_file.display().to_string()) };
    let first = anyhow::Error::new(first).context(format!("with {}", key_file.display()));
    let Some(around) = around else { return Err(first) };
    match around.keys().await {
        Ok((keys, name)) => any(vault, keys).await.map(|()| name.clone()).with_context(|| format!("with {name}")),
        Err(second) => Err(anyhow::anyhow!("{first:#}; {second:#}")),
    }
}

/// Opens it by the first of these keys that does. One of them may be of a slot that is gone, or is not there yet.
async fn any(vault: &Vault, keys: Vec<Unlock>) -> Result<(), homelab_secrets::Error> {
    let mut last = homelab_secrets::Error::Invalid("there is no key".into());
    for key in keys {
        match vault.unseal(key).await {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Keeps health in step with the seal, and with the copy of the head, until `stop`.
pub(crate) async fn watch(vault: Vault, health: Arc<Health>, metrics: Arc<Metrics>, stop: CancellationToken) {
    loop {
        let rolled_back = vault.handle().witnessed().is_rolled_back();
        health.set("store", vault.store().is_ok());
        health.set(ROLLBACK, !rolled_back);
        metrics.set_rolled_back(rolled_back);
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
