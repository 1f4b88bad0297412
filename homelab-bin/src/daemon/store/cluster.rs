//! The store that lies in the cluster itself.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use homelab_core::class::Class;
use homelab_secrets::backend::kubernetes::Kubernetes;
use homelab_secrets::backend::{self, System};
use homelab_secrets::keys::Unlock;
use homelab_secrets::store::{BackendKind, StorePlace, Vault};
use kube::Client;

use super::{Absent, KEY_SECRET as KEY, Kept, any, by_age, name_of};

/// Secret that is the head of the store; all its others begin with this name.
const STORE: &str = "homelab-store";

/// The store in `namespace`. It is opened by the identities in the file `age`, by the key file in `directory` if there is one,
/// else by a key in a Secret, which the first start makes.
pub(crate) async fn open_in_cluster(
    client: Client,
    namespace: &str,
    directory: &Path,
    age: Option<&Path>,
    absent: Absent,
) -> Result<Kept> {
    let (host, key_file) = (Arc::new(System), directory.join("store.key"));
    let records = Kubernetes::new(client.clone(), namespace, STORE, host.clone());
    let vault = Vault::new(Arc::new(records), host).in_etcd();
    let none = !vault.initialized().await.with_context(|| format!("read the store in namespace {namespace}"))?;
    if none && absent.is_awaited() {
        tracing::warn!("there is no store in namespace {namespace}: a backup is waited for (--wait-for-restore)");
        return Ok(Kept { vault, is_new: false, is_awaited: true, place: place(namespace, None) });
    }
    let is_new = none;
    let opened = async {
        if is_new {
            let made = vault.initialize(keys(client.clone(), namespace, &key_file, true).await?).await;
            match made {
                // Another replica was faster: its store is the one, and its key is there by now.
                Err(error) if error.class() == Class::Conflict => {}
                made => drop(made.with_context(|| format!("make the store in namespace {namespace}"))?),
            }
        }
        unseal(&vault, (client, namespace), &key_file, age.filter(|_| !is_new)).await
    };
    let by = match opened.await {
        Ok(by) => Some(by),
        Err(error) if is_new => return Err(error),
        Err(error) => {
            tracing::error!(
                "the store in namespace {namespace} stays sealed: {error:#}; open it with `homelab secrets unseal`"
            );
            None
        }
    };
    Ok(Kept { vault, is_new, is_awaited: false, place: place(namespace, by) })
}

fn place(namespace: &str, key: Option<String>) -> StorePlace {
    StorePlace {
        backend: BackendKind::Kubernetes,
        at: format!("Secrets {STORE}… of namespace {namespace}"),
        key,
        key_beside: false,
        // It would lie in the same etcd, and go back with it.
        witness: None,
        audit: None,
    }
}

/// Gives a store that was put back, and is open, a key of its own, by which the next start opens it.
pub(crate) async fn own_key_in_cluster(
    kept: &mut Kept,
    client: Client,
    namespace: &str,
    directory: &Path,
) -> Result<()> {
    let made = keys(client, namespace, &directory.join("store.key"), true).await;
    for key in made.context("make a key for the store that was put back")? {
        kept.vault.store()?.add_slot(key).await.context("let the new key open the store that was put back")?;
    }
    kept.place.key = Some(format!("Secret {namespace}/{KEY}"));
    Ok(())
}

/// Opens it; says by what.
async fn unseal(
    vault: &Vault,
    (client, namespace): (Client, &str),
    key_file: &Path,
    age: Option<&Path>,
) -> Result<String> {
    if let Some(file) = age {
        match by_age(vault, file).await {
            Ok(()) => return Ok(name_of(file)),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }
    let keys = keys(client, namespace, key_file, false).await?;
    any(vault, keys).await.with_context(|| format!("open the store in namespace {namespace}"))?;
    let has_file = tokio::fs::try_exists(key_file).await.unwrap_or_default();
    Ok(if has_file { key_file.display().to_string() } else { format!("Secret {namespace}/{KEY}") })
}

async fn keys(client: Client, namespace: &str, file: &Path, is_new: bool) -> Result<Vec<Unlock>> {
    if tokio::fs::try_exists(file).await.with_context(|| format!("look for {}", file.display()))? {
        return Ok(vec![backend::key_file(file, false, &System)?]);
    }
    Ok(backend::cluster_keys(client, namespace, KEY, is_new, &System).await?)
}
