//! What every [`GitSource`] and every [`SealedFiles`](crate::sealed::SealedFiles) has to do, as suites that each runs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test suite: it ends by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test suite: it looks at the files that a backend wrote")]

mod sealed;

pub use sealed::{MemorySealed, TestSecrets, sealed_contract};

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Error;
use crate::backend::memory::MemorySource;
use crate::error::Fault;
use crate::source::{CommitId, Content, Credentials, GitRef, GitSource, Owner, Remote, RepoPath};

/// A Git server that the suite can push to, and a source that reads from it.
pub trait TestForge: Send {
    /// The source under test.
    fn source(&self) -> Arc<dyn GitSource>;
    /// URL of the repository.
    fn url(&self) -> String;
    /// URL of a repository that does not exist.
    fn wrong_url(&self) -> String;
    /// Replaces all files of a branch by a new commit; the first branch is HEAD.
    fn push(&mut self, branch: &str, files: &[(&str, &str)]) -> CommitId;
    /// A new empty folder.
    fn folder(&mut self) -> PathBuf;
}

/// [`MemorySource`] with its own server.
#[derive(Default)]
pub struct MemoryForge {
    source: Arc<MemorySource>,
    folders: u32,
}

impl TestForge for MemoryForge {
    fn source(&self) -> Arc<dyn GitSource> {
        self.source.clone()
    }

    fn url(&self) -> String {
        "https://git.test/home.git".into()
    }

    fn wrong_url(&self) -> String {
        "https://git.test/wrong.git".into()
    }

    fn push(&mut self, branch: &str, files: &[(&str, &str)]) -> CommitId {
        self.source.push("https://git.test/home.git", branch, files)
    }

    fn folder(&mut self) -> PathBuf {
        self.folders += 1;
        let name = format!("homelab-gitops-{}-{}-{:p}", std::process::id(), self.folders, self);
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}

fn owner(name: &str) -> Owner {
    Owner { namespace: "home".into(), name: name.into() }
}

fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).unwrap()
}

/// Runs the suite; panics at the first rule that does not hold.
pub async fn contract(forge: &mut dyn TestForge) {
    let remote = Remote { owner: owner("a"), url: forge.url(), credentials: Credentials::default() };
    let source = forge.source();
    let chart: &[(&str, &str)] = &[("charts/web/Chart.yaml", "name: web"), ("charts/web/templates/a.txt", "hello")];
    let first = [&[("apps/a.yaml", "a: 1"), ("apps/deep/b.json", "{}"), ("README.md", "hi")][..], chart].concat();
    let one = forge.push("main", &first);

    follows_branches(forge, &remote, &one).await;
    reads(&source, &remote, &one).await;
    materializes(forge, &remote, &one).await;

    let second = [&[("apps/a.yaml", "a: 2")][..], chart].concat();
    let two = forge.push("main", &second);
    assert_eq!(source.resolve(&remote, &GitRef::Head).await.unwrap(), two, "a push is seen");
    assert_eq!(source.fetch(&remote, &GitRef::Branch("main".into())).await.unwrap(), two);
    let folders = BTreeSet::from([path("charts/web"), path("apps")]);
    let before = source.trees(&remote.owner, &one, &folders).await.unwrap();
    let after = source.trees(&remote.owner, &two, &folders).await.unwrap();
    assert_eq!(before[1], after[1], "an untouched folder keeps its id");
    assert_ne!(before[0], after[0], "a changed folder gets another");

    faults(forge, &remote).await;
}

async fn follows_branches(forge: &mut dyn TestForge, remote: &Remote, one: &CommitId) {
    let source = forge.source();
    let missing = source.files(&remote.owner, one, &RepoPath::root()).await;
    assert!(matches!(missing, Err(Error::NotFetched { .. })), "nothing is here before a fetch: {missing:?}");
    for reference in [GitRef::Head, GitRef::Branch("main".into())] {
        assert_eq!(&source.resolve(remote, &reference).await.unwrap(), one);
    }
    assert_eq!(&source.fetch(remote, &GitRef::Head).await.unwrap(), one);
    assert_eq!(&source.fetch(remote, &GitRef::Head).await.unwrap(), one, "twice is fine");
    assert_eq!(&source.fetch(remote, &GitRef::Commit(one.clone())).await.unwrap(), one, "a commit by its id");
    let other = forge.push("test", &[("b.yaml", "b: 1")]);
    assert_eq!(source.fetch(remote, &GitRef::Branch("test".into())).await.unwrap(), other);
}

async fn reads(source: &Arc<dyn GitSource>, remote: &Remote, one: &CommitId) {
    let files = source.files(&remote.owner, one, &path("apps")).await.unwrap();
    let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["apps/a.yaml", "apps/deep/b.json"], "the folder and all below, sorted, paths from the root");
    assert_eq!(files[0].content, Content::Bytes(b"a: 1".to_vec()));
    let all = source.files(&remote.owner, one, &RepoPath::root()).await.unwrap();
    let readme = all.iter().find(|file| file.path.as_str() == "README.md").unwrap();
    assert_eq!(readme.content, Content::Unread { size: 2 }, "what is no manifest is not read");
    let gone = source.files(&remote.owner, one, &path("nowhere")).await;
    assert!(matches!(gone, Err(Error::Path { .. })), "{gone:?}");
    let stranger = source.files(&owner("b"), one, &RepoPath::root()).await;
    assert!(matches!(stranger, Err(Error::NotFetched { .. })), "another GitSync sees nothing of it: {stranger:?}");
    let folders = BTreeSet::from([path("README.md"), path("charts/web"), path("nowhere")]);
    let trees = source.trees(&remote.owner, one, &folders).await.unwrap();
    assert_eq!(trees.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false], "only folders have a tree");
}

async fn materializes(forge: &mut dyn TestForge, remote: &Remote, one: &CommitId) {
    let source = forge.source();
    let folders = BTreeSet::from([path("charts/web")]);
    let tree = source.trees(&remote.owner, one, &folders).await.unwrap().remove(0).unwrap();
    let into = forge.folder();
    source.materialize(&remote.owner, &tree, &into).await.unwrap();
    assert_eq!(std::fs::read_to_string(into.join("templates/a.txt")).unwrap(), "hello");
    let stranger = source.materialize(&owner("b"), &tree, &forge.folder()).await;
    assert!(matches!(stranger, Err(Error::NotFetched { .. })), "another GitSync gets nothing of it: {stranger:?}");
}

async fn faults(forge: &dyn TestForge, remote: &Remote) {
    let source = forge.source();
    let fault = |result: Result<CommitId, Error>| match result {
        Err(Error::Source { fault, .. }) => fault,
        other => panic!("expected a fault of the source, not {other:?}"),
    };
    for reference in [GitRef::Branch("nowhere".into()), GitRef::Tag("nowhere".into())] {
        assert_eq!(fault(source.resolve(remote, &reference).await), Fault::NoReference);
        assert_eq!(fault(source.fetch(remote, &reference).await), Fault::NoReference);
    }
    let wrong = Remote { url: forge.wrong_url(), ..remote.clone() };
    assert_eq!(fault(source.resolve(&wrong, &GitRef::Head).await), Fault::NoRepository);
}
