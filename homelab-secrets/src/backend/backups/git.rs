//! Backups in a Git repository, one commit each, by the program git.
//!
//! A repository keeps what was deleted: it grows, and old backups stay in its history. They are sealed, like all others.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use homelab_core::process::Program;
use zeroize::Zeroizing;

use crate::Error;
use crate::backup::BackupTarget;

const LIMIT: Duration = Duration::from_secs(120);
const NAME: &str = "homelab";

/// A branch of a repository.
#[derive(Clone)]
pub struct GitRepository {
    url: String,
    branch: String,
    /// Below it checkouts are made and thrown away.
    scratch: PathBuf,
    /// What programs find git by.
    path: String,
    /// An HTTP header.
    authorization: Option<Zeroizing<String>>,
}

impl fmt::Debug for GitRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitRepository({self})")
    }
}

impl fmt::Display for GitRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.url, self.branch)
    }
}

/// A checkout that goes when it is dropped.
struct Checkout(PathBuf);

impl Drop for Checkout {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl GitRepository {
    /// The branch `branch` of the repository at `url`, which holds no credentials. Checkouts are made below `scratch`; `path`
    /// is the `PATH` on which git is.
    pub fn new(url: &str, branch: &str, scratch: &Path, path: &str) -> Self {
        let (url, branch, path) = (url.to_owned(), branch.to_owned(), path.to_owned());
        Self { url, branch, scratch: scratch.join("backup-checkout"), path, authorization: None }
    }

    /// With HTTP basic authentication.
    #[must_use]
    pub fn with_password(self, user: &str, password: &str) -> Self {
        let both = Zeroizing::new(BASE64.encode(format!("{user}:{password}")));
        Self { authorization: Some(Zeroizing::new(format!("Authorization: Basic {}", *both))), ..self }
    }

    /// The header goes through the environment: arguments are seen by everybody on a machine.
    fn git(&self, folder: &Path) -> Program {
        let mut git = Program::new("git").cwd(folder).timeout(LIMIT);
        let mut env = vec![("PATH", self.path.as_str()), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_CONFIG_NOSYSTEM", "1")];
        env.extend([("GIT_AUTHOR_NAME", NAME), ("GIT_COMMITTER_NAME", NAME)]);
        env.extend([("GIT_AUTHOR_EMAIL", "homelab@localhost"), ("GIT_COMMITTER_EMAIL", "homelab@localhost")]);
        if let Some(header) = &self.authorization {
            env.extend([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "http.extraHeader")]);
            env.push(("GIT_CONFIG_VALUE_0", header.as_str()));
        }
        for (key, value) in env {
            git = git.env(key, value);
        }
        git.env("HOME", folder)
    }

    async fn run<const N: usize>(&self, folder: &Path, args: [&str; N]) -> Result<String, Error> {
        let done = self.git(folder).args(args).run_ok().await;
        done.map(|output| output.text()).map_err(|error| Error::Backend(format!("{self}: {error}")))
    }

    /// The newest commit of the branch; an empty folder if there is none yet.
    async fn checkout(&self) -> Result<Checkout, Error> {
        drop(Checkout(self.scratch.clone()));
        let made = tokio::fs::create_dir_all(&self.scratch).await;
        made.map_err(|error| Error::Backend(format!("make {}: {error}", self.scratch.display())))?;
        let checkout = Checkout(self.scratch.clone());
        let folder = &checkout.0;
        self.run(folder, ["init", "--quiet", "--initial-branch", &self.branch]).await?;
        self.run(folder, ["remote", "add", "origin", &self.url]).await?;
        let wanted = format!("refs/heads/{}", self.branch);
        if !self.run(folder, ["ls-remote", "origin", &wanted]).await?.is_empty() {
            self.run(folder, ["fetch", "--quiet", "--depth=1", "origin", &wanted]).await?;
            self.run(folder, ["reset", "--quiet", "--hard", "FETCH_HEAD"]).await?;
        }
        Ok(checkout)
    }

    /// Git refuses to push over what somebody else pushed meanwhile.
    async fn push(&self, checkout: &Checkout, message: &str) -> Result<(), Error> {
        let folder = &checkout.0;
        self.run(folder, ["add", "--all", "--force"]).await?;
        self.run(folder, ["commit", "--quiet", "--message", message]).await?;
        let target = format!("HEAD:refs/heads/{}", self.branch);
        self.run(folder, ["push", "--quiet", "origin", &target]).await.map(drop)
    }
}

fn file(checkout: &Checkout, name: &str) -> Result<PathBuf, Error> {
    match Path::new(name).file_name() {
        Some(file) if file == name && !name.starts_with(".git") => Ok(checkout.0.join(name)),
        _ => Err(Error::Invalid(format!("`{name}` is no name of a file"))),
    }
}

#[async_trait]
impl BackupTarget for GitRepository {
    async fn put(&self, name: &str, backup: Vec<u8>) -> Result<(), Error> {
        let checkout = self.checkout().await?;
        let file = file(&checkout, name)?;
        if file.exists() {
            return Err(Error::Conflict(format!("{name} is in {self} already")));
        }
        let written = tokio::fs::write(&file, backup).await;
        written.map_err(|error| Error::Backend(format!("write {}: {error}", file.display())))?;
        self.push(&checkout, &format!("Keep {name}")).await
    }

    async fn get(&self, name: &str) -> Result<Vec<u8>, Error> {
        let checkout = self.checkout().await?;
        let read = tokio::fs::read(file(&checkout, name)?).await;
        read.map_err(|_| Error::NotFound(format!("there is no {name} in {self}")))
    }

    async fn list(&self) -> Result<Vec<String>, Error> {
        let checkout = self.checkout().await?;
        let names = self.run(&checkout.0, ["ls-files", "-z"]).await?;
        Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let checkout = self.checkout().await?;
        match tokio::fs::remove_file(file(&checkout, name)?).await {
            Ok(()) => self.push(&checkout, &format!("Take {name} away")).await,
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::backup_target_contract;

    fn repository(folder: &Path, url: &str) -> GitRepository {
        GitRepository::new(url, "backups", folder, "/usr/local/bin:/usr/bin:/bin")
    }

    #[tokio::test]
    async fn a_repository_keeps_the_contract() {
        let folder = tempfile::tempdir().expect("a folder");
        let bare = folder.path().join("bare.git");
        let url = format!("file://{}", bare.display());
        let it = repository(folder.path(), &url);
        it.run(folder.path(), ["init", "--quiet", "--bare", "bare.git"]).await.expect("a repository");
        backup_target_contract(&it).await;
        assert!(!folder.path().join("backup-checkout").exists(), "no checkout is left");
    }

    #[tokio::test]
    async fn one_that_is_not_there_is_named_and_the_password_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let it = repository(folder.path(), "http://127.0.0.1:1/none.git").with_password("me", "planted");
        let error = it.list().await.expect_err("nobody answers").to_string();
        assert!(error.contains("http://127.0.0.1:1/none.git (backups)"), "{error}");
        for text in [error, format!("{it:?} {it}")] {
            assert!(!text.contains("planted") && !text.contains(&BASE64.encode("me:planted")), "{text}");
        }
    }
}
