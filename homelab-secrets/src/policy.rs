//! Who may do what with a secret. Deny by default.

use std::fmt;

use homelab_core::meta::Account;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A ServiceAccount, logged in with a token of its own.
    ServiceAccount {
        /// The account.
        account: Account,
        /// The pod that the token is bound to.
        pod_uid: Option<String>,
    },
    /// A person.
    User {
        /// Name.
        name: String,
        /// Groups.
        groups: Vec<String>,
    },
    /// The holder of the root token.
    Root,
}

impl Identity {
    /// A ServiceAccount without a pod.
    pub fn account(account: Account) -> Self {
        Self::ServiceAccount { account, pod_uid: None }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount { account, .. } => write!(f, "serviceaccount {account}"),
            Self::User { name, .. } => write!(f, "user {name}"),
            Self::Root => f.write_str("root"),
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Capability {
    /// Write a path that does not exist.
    Create,
    /// Read values and metadata.
    Read,
    /// Write a path that exists: new versions, undelete, metadata.
    Update,
    /// Change single keys of a value.
    Patch,
    /// Delete versions, or a path with all of them.
    Delete,
    /// See names of paths.
    List,
    /// Destroy versions for ever.
    Sudo,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Sudo => "sudo",
        })
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No; says to an operator why, and what would allow it.
    Deny {
        /// A lowercase fragment without values of secrets.
        why: String,
    },
}

/// Decides. Pure: what changes it (policies of the cluster) swaps the whole value.
pub trait Policy: Send + Sync {
    /// Whether `who` may do `capability` at `path` (`MOUNT/PATH`, as in `kv/web/db`; a listing has its folder, `kv/web/`).
    fn decide(&self, who: &Identity, path: &str, capability: Capability) -> Decision;
}
