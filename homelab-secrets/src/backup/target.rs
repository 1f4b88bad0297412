//! Where backups are kept.

use std::fmt;

use async_trait::async_trait;

use crate::Error;

/// A place for backups: a folder, a bucket, a repository. All pass `testing::backup_target`.
///
/// Its `Display` names it for people, without credentials.
#[async_trait]
pub trait BackupTarget: fmt::Display + Send + Sync + 'static {
    /// Keeps `backup` under this name: all of it, or nothing. What is there already is never written over (class
    /// `Conflict`). Class `Retry` while the place is full or gone.
    async fn put(&self, name: &str, backup: Vec<u8>) -> Result<(), Error>;

    /// What is kept under this name. Class `NotFound`: nothing.
    async fn get(&self, name: &str) -> Result<Vec<u8>, Error>;

    /// All names in that place, in no order; those of others, too.
    async fn list(&self) -> Result<Vec<String>, Error>;

    /// Takes one away; one that is not there is no error.
    async fn delete(&self, name: &str) -> Result<(), Error>;
}
