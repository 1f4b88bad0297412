//! Folders of a repository on local disk, by tree id: what an App's relative chart path resolves to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Error;
use crate::source::{GitSource, Owner, TreeId};

/// A cache of folders below `ROOT/NAMESPACE/GITSYNC/trees/ID`. A folder that is there is complete: it was moved there whole.
pub struct Trees {
    source: Arc<dyn GitSource>,
    root: PathBuf,
    attempts: AtomicU64,
}

impl Trees {
    /// Takes folders from `source` and keeps them below `root`.
    pub fn new(source: Arc<dyn GitSource>, root: impl Into<PathBuf>) -> Self {
        Self { source, root: root.into(), attempts: AtomicU64::new(0) }
    }

    /// The files of a tree of a GitSync's repository, read-only by agreement. Class `Retry` if it was not fetched yet.
    pub async fn materialize(&self, namespace: &str, gitsync: &str, tree: &str) -> Result<PathBuf, Error> {
        let id = TreeId::parse(tree).ok_or_else(|| Error::Spec(format!("{tree:?} is no tree id")))?;
        let owner = Owner { namespace: part(namespace)?, name: part(gitsync)? };
        let cache = self.root.join(&owner.namespace).join(&owner.name).join("trees");
        let target = cache.join(id.as_str());
        if is_folder(&target).await {
            return Ok(target);
        }
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let partial = cache.join(format!(".{id}-{}-{attempt}", std::process::id()));
        let storage = |action, path: &Path, e: &std::io::Error| Error::storage(action, path, e);
        tokio::fs::create_dir_all(&partial).await.map_err(|e| storage("create", &partial, &e))?;
        let written = match self.source.materialize(&owner, &id, &partial).await {
            Ok(()) => tokio::fs::rename(&partial, &target).await.map_err(|e| storage("create", &target, &e)),
            Err(error) => Err(error),
        };
        // Somebody else may have been quicker: equal id, equal files.
        if written.is_err() {
            let _ = tokio::fs::remove_dir_all(&partial).await;
            if !is_folder(&target).await {
                written?;
            }
        }
        Ok(target)
    }
}

async fn is_folder(path: &Path) -> bool {
    tokio::fs::metadata(path).await.is_ok_and(|metadata| metadata.is_dir())
}

/// A Kubernetes name is one part of a path; anything else is refused.
fn part(name: &str) -> Result<String, Error> {
    let is_name = !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if is_name { Ok(name.into()) } else { Err(Error::Spec(format!("{name:?} is no name of a Kubernetes object"))) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::backend::memory::MemorySource;
    use crate::source::{Credentials, GitRef, Remote, RepoPath};

    #[tokio::test]
    async fn a_folder_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let source = Arc::new(MemorySource::default());
        let commit = source.push(
            "https://git/x",
            "main",
            &[("charts/web/Chart.yaml", "name: web"), ("charts/web/a/b.txt", "b")],
        );
        let owner = Owner { namespace: "home".into(), name: "sync".into() };
        let remote = Remote { owner: owner.clone(), url: "https://git/x".into(), credentials: Credentials::default() };
        source.fetch(&remote, &GitRef::Head).await.unwrap();
        let folders = BTreeSet::from([RepoPath::parse("charts/web").unwrap()]);
        let tree = source.trees(&owner, &commit, &folders).await.unwrap().remove(0).unwrap();
        let trees = Trees::new(source, dir.path());
        let (one, two) = tokio::join!(
            trees.materialize("home", "sync", tree.as_str()),
            trees.materialize("home", "sync", tree.as_str())
        );
        assert_eq!(one.unwrap(), two.unwrap());
        let path = trees.materialize("home", "sync", tree.as_str()).await.unwrap();
        assert_eq!(tokio::fs::read_to_string(path.join("a/b.txt")).await.unwrap(), "b");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no half folders stay");
        let unknown = trees.materialize("home", "sync", &"0".repeat(40)).await.unwrap_err();
        assert_eq!(unknown.class(), homelab_core::class::Class::Retry);
        assert!(trees.materialize("..", "sync", tree.as_str()).await.is_err());
    }
}
