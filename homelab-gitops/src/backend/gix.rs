//! [`GitSource`] over gix: `https://`, `http://` and, if allowed, `file://`.
//!
//! Each GitSync has a bare, shallow clone of its own below the data directory: `NAMESPACE/NAME/repo.git`. A fetch brings what
//! changed since the last one. When many packs have come together, the next fetch begins anew, which is our `git gc`.

#![expect(clippy::disallowed_methods, reason = "a backend: it owns its folder")]

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::Error;
use crate::error::Fault;
use crate::source::{CommitId, GitRef, GitSource, Owner, Remote, RepoPath, SourceFile, TreeId};

mod fault;
mod read;
mod remote;

/// Packs after which a clone is made anew.
const MAX_PACKS: usize = 40;

/// Clones of repositories below one folder.
pub struct GixSource {
    root: PathBuf,
    local: Option<PathBuf>,
    locks: Mutex<HashMap<Owner, Arc<Mutex<()>>>>,
}

impl GixSource {
    /// Keeps clones below `root`. `file://` repositories are refused, since every author of a GitSync could read them.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), local: None, locks: Mutex::default() }
    }

    /// Allows `file://` repositories below `folder`.
    #[must_use]
    pub fn with_local(mut self, folder: impl Into<PathBuf>) -> Self {
        self.local = Some(folder.into());
        self
    }

    fn clone_of(&self, owner: &Owner) -> PathBuf {
        self.root.join(&owner.namespace).join(&owner.name).join("repo.git")
    }

    fn lock(&self, owner: &Owner) -> Arc<Mutex<()>> {
        Arc::clone(self.locks.lock().unwrap_or_else(PoisonError::into_inner).entry(owner.clone()).or_default())
    }

    /// Only what the daemon's administrator allowed leaves this machine's disk.
    fn check(&self, url: &str) -> Result<(), Error> {
        let refused =
            |detail: &str| Err(Error::Source { url: url.into(), fault: Fault::Refused, detail: detail.into() });
        if let Some(path) = url.strip_prefix("file://") {
            let Some(local) = &self.local else { return refused("this daemon reads no file:// repositories") };
            let inside = Path::new(path)
                .canonicalize()
                .is_ok_and(|path| local.canonicalize().is_ok_and(|local| path.starts_with(local)));
            return if inside {
                Ok(())
            } else {
                refused("it does not exist, or is outside of the folder that the daemon may read")
            };
        }
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        match rest {
            Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('@')) => {
                refused("it has a user in it; put credentials into the Secret of spec.secretRef")
            }
            Some(_) => Ok(()),
            None => refused("its scheme is none of https, http and file"),
        }
    }
}

/// Runs blocking work; a cancelled caller does not stop it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Error::Bug(format!("a Git thread ended early: {e}"))))
}

#[async_trait]
impl GitSource for GixSource {
    async fn resolve(&self, remote: &Remote, reference: &GitRef) -> Result<CommitId, Error> {
        self.check(&remote.url)?;
        if let GitRef::Commit(id) = reference {
            return Ok(id.clone());
        }
        let (dir, remote, reference) = (self.clone_of(&remote.owner), remote.clone(), reference.clone());
        let lock = self.lock(&remote.owner);
        blocking(move || {
            let _one = lock.lock().unwrap_or_else(PoisonError::into_inner);
            remote::resolve(&ready(&dir, &remote.url)?, &remote, &reference)
        })
        .await
    }

    async fn fetch(&self, remote: &Remote, reference: &GitRef) -> Result<CommitId, Error> {
        self.check(&remote.url)?;
        let (dir, remote, reference) = (self.clone_of(&remote.owner), remote.clone(), reference.clone());
        let lock = self.lock(&remote.owner);
        blocking(move || {
            let _one = lock.lock().unwrap_or_else(PoisonError::into_inner);
            if packs(&dir) > MAX_PACKS {
                remove(&dir)?;
            }
            let repository = ready(&dir, &remote.url)?;
            if let GitRef::Commit(id) = &reference
                && read::has_commit(&repository, id)
            {
                return Ok(id.clone());
            }
            remote::fetch(&repository, &remote, &reference)
        })
        .await
    }

    async fn files(&self, owner: &Owner, commit: &CommitId, folder: &RepoPath) -> Result<Vec<SourceFile>, Error> {
        let (dir, owner, commit, folder) = (self.clone_of(owner), owner.clone(), commit.clone(), folder.clone());
        blocking(move || read::files(&existing(&dir, &owner)?, &owner, &commit, &folder)).await
    }

    async fn trees(
        &self,
        owner: &Owner,
        commit: &CommitId,
        folders: &BTreeSet<RepoPath>,
    ) -> Result<Vec<Option<TreeId>>, Error> {
        let (dir, owner, commit, folders) = (self.clone_of(owner), owner.clone(), commit.clone(), folders.clone());
        blocking(move || read::trees(&existing(&dir, &owner)?, &owner, &commit, &folders)).await
    }

    async fn materialize(&self, owner: &Owner, tree: &TreeId, into: &Path) -> Result<(), Error> {
        let (dir, owner, tree, into) = (self.clone_of(owner), owner.clone(), tree.clone(), into.to_owned());
        blocking(move || read::materialize(&existing(&dir, &owner)?, &owner, &tree, &into)).await
    }

    async fn retain(&self, owners: &BTreeSet<Owner>) {
        let (root, owners) = (self.root.clone(), owners.clone());
        let forget = move || {
            for namespace in folders(&root) {
                for name in folders(&root.join(&namespace)) {
                    let owner = Owner { namespace: namespace.clone(), name };
                    if !owners.contains(&owner) {
                        remove(&root.join(&owner.namespace).join(&owner.name))?;
                    }
                }
            }
            Ok(())
        };
        if let Err(error) = blocking(forget).await {
            tracing::warn!("clones of deleted GitSyncs stay on disk: {error}");
        }
    }
}

fn folders(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn packs(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir.join("objects/pack")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack")).count()
}

fn remove(dir: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::storage("remove", dir, &e)),
        _ => Ok(()),
    }
}

/// The clone of `url`; an empty one if there is none yet, or if it is of another URL or damaged.
fn ready(dir: &Path, url: &str) -> Result<gix::Repository, Error> {
    let mark = dir.join("homelab-url");
    if std::fs::read_to_string(&mark).is_ok_and(|of| of == url)
        && let Ok(repository) = open(dir)
    {
        return Ok(repository);
    }
    remove(dir)?;
    std::fs::create_dir_all(dir).map_err(|e| Error::storage("create", dir, &e))?;
    gix::init_bare(dir).map_err(|e| Error::storage("create", dir, &fault::chain(&e)))?;
    std::fs::write(&mark, url).map_err(|e| Error::storage("write", &mark, &e))?;
    open(dir).map_err(|e| Error::storage("open", dir, &fault::chain(&e)))
}

fn existing(dir: &Path, owner: &Owner) -> Result<gix::Repository, Error> {
    open(dir).map_err(|_| Error::NotFetched { object: "the clone".into(), owner: owner.to_string() })
}

/// Opens without any configuration of the machine or its user.
fn open(dir: &Path) -> gix::Result<gix::Repository> {
    let name = ["user.name=homelab", "user.email=homelab@localhost", "core.fsync=none"];
    gix::open_opts(dir, gix::open::Options::isolated().config_overrides(name))
}

#[cfg(test)]
mod tests;
