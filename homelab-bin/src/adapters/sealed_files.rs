//! homelab-gitops' `SealedFiles` by the secret store and its policies.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use homelab_core::class::Class;
use homelab_core::meta::Account;
use homelab_gitops::Error;
use homelab_gitops::sealed::{SealedFiles, SealedText};
use homelab_gitops::source::{CommitId, Owner};
use homelab_secrets::policy::SharedPolicies;
use homelab_secrets::store::{GitCommit, SecretStore};

use super::counted;
use crate::daemon::metrics::Metrics;

/// The store's mount of sealed files.
pub struct StoreMount {
    store: SecretStore,
    policies: SharedPolicies,
    metrics: Arc<Metrics>,
}

impl StoreMount {
    /// Of this store, under these policies.
    pub fn new(store: SecretStore, policies: SharedPolicies, metrics: Arc<Metrics>) -> Self {
        Self { store, policies, metrics }
    }
}

#[async_trait]
impl SealedFiles for StoreMount {
    async fn show(
        &self,
        owner: &Owner,
        account: &Account,
        commit: &CommitId,
        files: &[SealedText],
    ) -> Result<(), Error> {
        if self.policies.current().is_loading() {
            let detail = "policies are being read".into();
            return Err(Error::Sealed { detail, class: Class::Retry });
        }
        let files: Vec<_> = files.iter().map(|file| (file.path.to_string(), file.text.clone())).collect();
        let from = GitCommit { gitsync: &owner.to_string(), commit: commit.as_str(), files: &files };
        let call = self.store.mirror(&self.policies, account, from);
        let new = counted(&self.metrics, "secrets_mirror", call).await.map_err(failed)?;
        if new > 0 {
            tracing::info!(gitsync = %owner, commit = commit.short(), new, "sealed files have new values");
        }
        Ok(())
    }

    async fn retain(&self, owners: &BTreeSet<Owner>) -> Result<(), Error> {
        let owners = owners.iter().map(ToString::to_string).collect();
        self.store.retain_mirrored(&owners).await.map_err(failed)
    }
}

fn failed(error: homelab_secrets::Error) -> Error {
    Error::Sealed { class: error.class(), detail: error.to_string() }
}

#[cfg(test)]
mod tests;
