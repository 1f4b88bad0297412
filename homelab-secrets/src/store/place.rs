//! Where a store and what opens it lie, and what that is worth. Pure.

use serde::Serialize;

use super::SlotInfo;

/// Where the sealed records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendKind {
    /// One file.
    Embedded,
    /// Objects in the cluster's etcd.
    Kubernetes,
    /// This process.
    Memory,
}

/// Where a store lies, as the program that runs it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlace {
    /// Sort of the backend.
    pub backend: BackendKind,
    /// File, or namespace of the objects.
    pub at: String,
    /// What the program opens it with at its start: a key file's path, or a Secret; none: nothing.
    pub key: Option<String>,
    /// Whether the key lies in the same directory as the store.
    pub key_beside: bool,
    /// Where the copy of the head is kept; none: nowhere.
    pub witness: Option<String>,
    /// Directory of the audit log; none: there is no log.
    pub audit: Option<String>,
}

/// What is said of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Described {
    /// Sort of the backend.
    pub backend: BackendKind,
    /// File, or namespace of the objects.
    pub at: String,
    /// What opens it at a start.
    pub key: Option<String>,
    /// Where the copy of the head is kept.
    pub witness: Option<String>,
    /// Directory of the audit log.
    pub audit: Option<String>,
    /// Who has what is needed to read everything.
    pub safety: &'static str,
}

impl StorePlace {
    /// With what it is worth, given the slots that there are.
    pub fn described(&self, slots: &[SlotInfo]) -> Described {
        let Self { backend, at, key, witness, audit, .. } = self.clone();
        Described { backend, at, key, witness, audit, safety: self.safety(slots) }
    }

    fn safety(&self, slots: &[SlotInfo]) -> &'static str {
        let in_etcd = slots.iter().any(|slot| slot.in_etcd);
        match (self.backend, in_etcd) {
            (BackendKind::Kubernetes, true) => {
                "as safe as plain Secrets: store and key are both in etcd, so who reads etcd or its backups reads everything"
            }
            (BackendKind::Memory, _) => "in memory only: gone with this process",
            (BackendKind::Embedded, _) if self.key_beside => {
                "the key lies beside the store: who has this directory, or a backup of all of it, reads everything"
            }
            (BackendKind::Embedded, true) => {
                "store and key are apart: the key is in a Secret of the cluster, the store in a file"
            }
            (BackendKind::Embedded | BackendKind::Kubernetes, _) => {
                "the key is kept apart from the store: who has only the store reads nothing"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyId;

    #[test]
    fn key_and_store_in_etcd_are_as_safe_as_plain_secrets() {
        let slot = |kind| SlotInfo {
            id: KeyId::new([1; 16]),
            kind,
            opens_alone: true,
            in_etcd: kind == "Kubernetes Secret",
            age: None,
            proved: None,
        };
        let place = |backend, key_beside| StorePlace {
            backend,
            at: "x".into(),
            key: None,
            key_beside,
            witness: None,
            audit: None,
        };
        for (backend, beside, slots, begins) in [
            (
                BackendKind::Kubernetes,
                false,
                vec![slot("key file"), slot("Kubernetes Secret")],
                "as safe as plain Secrets",
            ),
            (BackendKind::Kubernetes, false, vec![slot("key file")], "the key is kept apart"),
            (BackendKind::Embedded, true, vec![slot("key file")], "the key lies beside the store"),
            (BackendKind::Embedded, false, vec![slot("Kubernetes Secret")], "store and key are apart"),
            (BackendKind::Embedded, false, vec![slot("passphrase")], "the key is kept apart"),
            (BackendKind::Memory, true, vec![], "in memory only"),
        ] {
            let described = place(backend, beside).described(&slots);
            assert!(described.safety.starts_with(begins), "{backend:?} {beside}: {}", described.safety);
        }
    }
}
