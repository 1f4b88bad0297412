//! The one error of this crate.

use homelab_core::class::Class;

/// What went wrong, with the object and what to do; never with a value of a secret.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The named secret or version is not there.
    #[error("{0}")]
    NotFound(String),
    /// The account may not do this.
    #[error("{0}")]
    Denied(String),
    /// The input breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// It is shown only, and changed elsewhere.
    #[error("{0}")]
    ReadOnly(String),
    /// A check-and-set did not match.
    #[error("{0}")]
    Conflict(String),
    /// Stored data or a key does not open.
    #[error("{what} does not open: wrong key, or the stored data was changed")]
    Unsealed {
        /// Which record.
        what: String,
    },
    /// The store has no keys: nobody has opened it since it started, or somebody sealed it.
    #[error("the store is sealed: open it with `homelab secrets unseal`")]
    Sealed,
    /// The store is older than the copy of its head, or not the one that the copy is of.
    #[error("the store takes no writes: {0}. See where it comes from, then say `homelab secrets accept-rollback`")]
    RolledBack(String),
    /// The store below failed.
    #[error("{0}")]
    Backend(String),
    /// A broken assumption of ours.
    #[error("{0}")]
    Bug(String),
}

impl Error {
    /// What the failure asks of its caller.
    pub fn class(&self) -> Class {
        match self {
            Self::NotFound(_) => Class::NotFound,
            Self::Denied(_) => Class::Denied,
            Self::Invalid(_) | Self::ReadOnly(_) | Self::Unsealed { .. } => Class::Invalid,
            Self::Conflict(_) => Class::Conflict,
            Self::Backend(_) | Self::Sealed | Self::RolledBack(_) => Class::Retry,
            Self::Bug(_) => Class::Bug,
        }
    }
}
