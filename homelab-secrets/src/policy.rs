//! Who may do what with which path. Pure; deny by default.
//!
//! A *path* is logical, `MOUNT/PATH` as in `kv/web/db`: the HTTP API's `data`, `metadata` … are gone before anything is
//! asked here. Rules come from two kinds: a `SecretPolicy` gives ServiceAccounts of its own namespace rights below
//! `MOUNT/<namespace>/`, a `ClusterSecretPolicy` gives anybody rights anywhere. [`PolicySet`] holds them all and decides.
//!
//! Beside them there are policies in Vault's language, by *API path* ([`acl`]), which tokens name. [`Combined`] asks both.
//!
//! ```
//! use homelab_core::meta::Account;
//! use homelab_secrets::policy::{Capability, Identity, Policy, PolicySet};
//!
//! let nobody = PolicySet::default();
//! let web = Identity::account(Account::new("web", "web"));
//! assert!(!nobody.decide(&web, "kv/web/db", Capability::Read).is_allowed());
//! ```

use std::fmt;

use homelab_core::meta::{Account, ObjectRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod acl;
mod admit;
pub mod hcl;
pub mod kv_paths;
mod pattern;
mod question;
mod set;
mod shared;
pub mod sys_paths;
mod verdict;

pub use acl::{AclSet, SharedAcl};
pub use admit::{Access, Combined, Holder, Ruling, capabilities};
pub(crate) use pattern::unclean;
pub use pattern::{Pattern, PatternError};
pub use question::{Explanation, PathForm, explain};
pub use set::{PolicySet, Problem};
pub use shared::SharedPolicies;
pub use verdict::{Denial, Verdict, Why};

#[cfg(test)]
mod tests;

/// Decides. Pure: what changes it (policies of the cluster) swaps the whole value.
pub trait Policy: Send + Sync {
    /// Whether `who` may do `capability` at `path` (`MOUNT/PATH`, as in `kv/web/db`; a listing has its folder, with or
    /// without the slash at its end).
    fn decide(&self, who: &Identity, path: &str, capability: Capability) -> Decision;

    /// Whether the holder of a token may make an API request. Where only secrets are known: what [`decide`](Self::decide)
    /// says to the secret behind it.
    fn admit(&self, holder: Holder<'_>, access: &Access<'_>) -> Ruling {
        admit::by_secret(|path, capability| self.decide(holder.identity, path, capability), access)
    }

    /// Whether what it denies may be allowed in a moment: its rules are still being read.
    fn is_loading(&self) -> bool {
        false
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

impl Decision {
    /// Whether it is a yes.
    pub fn is_allowed(&self) -> bool {
        *self == Self::Allow
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
    /// Delete versions; undelete brings them back.
    Delete,
    /// See names of paths.
    List,
    /// Destroy versions, or a path with all of them, for ever.
    Sudo,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Create, Self::Read, Self::Update, Self::Patch, Self::Delete, Self::List, Self::Sudo];
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
    /// A program that logged in with the role of this name (AppRole).
    AppRole {
        /// Name of the role.
        role: String,
    },
    /// The holder of a token that has only the policies it names.
    Token {
        /// What its maker called it.
        name: String,
    },
    /// The holder of the root token.
    Root,
}

impl Identity {
    /// A ServiceAccount without a pod.
    pub fn account(account: Account) -> Self {
        Self::ServiceAccount { account, pod_uid: None }
    }

    /// What Kubernetes' TokenReview says: a ServiceAccount by its user name, else a person.
    pub fn reviewed(user: &str, groups: Vec<String>, pod_uid: Option<String>) -> Self {
        match account_of(user) {
            Some(account) => Self::ServiceAccount { account, pod_uid },
            None => Self::User { name: user.into(), groups },
        }
    }
}

/// The ServiceAccount behind `system:serviceaccount:NAMESPACE:NAME`.
fn account_of(user: &str) -> Option<Account> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let clean = |part: &str| !part.is_empty() && !part.contains([':', '/']);
    (clean(namespace) && clean(name)).then(|| Account::new(namespace, name))
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount { account, .. } => write!(f, "serviceaccount {account}"),
            Self::User { name, .. } => write!(f, "user {name}"),
            Self::AppRole { role } => write!(f, "approle {role}"),
            Self::Token { name } => write!(f, "token {name}"),
            Self::Root => f.write_str("root"),
        }
    }
}

/// One rule of one policy object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleRef {
    /// The policy object.
    pub policy: ObjectRef,
    /// Index in `spec.rules`.
    pub index: usize,
}

impl fmt::Display for RuleRef {
    /// `SecretPolicy.homelab.dev web/app rule 0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.policy, self.index)
    }
}
