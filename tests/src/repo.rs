//! A working copy that pushes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::forge::git;

/// A working copy of one repository on a [`crate::forge::Forge`].
pub struct Repo {
    folder: TempDir,
    /// The repository's address, without credentials.
    pub url: String,
    /// The address to push to, with them.
    remote: String,
}

impl Repo {
    pub(crate) async fn new(url: String, credentials: Option<(String, String)>) -> Result<Self> {
        let folder = TempDir::new()?;
        git(folder.path(), ["init", "--quiet", "--initial-branch=main"]).await?;
        let remote = match credentials {
            Some((user, password)) => url.replacen("://", &format!("://{user}:{password}@"), 1),
            None => url.clone(),
        };
        Ok(Self { folder, url, remote })
    }

    /// A file or folder of the working copy.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a file and the folders above it.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let file = self.path(path);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&file, text).with_context(|| format!("can not write {}", file.display()))
    }

    /// Takes what somebody else has pushed to `main`; `false`: nobody has yet.
    pub async fn pull(&self) -> Result<bool> {
        let folder = self.folder.path();
        if git(folder, ["ls-remote", self.remote.as_str(), "refs/heads/main"]).await?.is_empty() {
            return Ok(false);
        }
        git(folder, ["fetch", "--quiet", self.remote.as_str(), "refs/heads/main"]).await?;
        git(folder, ["reset", "--quiet", "--hard", "FETCH_HEAD"]).await?;
        Ok(true)
    }

    /// Replaces `from` in a file; it must be there.
    pub fn replace(&self, path: &str, from: &str, to: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.path(path)).with_context(|| format!("can not read {path}"))?;
        anyhow::ensure!(text.contains(from), "{path} does not contain {from:?}");
        self.write(path, &text.replacen(from, to, 1))
    }

    /// Removes a file or a folder.
    pub fn remove(&self, path: &str) -> Result<()> {
        let target = self.path(path);
        let removed = if target.is_dir() { std::fs::remove_dir_all(&target) } else { std::fs::remove_file(&target) };
        removed.with_context(|| format!("can not remove {path}"))
    }

    /// Copies a folder of the host into the working copy.
    pub fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let entries = std::fs::read_dir(from).with_context(|| format!("can not read {}", from.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = format!("{to}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.copy(&entry.path(), &name)?;
            } else {
                self.write(&name, &std::fs::read_to_string(entry.path())?)?;
            }
        }
        Ok(())
    }

    /// Commits everything and pushes it; returns the commit's id.
    pub async fn push(&self, message: &str) -> Result<String> {
        git(self.folder.path(), ["add", "--all"]).await?;
        git(self.folder.path(), ["commit", "--quiet", "--message", message]).await?;
        self.push_head().await
    }

    /// Takes the last commit back by a new one, and pushes it.
    pub async fn revert(&self) -> Result<String> {
        git(self.folder.path(), ["revert", "--no-edit", "HEAD"]).await?;
        self.push_head().await
    }

    async fn push_head(&self) -> Result<String> {
        git(self.folder.path(), ["push", "--quiet", &self.remote, "HEAD:refs/heads/main"]).await?;
        Ok(git(self.folder.path(), ["rev-parse", "HEAD"]).await?.trim().to_owned())
    }
}
