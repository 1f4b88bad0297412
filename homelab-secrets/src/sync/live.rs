//! The Kubernetes Secret as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use homelab_core::meta::{label, manager};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;
use zeroize::Zeroizing;

/// Type of a Secret that names none.
pub const OPAQUE: &str = "Opaque";

/// What of a Secret is compared. Wiped when dropped; `Debug` shows no value.
#[derive(Default)]
pub struct Live {
    /// uid: another one is another object.
    pub uid: String,
    /// Version to write from.
    pub resource_version: String,
    /// Its type.
    pub type_: String,
    /// Nobody can change its data.
    pub immutable: bool,
    /// It is being deleted.
    pub terminating: bool,
    /// Its data.
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// uids of its owners.
    pub owners: BTreeSet<String>,
    /// It was applied by us before.
    pub was_applied: bool,
    /// What of that is still ours.
    pub applied: Applied,
    /// Everybody else who applies fields of it (server-side), and will do so again.
    pub appliers: BTreeSet<String>,
}

/// Fields of a Secret that are ours by server-side apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Keys of its data.
    pub data: BTreeSet<String>,
    /// Keys of its labels.
    pub labels: BTreeSet<String>,
    /// Keys of its annotations.
    pub annotations: BTreeSet<String>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Live({} {} keys, version {})", self.type_, self.data.len(), self.resource_version)
    }
}

impl Live {
    /// Takes the Secret apart.
    pub fn of(secret: Secret) -> Self {
        let meta = secret.metadata;
        let managed = meta.managed_fields.unwrap_or_default();
        let applies = |entry: &&ManagedFieldsEntry| entry.operation.as_deref() == Some("Apply");
        let ours = |entry: &&ManagedFieldsEntry| entry.manager.as_deref() == Some(manager::SECRETS);
        let others = managed.iter().filter(applies).filter(|entry| !ours(entry));
        let data = secret.data.unwrap_or_default();
        Self {
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            type_: secret.type_.unwrap_or_else(|| OPAQUE.into()),
            immutable: secret.immutable.unwrap_or_default(),
            terminating: meta.deletion_timestamp.is_some(),
            data: data.into_iter().map(|(key, value)| (key, Zeroizing::new(value.0))).collect(),
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            owners: meta.owner_references.unwrap_or_default().into_iter().map(|owner| owner.uid).collect(),
            was_applied: managed.iter().filter(applies).any(|entry| ours(&entry)),
            applied: managed.iter().filter(applies).find(ours).map(Applied::of).unwrap_or_default(),
            appliers: others.filter_map(|entry| entry.manager.clone()).collect(),
        }
    }

    /// The SecretSync that it says it belongs to.
    pub fn sync(&self) -> Option<&str> {
        self.labels.get(label::SECRET_SYNC).map(String::as_str)
    }
}

impl Applied {
    fn of(entry: &ManagedFieldsEntry) -> Self {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        // Members of a map are named `f:KEY` (Kubernetes' FieldsV1).
        let keys = |pointer: &str| {
            let map = fields.and_then(|fields| fields.pointer(pointer)).and_then(Value::as_object);
            let names = map.into_iter().flat_map(|map| map.keys());
            names.filter_map(|name| name.strip_prefix("f:")).map(Into::into).collect()
        };
        Self {
            data: keys("/f:data"),
            labels: keys("/f:metadata/f:labels"),
            annotations: keys("/f:metadata/f:annotations"),
        }
    }
}
