//! Which resource serves a kind.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::Client;
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, Scope, pinned_kind};

use super::{classify, explain};
use crate::class::Class;

/// A kind that the API server serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Its resource.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// Why a kind is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KindsError {
    /// Nothing serves it (yet).
    #[error("the cluster has no kind {kind} of {api_version}: is its CustomResourceDefinition installed?")]
    Unknown {
        /// As in the object.
        api_version: String,
        /// As in the object.
        kind: String,
    },
    /// The API server could not be asked.
    #[error("can not look up the kind {kind} of {api_version}: {}", explain(.error))]
    Lookup {
        /// As in the object.
        api_version: String,
        /// As in the object.
        kind: String,
        /// Why. It is told in full already, so it is no `source` that would repeat it.
        error: Box<kube::Error>,
    },
}

impl KindsError {
    /// What it asks of its caller.
    pub fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } => Class::NotFound,
            Self::Lookup { error, .. } => classify(error),
        }
    }
}

/// Kinds by `(apiVersion, kind)`: asked once, remembered, asked again after a miss or [`Kinds::forget`].
pub struct Kinds {
    client: Client,
    known: Mutex<HashMap<(String, String), Kind>>,
}

impl Kinds {
    /// Kinds that `client`'s API server serves.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// The resource that serves `kind` of `api_version`.
    pub async fn resolve(&self, api_version: &str, kind: &str) -> Result<Kind, KindsError> {
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(known) = self.known().get(&key) {
            return Ok(known.clone());
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        match pinned_kind(&self.client, &GroupVersionKind::gvk(group, version, kind)).await {
            Ok((resource, capabilities)) => {
                let found = Kind { resource, namespaced: capabilities.scope == Scope::Namespaced };
                self.known().insert(key, found.clone());
                Ok(found)
            }
            Err(error) if classify(&error) == Class::NotFound => {
                Err(KindsError::Unknown { api_version: key.0, kind: key.1 })
            }
            Err(error) => Err(KindsError::Lookup { api_version: key.0, kind: key.1, error: Box::new(error) }),
        }
    }

    /// Asks again at the next [`Kinds::resolve`] (its CRD was changed or deleted).
    pub fn forget(&self, api_version: &str, kind: &str) {
        self.known().remove(&(api_version.to_owned(), kind.to_owned()));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Kind>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
