//! From paths of the store to one Kubernetes Secret. Pure; `controller::sync` reads and writes.
//!
//! A pass over a [`SecretSync`] is: [`sources`] says what has to be read, [`content::build`] makes of it what the Secret has
//! to hold, [`plan`](plan::plan) compares that with the Secret as it is, [`status`](report::status) says what became of it.
//! What can not be made leaves the Secret as it is: a [`Problem`] says what to do.

use std::collections::BTreeSet;
use std::fmt;

use homelab_core::class::Class;
use homelab_core::meta::Account;
use kube::ResourceExt as _;

use crate::Error;
use crate::api::v1alpha1::{SecretSync, SecretSyncSpec};

pub mod content;
#[cfg(feature = "server")]
pub mod generate;
pub mod live;
pub mod plan;
pub mod report;
mod template;
mod values;

pub use content::Content;
pub use live::Live;
pub use values::{Opened, Values};

#[cfg(test)]
mod tests;

/// Largest Kubernetes Secret: all its values together (`MaxSecretSize` of the Kubernetes API).
pub const MAX_SECRET: usize = 1024 * 1024;

/// A secret that has to be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// `MOUNT/PATH`.
    pub path: String,
    /// Exact version; none for the newest that is live.
    pub version: Option<u64>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        self.version.map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

/// Everything that a SecretSync reads, each once.
pub fn sources(spec: &SecretSyncSpec) -> BTreeSet<Source> {
    let single = spec.data.iter().map(|key| (&key.path, key.version));
    let whole = spec.data_from.iter().map(|whole| (&whole.path, whole.version));
    let named = spec.template.iter().flat_map(|t| &t.secrets).map(|named| (&named.path, named.version));
    single.chain(whole).chain(named).map(|(path, version)| Source { path: path.clone(), version }).collect()
}

/// The account that a SecretSync reads and writes as.
pub fn account(sync: &SecretSync) -> Account {
    Account::new(sync.namespace().unwrap_or_default(), sync.spec.service_account.as_str())
}

/// Name of the Secret that it keeps.
pub fn target(sync: &SecretSync) -> String {
    sync.spec.target.name.clone().unwrap_or_else(|| sync.name_any())
}

/// Why the Secret is not what it should be. Its message names the object, the cause and what to do, and holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// For programs, CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Goes away without anybody's change.
    pub passing: bool,
}

impl Problem {
    /// One that somebody has to do something about.
    pub fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), passing: false }
    }

    /// One that goes away by itself.
    pub fn passing(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), passing: true }
    }

    /// What an error of the store comes to.
    pub fn of_store(error: &Error) -> Self {
        let message = error.to_string();
        match error.class() {
            Class::NotFound => Self::stalled("SecretNotFound", message),
            Class::Denied => Self::stalled("AccessDenied", message),
            Class::Invalid => Self::stalled("InvalidSource", message),
            Class::Retry | Class::Conflict => Self::passing("StoreUnavailable", message),
            Class::Bug => Self::stalled("Bug", message),
        }
    }
}
