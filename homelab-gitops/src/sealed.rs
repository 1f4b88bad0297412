//! Sealed files of a commit: secrets that lie in Git, shown to the cluster by whoever keeps secrets, behind [`SealedFiles`].

use std::collections::BTreeSet;

use async_trait::async_trait;
use homelab_core::meta::Account;

use crate::Error;
use crate::source::{CommitId, Owner, RepoPath};

/// End of the name of every sealed file.
pub const SUFFIX: &str = ".sealed.yaml";

/// A sealed file as it lies in Git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedText {
    /// Where, from the root of the repository.
    pub path: RepoPath,
    /// Its text. Values in it are sealed.
    pub text: String,
}

/// Where the secrets in sealed files can be read. All verbs are idempotent, and happen as a whole or not at all also when
/// they are cancelled.
#[async_trait]
pub trait SealedFiles: Send + Sync {
    /// Shows exactly these files of `owner`, in the name of `account`. When one of them can not be shown, what was shown
    /// before stays: [`Error::Sealed`], class `Invalid` (a file is broken), `Denied` (the account may not) or passing.
    async fn show(
        &self,
        owner: &Owner,
        account: &Account,
        commit: &CommitId,
        files: &[SealedText],
    ) -> Result<(), Error>;

    /// Takes away what is shown of all others.
    async fn retain(&self, owners: &BTreeSet<Owner>) -> Result<(), Error>;
}
