//! Failures of this library.

use homelab_core::class::Class;

/// A failure, by what was attempted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("{action}: {message}")]
    Api {
        /// What was attempted on which object.
        action: String,
        /// Its answer.
        message: String,
        /// What it asks of us.
        class: Class,
    },
    /// Another owner, or a newer version than the write was planned from.
    #[error("{object} {message}")]
    Conflict {
        /// The object.
        object: String,
        /// Who owns what.
        message: String,
    },
    /// The input can not work.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// What the failure asks of its caller.
    pub fn class(&self) -> Class {
        match self {
            Self::Api { class, .. } => *class,
            Self::Conflict { .. } => Class::Conflict,
            Self::Invalid(_) => Class::Invalid,
        }
    }
}
