//! Where files come from: a Git repository behind [`GitSource`].

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Error;

mod path;
pub use path::RepoPath;

/// Full hexadecimal id of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommitId(String);

/// Full hexadecimal id of a tree: equal content, equal id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TreeId(String);

macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// Reads 40 lower-case hexadecimal digits.
            pub fn parse(text: &str) -> Option<Self> {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                (text.len() == 40 && text.bytes().all(hex)).then(|| Self(text.into()))
            }

            /// The digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
id!(CommitId);
id!(TreeId);

impl CommitId {
    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

/// Whose clone it is. Two GitSyncs never share one, so that none reads what only the other's credentials open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Namespace of the GitSync.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A repository as one GitSync sees it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Whose clone.
    pub owner: Owner,
    /// Where the repository is; without credentials.
    pub url: String,
    /// How to log in.
    pub credentials: Credentials,
}

/// How to log in to a Git server. `Debug` shows nothing of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Who we are, if anybody.
    pub login: Option<Login>,
    /// Certificates (PEM) to trust besides the system's.
    pub ca_pem: Option<String>,
}

/// User and password. Forges take a token as a password; a bare token gets the user `git`, which all of them accept.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// User.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("login", &self.login).field("ca_pem", &self.ca_pem.is_some()).finish()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

/// Which commit is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GitRef {
    /// What the server's HEAD names.
    Head,
    /// A branch.
    Branch(String),
    /// A tag.
    Tag(String),
    /// Exactly this commit.
    Commit(CommitId),
}

impl GitRef {
    /// A commit of this reference in a few letters, as in `main@sha1:1a2b3c4`.
    pub fn at(&self, commit: &CommitId) -> String {
        let short = commit.as_str().get(..7).unwrap_or(commit.as_str());
        match self {
            Self::Head => format!("HEAD@sha1:{short}"),
            Self::Branch(name) | Self::Tag(name) => format!("{name}@sha1:{short}"),
            Self::Commit(_) => format!("sha1:{short}"),
        }
    }

    /// Name on the server, as in `refs/heads/main`; none for a commit.
    pub fn full_name(&self) -> Option<String> {
        match self {
            Self::Head => Some("HEAD".into()),
            Self::Branch(name) => Some(format!("refs/heads/{name}")),
            Self::Tag(name) => Some(format!("refs/tags/{name}")),
            Self::Commit(_) => None,
        }
    }
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("HEAD"),
            Self::Branch(name) => write!(f, "branch {name:?}"),
            Self::Tag(name) => write!(f, "tag {name:?}"),
            Self::Commit(id) => write!(f, "commit {id}"),
        }
    }
}

/// One entry of a folder that is no folder itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where, from the root of the repository.
    pub path: RepoPath,
    /// What.
    pub content: Content,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file that was read.
    Bytes(Vec<u8>),
    /// A file whose content was not asked for, or is larger than [`MAX_FILE`].
    Unread {
        /// Bytes.
        size: u64,
    },
    /// A symbolic link; never followed.
    Symlink,
    /// Another repository; never fetched.
    Submodule,
}

/// Largest file that is read as a manifest.
pub const MAX_FILE: u64 = 4 << 20;

/// Whether a file can hold Kubernetes objects, by its name.
pub fn is_manifest_name(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    matches!(extension.as_str(), "yaml" | "yml" | "json")
}

/// A Git repository, read only. All verbs are idempotent; those without a [`Remote`] never use the network.
///
/// A verb may be cancelled at any time; work under way on another thread then ends by itself and does no harm.
#[async_trait]
pub trait GitSource: Send + Sync {
    /// The commit that `reference` names on the server now: one small request, nothing is downloaded. Retry when passing.
    async fn resolve(&self, remote: &Remote, reference: &GitRef) -> Result<CommitId, Error>;

    /// Downloads what `reference` names now, without history; nothing if it is here already. Retry when passing.
    async fn fetch(&self, remote: &Remote, reference: &GitRef) -> Result<CommitId, Error>;

    /// All files below `folder` of a fetched commit, by path. The content of those that [`is_manifest_name`] accepts is read.
    async fn files(&self, owner: &Owner, commit: &CommitId, folder: &RepoPath) -> Result<Vec<SourceFile>, Error>;

    /// The tree ids of those of `folders` that the commit has, in the same order.
    async fn trees(
        &self,
        owner: &Owner,
        commit: &CommitId,
        folders: &BTreeSet<RepoPath>,
    ) -> Result<Vec<Option<TreeId>>, Error>;

    /// Writes all files of a tree below the empty folder `into`. Symbolic links and submodules are refused.
    async fn materialize(&self, owner: &Owner, tree: &TreeId, into: &Path) -> Result<(), Error>;

    /// Forgets the clones of all others.
    async fn retain(&self, owners: &BTreeSet<Owner>) {
        let _ = owners;
    }
}

#[cfg(test)]
mod tests;
