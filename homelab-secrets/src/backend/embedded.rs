//! Records in one file (redb): the default store of a home.
//!
//! One process at a time. A commit is on disk before it is answered, in two phases and with what redb needs to open the
//! file quickly after a crash ("quick repair"). After an I/O error (a full disk, say) redb wants to be opened anew; that
//! happens by itself with the next call.
//!
//! Single records are read where the caller is: they come out of redb's cache or the system's, which takes less than going
//! to another thread and back.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use tokio::sync::broadcast;

mod file;

use super::{Backend, BackendError, Batch, CHANGES_KEPT, Change, Head};

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records/1");
const HEAD: TableDefinition<'_, (), u64> = TableDefinition::new("head/1");

/// Opens the database: an argument, so that tests can give one whose disk is full.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// One file.
pub struct Embedded(Arc<Inner>);

struct Inner {
    place: String,
    open: Opener,
    /// `None` after an I/O error, until the next call.
    database: RwLock<Option<Database>>,
    changes: broadcast::Sender<Change>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Embedded({})", self.0.place)
    }
}

impl Embedded {
    /// Opens the file at `path`, or makes it, readable by its owner only.
    pub fn open(path: &Path) -> Result<Self, BackendError> {
        let file: PathBuf = path.into();
        Self::with(path.display().to_string(), Box::new(move || file::open(&file, &|file| file)))
    }

    fn with(place: String, open: Opener) -> Result<Self, BackendError> {
        let changes = broadcast::channel(CHANGES_KEPT).0;
        let inner = Inner { place, open, database: RwLock::new(None), changes };
        inner.with_database(|_| Ok(()))?;
        Ok(Self(Arc::new(inner)))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let inner = self.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|e| Err(self.0.failed(&e)))
    }
}

/// What stops a step: an answer of ours, or a failure of redb.
enum Stop {
    Answer(BackendError),
    Redb(Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

impl Inner {
    fn failed(&self, cause: &dyn std::fmt::Display) -> BackendError {
        BackendError::Failed { place: self.place.clone(), cause: cause.to_string() }
    }

    fn explain(&self, error: &redb::Error) -> BackendError {
        let place = self.place.clone();
        match error {
            redb::Error::DatabaseAlreadyOpen => BackendError::InUse { place },
            redb::Error::Io(e) if is_full(e) => BackendError::Full { place },
            redb::Error::Io(e) if e.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                BackendError::ReadOnly { place }
            }
            other => self.failed(other),
        }
    }

    fn with_database<T>(&self, work: impl FnOnce(&Database) -> Result<T, Stop>) -> Result<T, BackendError> {
        self.ensure_open()?;
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = database.as_ref() else { return Err(self.failed(&"an earlier error closed it: try again")) };
        let error = match work(open) {
            Ok(done) => return Ok(done),
            Err(Stop::Answer(answer)) => return Err(answer),
            Err(Stop::Redb(error)) => error,
        };
        drop(database);
        if matches!(*error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::LockPoisoned(_)) {
            self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        }
        Err(self.explain(&error))
    }

    /// Opening takes a while.
    fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn ensure_open(&self) -> Result<(), BackendError> {
        if self.is_open() {
            return Ok(());
        }
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some((self.open)().map_err(|e| self.explain(&e.into()))?);
        }
        Ok(())
    }

    fn head(&self) -> Result<Head, BackendError> {
        self.with_database(|database| {
            let read = database.begin_read()?;
            let head = match read.open_table(HEAD) {
                Ok(table) => table.get(())?.map_or(0, |head| head.value()),
                Err(TableError::TableDoesNotExist(_)) => 0,
                Err(e) => return Err(e.into()),
            };
            Ok(Head(head))
        })
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.with_database(|database| {
            let read = database.begin_read()?;
            match read.open_table(RECORDS) {
                Ok(table) => Ok(table.get(key)?.map(|record| record.value().to_vec())),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(e) => Err(e.into()),
            }
        })
    }

    fn commit(&self, on: Head, batch: &Batch) -> Result<Head, BackendError> {
        self.with_database(|database| {
            let mut write = database.begin_write()?;
            write.set_quick_repair(true);
            {
                let mut head = write.open_table(HEAD)?;
                let now = Head(head.get(())?.map_or(0, |head| head.value()));
                if now != on {
                    return Err(Stop::Answer(BackendError::Moved { now }));
                }
                head.insert((), on.next().0)?;
                let mut records = write.open_table(RECORDS)?;
                for (key, record) in &batch.writes {
                    match record {
                        Some(record) => drop(records.insert(key.as_str(), record.as_slice())?),
                        None => drop(records.remove(key.as_str())?),
                    }
                }
            }
            write.commit()?;
            let keys = batch.writes.iter().map(|(key, _)| key.clone()).collect();
            // Nobody listening is fine.
            let _ = self.changes.send(Change { head: on.next(), keys });
            Ok(on.next())
        })
    }

    fn scan(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>, BackendError> {
        self.with_database(|database| {
            let read = database.begin_read()?;
            let table = match read.open_table(RECORDS) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(e) => return Err(e.into()),
            };
            let mut found = Vec::new();
            for entry in table.range(after.max(prefix)..)? {
                let (key, record) = entry?;
                let key = key.value();
                if found.len() == limit || !key.starts_with(prefix) {
                    break;
                }
                if key > after {
                    found.push((key.to_owned(), record.value().to_vec()));
                }
            }
            Ok(found)
        })
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[async_trait]
impl Backend for Embedded {
    async fn head(&self) -> Result<Head, BackendError> {
        if self.0.is_open() { self.0.head() } else { self.blocking(Inner::head).await }
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, BackendError> {
        if self.0.is_open() {
            return self.0.get(key);
        }
        let key = key.to_owned();
        self.blocking(move |inner| inner.get(&key)).await
    }

    async fn commit(&self, on: Head, batch: Batch) -> Result<Head, BackendError> {
        self.blocking(move |inner| inner.commit(on, &batch)).await
    }

    async fn scan(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>, BackendError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.blocking(move |inner| inner.scan(&prefix, &after, limit)).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
