//! The audit log in files of one directory: the default.
//!
//! Two threads of its own serve all callers. The writer gives each record its place in the chain and writes what has
//! come together in one go; the syncer brings what was written to the disk, once for all that wait, and within a second
//! where nobody does. So a record that needs no disk never waits for one.
//!
//! ```text
//! audit-00000000000000000001.log …   records; each file begins with the end of the one before
//! anchor                             where the chain stood on the disk a few seconds ago, with a MAC of its own
//! reserve                            space for the last records of a disk that is full
//! keys.json                          wrapped keys, to check the log with the key file while the store is in use
//! lock                               held by the process that writes
//! ```
//!
//! When the disk is full the reserve is given up, the records of what is under way are written, and nothing new is
//! begun until there is space again. That is looked for once a second.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use super::Host;
use super::audit::{AuditBlocked, AuditSink, Trouble};
use crate::Error;
use crate::audit::{Anchor, AuditKey, Durability, Entry};

mod check;
mod place;
mod recover;
mod syncer;
mod writer;

pub use check::{check, stored_keys};

use place::{Folder, Place};
use syncer::Shared;
use writer::{Append, Job, Writer};

const ANCHOR: &str = "anchor";
const KEYS: &str = "keys.json";
const RESERVE: &str = "reserve";
/// A disk that does not take a record in this time is taken for one that hangs.
const STALLED: Duration = Duration::from_secs(10);

/// Where the log lies and how large it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// The directory; made if it is not there.
    pub folder: PathBuf,
    /// Bytes after which the next file is begun.
    pub file_size: u64,
    /// Bytes of all files together. The oldest are deleted to keep to it.
    pub total_size: u64,
    /// Bytes that are set aside for a full disk.
    pub reserve: u64,
}

impl FileConfig {
    /// 16 MiB a file, 256 MiB in all, 1 MiB set aside.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), file_size: 16 << 20, total_size: 256 << 20, reserve: 1 << 20 }
    }

    fn check(&self) -> Result<(), Error> {
        if self.file_size < 4096 || self.total_size < self.file_size.saturating_mul(2) {
            let (file, total) = (self.file_size, self.total_size);
            return Err(Error::Invalid(format!(
                "an audit log with files of {file} bytes and {total} in all: a file needs 4096, and there must be room for two"
            )));
        }
        Ok(())
    }
}

/// How a log is doing, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditStats {
    /// Records since the log was begun, also by earlier processes.
    pub records: u64,
    /// How often this process stopped taking records.
    pub failures: u64,
    /// No record is taken now.
    pub blocked: bool,
    /// Age of the oldest record that is not on the disk; zero if all are.
    pub unsynced: Duration,
    /// Time since the disk last took records.
    pub last_sync: Duration,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that are left until the oldest file is deleted.
    pub room: u64,
}

/// The log in files. Dropping it writes what is under way, and waits for that.
pub struct FileAudit {
    jobs: Mutex<Sender<Job>>,
    shared: Arc<Shared>,
    place: Arc<dyn Place>,
    total_size: u64,
    patience: Duration,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for FileAudit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileAudit(…)")
    }
}

impl FileAudit {
    /// Opens the log, or begins one. `expected` is an anchor that was kept elsewhere: what lies behind it must be there.
    /// A log that was tampered with is gone on with; that is logged, and recorded. Blocks for some milliseconds.
    pub fn open(
        config: &FileConfig,
        key: Arc<AuditKey>,
        host: Arc<dyn Host>,
        expected: Option<Anchor>,
    ) -> Result<Self, Error> {
        config.check()?;
        let folder = Folder::take(&config.folder)?;
        Self::with(Arc::new(folder), config, key, host, expected)
    }

    fn with(
        place: Arc<dyn Place>,
        config: &FileConfig,
        key: Arc<AuditKey>,
        host: Arc<dyn Host>,
        expected: Option<Anchor>,
    ) -> Result<Self, Error> {
        let end = recover::find_end(&*place, config, &key, expected)?;
        let shared = Arc::new(Shared::new(end.at, end.anchor));
        let (jobs, inbox) = std::sync::mpsc::channel();
        let failed = |e: std::io::Error| Error::Backend(format!("a thread of the audit log does not start: {e}"));
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let (syncer, to_writer) = (shared.clone(), jobs.clone());
        let (its_place, its_key, its_host) = (place.clone(), key.clone(), host.clone());
        let sync = move || syncer::run(&syncer, &to_writer, &*its_place, &its_key, &*its_host);
        let writer = Writer::new(place.clone(), config.clone(), key, host, shared.clone(), end)?;
        let threads = vec![
            thread("audit").spawn(move || writer.run(&inbox)).map_err(failed)?,
            thread("audit-sync").spawn(sync).map_err(failed)?,
        ];
        Ok(Self { jobs: Mutex::new(jobs), shared, place, total_size: config.total_size, patience: STALLED, threads })
    }

    /// The last record that is on the disk, to be kept elsewhere and given to the next [`Self::open`].
    pub fn synced(&self, host: &dyn Host) -> Anchor {
        Anchor { at: self.shared.synced(), time: host.now() }
    }

    /// How it is doing. Never waits for the disk.
    pub fn stats(&self) -> AuditStats {
        let stats = self.shared.stats();
        AuditStats { room: self.total_size.saturating_sub(stats.bytes), ..stats }
    }

    /// Keeps a copy of the wrapped keys beside the log, to check it with. To be called again when slots change.
    pub fn keep_keys(&self, table: &[u8]) -> Result<(), Error> {
        let kept = self.place.replace(KEYS, table);
        kept.map_err(|e| {
            Error::Backend(format!("the copy of the wrapped keys beside the audit log was not written: {e}"))
        })
    }
}

#[async_trait]
impl AuditSink for FileAudit {
    async fn append(&self, entry: Entry, durability: Durability) -> Result<u64, AuditBlocked> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Append(Append { entry, durability, reply });
        let sent = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).send(job);
        let closed = || AuditBlocked("the log is closed".into());
        sent.map_err(|_| closed())?;
        match tokio::time::timeout(self.patience, answer).await {
            Ok(answer) => answer.map_err(|_| closed())?,
            Err(_) => {
                self.shared.stalled.store(true, Ordering::SeqCst);
                let why: Arc<str> = format!("the disk has not taken a record in {:?}", self.patience).into();
                self.shared.report(Some(why.clone()));
                Err(AuditBlocked(why))
            }
        }
    }

    fn trouble(&self) -> watch::Receiver<Trouble> {
        self.shared.trouble()
    }
}

impl Drop for FileAudit {
    fn drop(&mut self) {
        let _ = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).send(Job::Stop);
        for thread in self.threads.drain(..) {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
