//! [`Versions`] and [`SealedMount`] by the store in this process.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use homelab_core::meta::Account;

use super::SecretStore;
use crate::Error;
use crate::policy::Policy;
use crate::sealed::{GitCommit, SealedMount};
use crate::versions::{Known, Resolved, Versions};

/// The store, and who may read what of it. Clones share both.
#[derive(Clone)]
pub struct StoreVersions {
    store: SecretStore,
    policy: Arc<dyn Policy>,
}

impl StoreVersions {
    /// Over this store and these policies.
    pub fn new(store: SecretStore, policy: Arc<dyn Policy>) -> Self {
        Self { store, policy }
    }
}

impl std::fmt::Debug for StoreVersions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreVersions({:?})", self.store)
    }
}

#[async_trait]
impl Versions for StoreVersions {
    async fn resolve(&self, account: &Account, path: &str, version: Option<u64>) -> Result<Resolved, Error> {
        self.store.resolve_as(&*self.policy, account, path, version).await
    }

    async fn pin(&self, holder: &str, versions: &[Known]) -> Result<(), Error> {
        self.store.pin(holder, versions).await
    }

    async fn gone(&self, versions: &[Known]) -> Result<Vec<Known>, Error> {
        self.store.gone(versions).await
    }

    async fn changed(&self, known: &[Known]) -> Result<(), Error> {
        self.store.wait_changed(known).await
    }
}

#[async_trait]
impl SealedMount for StoreVersions {
    async fn show(&self, account: &Account, from: GitCommit<'_>) -> Result<u64, Error> {
        self.store.mirror(&*self.policy, account, from).await
    }

    async fn retain(&self, gitsyncs: &BTreeSet<String>) -> Result<(), Error> {
        self.store.retain_mirrored(gitsyncs).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{OwnNamespace, open_store, sealed_mount_contract, versions_contract};

    #[tokio::test]
    async fn keeps_the_contract() {
        versions_contract(async || {
            let store = open_store().await;
            let versions: Arc<dyn Versions> = Arc::new(StoreVersions::new(store.clone(), Arc::new(OwnNamespace)));
            (store, versions)
        })
        .await;
        sealed_mount_contract(async || {
            let store = open_store().await;
            let mount: Arc<dyn SealedMount> = Arc::new(StoreVersions::new(store.clone(), Arc::new(OwnNamespace)));
            (store, mount)
        })
        .await;
    }
}
