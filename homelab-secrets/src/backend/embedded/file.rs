//! The file: made whole or not at all, and locked while it is open.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, StorageBackend};

use super::{HEAD, RECORDS};

/// redb's own default is 1 GiB; a home's whole store fits in this.
const CACHE_BYTES: usize = 8 << 20;

/// Opens the file at `path`, or makes it, readable by its owner only. `wrap` is for tests, which put faults between redb
/// and the file.
pub(super) fn open<B: StorageBackend>(path: &Path, wrap: &dyn Fn(FileBackend) -> B) -> Result<Database, DatabaseError> {
    if !path.try_exists()? {
        make(path, wrap)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    database(wrap(FileBackend::new(file)?))
}

pub(super) fn database(storage: impl StorageBackend) -> Result<Database, DatabaseError> {
    Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(storage)
}

/// A crash while redb lays out a new file would leave one that it does not open. So that is done under another name.
fn make<B: StorageBackend>(path: &Path, wrap: &dyn Fn(FileBackend) -> B) -> Result<(), DatabaseError> {
    let draft = path.with_extension("new");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&draft)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DatabaseError::DatabaseAlreadyOpen),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    // What a crash has left of an earlier attempt.
    file.set_len(0)?;
    let laid_out = database(wrap(FileBackend::new(file)?))?;
    tables(&laid_out).map_err(|e| DatabaseError::Storage(redb::StorageError::Io(Error::other(e))))?;
    drop(laid_out);
    put_in_place(&draft, path)?;
    // A new file is durable once its name is.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    Ok(File::open(folder)?.sync_all()?)
}

fn tables(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(HEAD)?;
    write.open_table(RECORDS)?;
    Ok(write.commit()?)
}

/// Gives `draft` the name `path` if that is free: another process may have been faster, and its file may be in use.
fn put_in_place(draft: &Path, path: &Path) -> Result<(), Error> {
    match fs::hard_link(draft, path) {
        Ok(()) => fs::remove_file(draft),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => fs::remove_file(draft),
        // A file system without hard links.
        Err(_) => fs::rename(draft, path),
    }
}
