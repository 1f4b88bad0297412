//! homelab-gitops' `SealedFiles` by the secret store and its policies.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use homelab_core::meta::Account;
use homelab_gitops::Error;
use homelab_gitops::sealed::{SealedFiles, SealedText};
use homelab_gitops::source::{CommitId, Owner};
use homelab_secrets::sealed::{GitCommit, SealedMount};

use super::counted;
use crate::daemon::metrics::Metrics;

/// The mount of sealed files, wherever secrets are kept. How each call ended is counted.
pub struct CountedMount {
    mount: Arc<dyn SealedMount>,
    metrics: Arc<Metrics>,
}

impl CountedMount {
    /// Over this one.
    pub fn new(mount: Arc<dyn SealedMount>, metrics: Arc<Metrics>) -> Self {
        Self { mount, metrics }
    }
}

#[async_trait]
impl SealedFiles for CountedMount {
    async fn show(
        &self,
        owner: &Owner,
        account: &Account,
        commit: &CommitId,
        files: &[SealedText],
    ) -> Result<(), Error> {
        let files: Vec<_> = files.iter().map(|file| (file.path.to_string(), file.text.clone())).collect();
        let from = GitCommit { gitsync: &owner.to_string(), commit: commit.as_str(), files: &files };
        let call = self.mount.show(account, from);
        let new = counted(&self.metrics, "secrets_mirror", call).await.map_err(failed)?;
        if new > 0 {
            tracing::info!(gitsync = %owner, commit = commit.short(), new, "sealed files have new values");
        }
        Ok(())
    }

    async fn retain(&self, owners: &BTreeSet<Owner>) -> Result<(), Error> {
        let owners = owners.iter().map(ToString::to_string).collect();
        self.mount.retain(&owners).await.map_err(failed)
    }
}

fn failed(error: homelab_secrets::Error) -> Error {
    Error::Sealed { class: error.class(), detail: error.to_string() }
}

#[cfg(test)]
mod tests;
