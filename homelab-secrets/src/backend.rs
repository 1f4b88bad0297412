//! Where sealed records lie: ciphertext only, one ordered map of keys to records and a head that counts commits.
//!
//! A backend knows nothing of secrets, versions or policies. Its one hard promise: when [`Backend::commit`] says yes,
//! the whole batch is there and stays there, after a power cut too; when it says no, nothing of it is. All backends pass
//! `testing::contract`.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::Error;

#[cfg(feature = "age")]
pub mod age;
pub mod audit;
pub mod audit_file;
#[cfg(feature = "store")]
pub mod backups;
#[cfg(feature = "client")]
mod cluster_key;
#[cfg(feature = "client")]
pub mod cluster_witness;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "client")]
pub mod kubernetes;
pub mod memory;
mod system;

#[cfg(feature = "client")]
pub use cluster_key::{KEY_SECRET_TYPE, cluster_keys, key_entry, keys_of_secret};
pub use system::{System, key_file};

/// Commits so far. Grows by one with each, never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Head(pub u64);

impl Head {
    /// The head after one more commit.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What one commit changes. All or nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Keys with their new record; `None` takes the record away.
    pub writes: Vec<(String, Option<Vec<u8>>)>,
}

impl Batch {
    /// Stores `record` at `key`.
    pub fn put(&mut self, key: impl Into<String>, record: Vec<u8>) {
        self.writes.push((key.into(), Some(record)));
    }

    /// Takes away what is at `key`.
    pub fn delete(&mut self, key: impl Into<String>) {
        self.writes.push((key.into(), None));
    }
}

/// Tells of a commit.
#[derive(Clone, Debug)]
pub struct Change {
    /// Head that it made.
    pub head: Head,
    /// Keys that it wrote or took away.
    pub keys: Arc<[String]>,
}

/// Why a backend did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// Somebody else committed in between.
    #[error("the store has moved on to commit {}", .now.0)]
    Moved {
        /// Head that it stands at.
        now: Head,
    },
    /// No space is left. Nothing was written.
    #[error("no space is left for {place}: free some, or give the volume more; nothing was written or lost")]
    Full {
        /// File or object.
        place: String,
    },
    /// The disk can only be read.
    #[error("{place} is on a disk that can only be read: mount it for writing")]
    ReadOnly {
        /// File or object.
        place: String,
    },
    /// Another process has it.
    #[error("{place} is open in another process: stop that one first")]
    InUse {
        /// File or object.
        place: String,
    },
    /// Anything else.
    #[error("{place}: {cause}")]
    Failed {
        /// File or object.
        place: String,
        /// Words of the system.
        cause: String,
    },
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Moved { .. } => Self::Conflict(error.to_string()),
            other => Self::Backend(format!("the secret store failed: {other}")),
        }
    }
}

/// An ordered map of sealed records.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Where it stands.
    async fn head(&self) -> Result<Head, BackendError>;

    /// The record at `key`.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, BackendError>;

    /// Applies `batch` if the head still is `on`, and makes it durable before it answers. When the caller goes away in
    /// between, it has happened as a whole or not at all.
    async fn commit(&self, on: Head, batch: Batch) -> Result<Head, BackendError>;

    /// At most `limit` records whose keys start with `prefix` and are greater than `after`, in order of their bytes.
    async fn scan(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>, BackendError>;

    /// Commits from now on, in order. One that falls behind is told so by `Lagged`.
    fn changes(&self) -> broadcast::Receiver<Change>;
}

/// Clock and randomness, as an argument of everything above that needs them.
pub trait Host: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> Timestamp;
    /// Fills `buffer` with random bytes fit for keys.
    fn random(&self, buffer: &mut [u8]) -> Result<(), Error>;
}

/// How many changes a receiver may fall behind.
pub(crate) const CHANGES_KEPT: usize = 1024;
