//! Backups in a directory: a mounted share, another disk, a stick.
//!
//! The directory has to be there: where a mount is missing, making it would put the backups on the disk below.

use std::fmt;
use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt as _;

use crate::Error;
use crate::backup::BackupTarget;

/// A directory.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// This one.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn file(&self, name: &str) -> Result<PathBuf, Error> {
        match Path::new(name).file_name() {
            Some(file) if file == name => Ok(self.0.join(name)),
            _ => Err(Error::Invalid(format!("`{name}` is no name of a file"))),
        }
    }

    fn failed(&self, error: &IoError) -> Error {
        Error::Backend(match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                format!("no space is left in {self}: free some; nothing is left of the backup that did not fit")
            }
            ErrorKind::NotFound => format!("{self} is not there: is it mounted?"),
            _ => format!("{self}: {error}"),
        })
    }

    async fn write(&self, draft: &Path, file: &Path, backup: &[u8]) -> Result<(), IoError> {
        let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft).await?;
        open.write_all(backup).await?;
        open.sync_all().await?;
        fs::rename(draft, file).await?;
        File::open(&self.0).await?.sync_all().await
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

#[async_trait]
impl BackupTarget for Directory {
    async fn put(&self, name: &str, backup: Vec<u8>) -> Result<(), Error> {
        let file = self.file(name)?;
        if fs::try_exists(&file).await.map_err(|error| self.failed(&error))? {
            return Err(Error::Conflict(format!("{} is there already", file.display())));
        }
        let draft = self.file(&format!("{name}.part"))?;
        let written = self.write(&draft, &file, &backup).await;
        if written.is_err() {
            drop(fs::remove_file(&draft).await);
        }
        written.map_err(|error| self.failed(&error))
    }

    async fn get(&self, name: &str) -> Result<Vec<u8>, Error> {
        let file = self.file(name)?;
        fs::read(&file).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NotFound(format!("there is no {}", file.display())),
            _ => self.failed(&error),
        })
    }

    async fn list(&self) -> Result<Vec<String>, Error> {
        let (mut names, mut entries) = (Vec::new(), fs::read_dir(&self.0).await.map_err(|error| self.failed(&error))?);
        while let Some(entry) = entries.next_entry().await.map_err(|error| self.failed(&error))? {
            names.extend(entry.file_name().into_string());
        }
        Ok(names)
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        match fs::remove_file(self.file(name)?).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed(&error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::backup_target_contract;

    #[tokio::test]
    async fn a_directory_keeps_the_contract() {
        let folder = tempfile::tempdir().expect("a folder");
        backup_target_contract(&Directory::new(folder.path())).await;
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1, "no drafts are left");
    }

    #[tokio::test]
    async fn a_directory_that_is_gone_or_full_is_told_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let gone = Directory::new(folder.path().join("not-mounted"));
        for error in [gone.list().await.expect_err("gone"), gone.put("a", vec![1]).await.expect_err("gone")] {
            assert!(error.to_string().contains("is it mounted?"), "{error}");
        }
        assert!(!folder.path().join("not-mounted").exists());
        // What takes no bytes at all.
        let error = Directory::new("/dev/full").failed(&IoError::from(ErrorKind::StorageFull));
        assert!(error.to_string().contains("no space is left"), "{error}");
        let here = Directory::new(folder.path());
        assert!(here.put("../a", vec![1]).await.is_err() && here.put("..", vec![1]).await.is_err());
    }
}
