//! The mount of sealed files, as who follows Git fills it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use homelab_core::meta::Account;

use crate::Error;

/// What a GitSync has at its commit.
#[derive(Clone, Copy, Debug)]
pub struct GitCommit<'a> {
    /// The GitSync, `NAMESPACE/NAME`.
    pub gitsync: &'a str,
    /// The commit.
    pub commit: &'a str,
    /// Names and texts of files; those that are not called as sealed ones are passed by.
    pub files: &'a [(String, String)],
}

/// The read-only mount of sealed files, filled in the name of accounts: by the store in this process
/// (`store::StoreVersions`), or by a secret server elsewhere (`client::RemoteVersions`).
#[async_trait]
pub trait SealedMount: Send + Sync + 'static {
    /// Shows exactly these sealed files of a GitSync; gives how many values are new. `account` needs the right to seal
    /// each of them (`update`). If one file can not be shown nothing changes: class `Invalid` names files that are
    /// broken, `Denied` those that the account may not show. Idempotent, whole or not at all.
    async fn show(&self, account: &Account, from: GitCommit<'_>) -> Result<u64, Error>;

    /// Takes away what is shown of all other GitSyncs than these (`NAMESPACE/NAME`). Idempotent.
    async fn retain(&self, gitsyncs: &BTreeSet<String>) -> Result<(), Error>;
}
