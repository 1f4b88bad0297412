//! Reading fetched objects. No network.

#![expect(clippy::disallowed_methods, reason = "a backend: it writes the files of a tree")]

use std::collections::BTreeSet;
use std::path::Path;

use gix::bstr::ByteSlice as _;
use gix::objs::tree::EntryKind;

use crate::Error;
use crate::source::{CommitId, Content, MAX_FILE, Owner, RepoPath, SourceFile, TreeId, is_manifest_name};

/// Deepest folder that is read: a tree can not hold itself, but it can be made very deep.
const MAX_DEPTH: usize = 64;

/// Whether a commit and the tree of it are here.
pub(super) fn has_commit(repository: &gix::Repository, commit: &CommitId) -> bool {
    root(repository, commit).is_some()
}

fn root<'a>(repository: &'a gix::Repository, commit: &CommitId) -> Option<gix::Tree<'a>> {
    let id = gix::ObjectId::from_hex(commit.as_str().as_bytes()).ok()?;
    repository.find_commit(id).ok()?.tree().ok()
}

fn root_of<'a>(repository: &'a gix::Repository, owner: &Owner, commit: &CommitId) -> Result<gix::Tree<'a>, Error> {
    root(repository, commit)
        .ok_or_else(|| Error::NotFetched { object: format!("commit {commit}"), owner: owner.to_string() })
}

fn folder<'a>(root: &gix::Tree<'a>, path: &RepoPath) -> Option<gix::Tree<'a>> {
    if path.parts().next().is_none() {
        return Some(root.clone());
    }
    let entry = root.lookup_entry(path.parts().map(str::as_bytes)).ok()??;
    entry.object().ok()?.try_into_tree().ok()
}

/// All files below `path`, sorted by path.
pub(super) fn files(
    repository: &gix::Repository,
    owner: &Owner,
    commit: &CommitId,
    path: &RepoPath,
) -> Result<Vec<SourceFile>, Error> {
    let root = root_of(repository, owner, commit)?;
    let missing = || Error::Path { path: path.to_string(), commit: commit.short().into() };
    let tree = folder(&root, path).ok_or_else(missing)?;
    let mut files = Vec::new();
    walk(&tree, path, 0, &mut |entry| {
        let path = entry.path;
        let content = match entry.kind {
            EntryKind::Link => Content::Symlink,
            EntryKind::Commit => Content::Submodule,
            EntryKind::Blob | EntryKind::BlobExecutable => content(repository, owner, entry.id, path.name())?,
            EntryKind::Tree => return Ok(()),
        };
        files.push(SourceFile { path, content });
        Ok(())
    })?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn content(repository: &gix::Repository, owner: &Owner, id: gix::ObjectId, name: &str) -> Result<Content, Error> {
    let missing = || Error::NotFetched { object: format!("blob {id}"), owner: owner.to_string() };
    let size = repository.find_header(id).map_err(|_| missing())?.size();
    if !is_manifest_name(name) || size > MAX_FILE {
        return Ok(Content::Unread { size });
    }
    let blob = repository.find_blob(id).map_err(|_| missing())?;
    Ok(Content::Bytes(blob.data.clone()))
}

/// The tree ids of folders.
pub(super) fn trees(
    repository: &gix::Repository,
    owner: &Owner,
    commit: &CommitId,
    folders: &BTreeSet<RepoPath>,
) -> Result<Vec<Option<TreeId>>, Error> {
    let root = root_of(repository, owner, commit)?;
    Ok(folders.iter().map(|path| folder(&root, path).and_then(|tree| TreeId::parse(&tree.id.to_string()))).collect())
}

/// Writes the files of a tree below `into`.
pub(super) fn materialize(
    repository: &gix::Repository,
    owner: &Owner,
    tree: &TreeId,
    into: &Path,
) -> Result<(), Error> {
    let missing = || Error::NotFetched { object: format!("tree {tree}"), owner: owner.to_string() };
    let id = gix::ObjectId::from_hex(tree.as_str().as_bytes()).map_err(|_| missing())?;
    let tree = repository.find_tree(id).map_err(|_| missing())?;
    walk(&tree, &RepoPath::root(), 0, &mut |entry| {
        let target = into.join(entry.path.as_str());
        match entry.kind {
            EntryKind::Tree => std::fs::create_dir_all(&target).map_err(|e| Error::storage("create", &target, &e)),
            EntryKind::Blob | EntryKind::BlobExecutable => {
                let blob = repository.find_blob(entry.id).map_err(|_| missing())?;
                std::fs::write(&target, &blob.data).map_err(|e| Error::storage("write", &target, &e))
            }
            EntryKind::Link => Err(Error::Spec(format!(
                "{} is a symbolic link, which charts may not have: put a real file there",
                entry.path
            ))),
            EntryKind::Commit => {
                Err(Error::Spec(format!("{} is a submodule, which is not fetched: put its files there", entry.path)))
            }
        }
    })
}

struct Entry {
    path: RepoPath,
    kind: EntryKind,
    id: gix::ObjectId,
}

/// Calls `each` for every entry, folders before what is in them.
fn walk(
    tree: &gix::Tree<'_>,
    path: &RepoPath,
    depth: usize,
    each: &mut dyn FnMut(Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    let broken = |cause: String| Error::Spec(format!("folder {path} of the repository is broken: {cause}"));
    if depth > MAX_DEPTH {
        return Err(broken(format!("it is more than {MAX_DEPTH} folders deep")));
    }
    for entry in tree.iter() {
        let entry = entry.map_err(|e| broken(super::fault::chain(&e)))?;
        let name = entry.filename().to_str().map_err(|_| broken("a name is not UTF-8".into()))?;
        // Git refuses to make such names; a server may send them.
        if name.is_empty()
            || name == "."
            || name == ".."
            || name.eq_ignore_ascii_case(".git")
            || name.contains(['/', '\\', '\0'])
        {
            return Err(broken(format!("it has an entry named {name:?}")));
        }
        let child = path.join(name).ok_or_else(|| broken(format!("it has an entry named {name:?}")))?;
        let (kind, id) = (entry.mode().kind(), entry.object_id());
        each(Entry { path: child.clone(), kind, id })?;
        if kind == EntryKind::Tree {
            let inner = entry.object().ok().and_then(|object| object.try_into_tree().ok());
            let inner = inner.ok_or_else(|| broken(format!("folder {child} was not sent")))?;
            walk(&inner, &child, depth + 1, each)?;
        }
    }
    Ok(())
}
