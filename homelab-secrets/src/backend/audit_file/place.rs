//! A directory, as much of it as the log needs.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;

/// A directory of files. An argument of everything beside it, so that tests can give one that fails.
pub(super) trait Place: Send + Sync + 'static {
    /// Names of the log's files in order, and their sizes.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Opens a file for adding to its end. A new one is there to stay when this returns.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Sheet>>;
    /// Takes a file away.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// A small file as a whole, if it is there.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Writes a small file as a whole or not at all.
    fn replace(&self, name: &str, text: &[u8]) -> io::Result<()>;
}

/// An open file.
pub(super) trait Sheet: Send + Sync {
    /// Its length, and at most so many of its last bytes.
    fn tail(&self, most: usize) -> io::Result<(u64, Vec<u8>)>;
    /// Adds to its end. After an error some of the bytes may be there.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts it to this length.
    fn cut(&self, len: u64) -> io::Result<()>;
    /// Brings all of it to the disk.
    fn sync(&self) -> io::Result<()>;
}

const START: &str = "audit-";
const END: &str = ".log";

/// Name of the file whose first record has this number. Names sort as the numbers do.
pub(super) fn name_of(seq: u64) -> String {
    format!("{START}{seq:020}{END}")
}

/// The number of its first record, if it is one of the log's files.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(START)?.strip_suffix(END)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// A real directory.
pub(super) struct Folder {
    path: PathBuf,
    /// Held by the one process that writes.
    _lock: Option<File>,
}

impl Folder {
    /// Makes the directory if need be, and takes it for this process.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let failed = |what: &str, e: &io::Error| Error::Backend(format!("the audit directory {shown} {what}: {e}"));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|e| failed("can not be made", &e))?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"));
        let lock = lock.map_err(|e| failed("can not be written to", &e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(Error::Backend(format!(
                "the audit directory {shown} is in use by another process: stop that one first"
            ))),
            Err(TryLockError::Error(e)) => Err(failed("can not be locked", &e)),
        }
    }

    /// The directory, to look at only.
    pub(super) fn look(path: &Path) -> Self {
        Self { path: path.into(), _lock: None }
    }

    /// Opens one of its files for reading.
    pub(super) fn reader(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Place for Folder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str().filter(|name| number_of(name).is_some()) {
                found.push((name.to_owned(), entry.metadata()?.len()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Sheet>> {
        let path = self.path.join(name);
        let is_new = !path.exists();
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        if is_new {
            self.sync()?;
        }
        Ok(Arc::new(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match self.reader(name) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut text = Vec::new();
        file.take(1 << 20).read_to_end(&mut text)?;
        Ok(Some(text))
    }

    fn replace(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let draft = self.path.join(format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(text)?;
        file.sync_data()?;
        fs::rename(draft, self.path.join(name))
    }
}

impl Sheet for File {
    fn tail(&self, most: usize) -> io::Result<(u64, Vec<u8>)> {
        let mut file = self;
        let len = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(len.saturating_sub(most as u64)))?;
        let mut text = Vec::new();
        file.take(most as u64).read_to_end(&mut text)?;
        Ok((len, text))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
