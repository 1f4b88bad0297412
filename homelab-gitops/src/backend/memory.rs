//! [`GitSource`] in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::error::Fault;
use crate::source::{
    CommitId, Content, GitRef, GitSource, MAX_FILE, Owner, Remote, RepoPath, SourceFile, TreeId, is_manifest_name,
};

type Files = BTreeMap<RepoPath, Vec<u8>>;

/// Repositories by URL.
#[derive(Default)]
pub struct MemorySource {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Branches by URL and name; the first is HEAD.
    branches: BTreeMap<String, Vec<(String, CommitId)>>,
    commits: BTreeMap<CommitId, Files>,
    fetched: BTreeSet<(Owner, CommitId)>,
    down: Option<Fault>,
}

impl MemorySource {
    /// Pushes a commit with these files to a branch and returns its id.
    pub fn push(&self, url: &str, branch: &str, files: &[(&str, &str)]) -> CommitId {
        let files: Files =
            files.iter().filter_map(|(path, text)| Some((RepoPath::parse(path)?, text.as_bytes().to_vec()))).collect();
        let mut state = self.state();
        let id = CommitId::parse(&digest(&format!("{url} {branch} {} {files:?}", state.commits.len())))
            .expect("20 bytes in hexadecimal are an id");
        state.commits.insert(id.clone(), files);
        let branches = state.branches.entry(url.into()).or_default();
        match branches.iter_mut().find(|(name, _)| name == branch) {
            Some((_, head)) => *head = id.clone(),
            None => branches.push((branch.into(), id.clone())),
        }
        id
    }

    /// Lets every request fail from now on, or no more.
    pub fn fail(&self, fault: Option<Fault>) {
        self.state().down = fault;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files_of(&self, owner: &Owner, commit: &CommitId) -> Result<Files, Error> {
        let state = self.state();
        let fetched = state.fetched.contains(&(owner.clone(), commit.clone()));
        let missing = || Error::NotFetched { object: format!("commit {commit}"), owner: owner.to_string() };
        state.commits.get(commit).filter(|_| fetched).cloned().ok_or_else(missing)
    }
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}

fn below<'a>(files: &'a Files, folder: &RepoPath) -> impl Iterator<Item = (&'a RepoPath, &'a Vec<u8>)> {
    files.iter().filter(move |(path, _)| path.is_below(folder) && *path != folder)
}

fn tree_id(files: &Files, folder: &RepoPath) -> Option<TreeId> {
    let prefix = folder.as_str().len();
    let inside: Vec<_> = below(files, folder)
        .map(|(path, content)| (path.as_str().get(prefix..).unwrap_or_default().trim_start_matches('/'), content))
        .collect();
    if inside.is_empty() { None } else { TreeId::parse(&digest(&format!("{inside:?}"))) }
}

fn folders(files: &Files) -> BTreeSet<RepoPath> {
    let mut all = BTreeSet::from([RepoPath::root()]);
    for path in files.keys() {
        let mut parent = path.parent();
        while parent != RepoPath::root() {
            let next = parent.parent();
            all.insert(parent);
            parent = next;
        }
    }
    all
}

#[async_trait]
impl GitSource for MemorySource {
    async fn resolve(&self, remote: &Remote, reference: &GitRef) -> Result<CommitId, Error> {
        let state = self.state();
        let error = |fault, detail: String| Error::Source { url: remote.url.clone(), fault, detail };
        if let Some(fault) = state.down {
            return Err(error(fault, "it was told to fail".into()));
        }
        let branches =
            state.branches.get(&remote.url).ok_or_else(|| error(Fault::NoRepository, "nothing was pushed".into()))?;
        let found = match reference {
            GitRef::Commit(id) => Some(id.clone()),
            GitRef::Head => branches.first().map(|(_, id)| id.clone()),
            GitRef::Branch(name) => branches.iter().find(|(branch, _)| branch == name).map(|(_, id)| id.clone()),
            GitRef::Tag(name) => {
                branches.iter().find(|(branch, _)| *branch == format!("tags/{name}")).map(|(_, id)| id.clone())
            }
        };
        found.ok_or_else(|| error(Fault::NoReference, format!("the repository has no {reference}")))
    }

    async fn fetch(&self, remote: &Remote, reference: &GitRef) -> Result<CommitId, Error> {
        let id = self.resolve(remote, reference).await?;
        let mut state = self.state();
        if !state.commits.contains_key(&id) {
            let detail = format!("the server did not send {reference}");
            return Err(Error::Source { url: remote.url.clone(), fault: Fault::NoReference, detail });
        }
        state.fetched.insert((remote.owner.clone(), id.clone()));
        Ok(id)
    }

    async fn files(&self, owner: &Owner, commit: &CommitId, folder: &RepoPath) -> Result<Vec<SourceFile>, Error> {
        let files = self.files_of(owner, commit)?;
        let found: Vec<SourceFile> = below(&files, folder)
            .map(|(path, content)| {
                let size = content.len() as u64;
                let is_read = is_manifest_name(path.name()) && size <= MAX_FILE;
                SourceFile {
                    path: path.clone(),
                    content: if is_read { Content::Bytes(content.clone()) } else { Content::Unread { size } },
                }
            })
            .collect();
        if found.is_empty() && *folder != RepoPath::root() {
            return Err(Error::Path { path: folder.to_string(), commit: commit.short().into() });
        }
        Ok(found)
    }

    async fn trees(
        &self,
        owner: &Owner,
        commit: &CommitId,
        wanted: &BTreeSet<RepoPath>,
    ) -> Result<Vec<Option<TreeId>>, Error> {
        let files = self.files_of(owner, commit)?;
        Ok(wanted.iter().map(|folder| tree_id(&files, folder)).collect())
    }

    async fn materialize(&self, owner: &Owner, tree: &TreeId, into: &Path) -> Result<(), Error> {
        let found = {
            let state = self.state();
            let mine = state.commits.iter().filter(|(id, _)| state.fetched.contains(&(owner.clone(), (*id).clone())));
            mine.flat_map(|(_, files)| folders(files).into_iter().map(move |folder| (files, folder)))
                .find(|(files, folder)| tree_id(files, folder).as_ref() == Some(tree))
                .map(|(files, folder)| (files.clone(), folder))
        };
        let (files, folder) =
            found.ok_or_else(|| Error::NotFetched { object: format!("tree {tree}"), owner: owner.to_string() })?;
        for (path, content) in below(&files, &folder) {
            let inside = path.as_str().get(folder.as_str().len()..).unwrap_or_default().trim_start_matches('/');
            let target = into.join(inside);
            let written =
                target.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| write(&target, content));
            written.map_err(|e| Error::storage("write", &target, &e))?;
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a backend: it writes the files of a tree")]
fn write(target: &Path, content: &[u8]) -> std::io::Result<()> {
    std::fs::write(target, content)
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn it_keeps_the_contract() {
        crate::testing::contract(&mut crate::testing::MemoryForge::default()).await;
    }
}
