//! Word of changes, by path.

use std::sync::{Arc, Weak};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Inner, SecretStore, record};
use crate::backend::Change;

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Changed {
    /// This path (`MOUNT/PATH`): a version, its state or its settings.
    Path(String),
    /// This document.
    Document {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
    },
    /// A mount came, went, or was tuned.
    Mounts,
    /// Too much happened to tell: look at everything again.
    Unknown,
}

/// Changes from the moment it was made. It says that something happened, never what: look again.
pub struct Changes {
    receiver: broadcast::Receiver<Change>,
    store: Weak<Inner>,
    ready: Vec<Changed>,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Changes({} ready)", self.ready.len())
    }
}

impl Changes {
    /// Waits for the next one; `None` when the store has closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Changed> {
        loop {
            if let Some(changed) = self.ready.pop() {
                return Some(changed);
            }
            match self.receiver.recv().await {
                Ok(change) => {
                    let store = SecretStore(self.store.upgrade()?);
                    self.ready = change.keys.iter().rev().filter_map(|key| store.changed(key)).collect();
                }
                Err(RecvError::Lagged(_)) => return Some(Changed::Unknown),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl SecretStore {
    /// Changes from now on, whoever makes them.
    pub fn changes(&self) -> Changes {
        Changes { receiver: self.0.backend.changes(), store: Arc::downgrade(&self.0), ready: Vec::new() }
    }

    fn changed(&self, key: &str) -> Option<Changed> {
        if key == record::MOUNTS {
            return Some(Changed::Mounts);
        }
        if let Some(document) = key.strip_prefix(record::DOCUMENTS) {
            let (kind, name) = document.split_once('/')?;
            return Some(Changed::Document { kind: kind.into(), name: name.into() });
        }
        let (id, path) = record::state_of(key)?;
        // A mount that is not known here is one that has just come or gone.
        let mount = self.opened().ok().and_then(|open| open.mounts.iter().find(|m| m.id == id && !m.going).cloned());
        Some(mount.map_or(Changed::Unknown, |mount| Changed::Path(format!("{}/{path}", mount.name))))
    }
}
