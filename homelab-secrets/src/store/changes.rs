//! Word of changes, by path.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Mount, SecretStore, record};
use crate::backend::Change;

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Changed {
    /// This path (`MOUNT/PATH`): a version, its state or its settings.
    Path(String),
    /// Too much happened to tell: look at everything again.
    Unknown,
}

/// Changes from the moment it was made. It says that something happened, never what: look again.
#[derive(Debug)]
pub struct Changes {
    receiver: broadcast::Receiver<Change>,
    mounts: Vec<(String, Mount)>,
    ready: Vec<Changed>,
}

impl Changes {
    /// Waits for the next one; `None` when the store has closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Changed> {
        loop {
            if let Some(changed) = self.ready.pop() {
                return Some(changed);
            }
            match self.receiver.recv().await {
                Ok(change) => self.ready = change.keys.iter().rev().filter_map(|key| self.path(key)).collect(),
                Err(RecvError::Lagged(_)) => return Some(Changed::Unknown),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn path(&self, key: &str) -> Option<Changed> {
        let (prefix, mount) = self.mounts.iter().find(|(prefix, _)| key.starts_with(prefix.as_str()))?;
        Some(Changed::Path(format!("{}/{}", mount.name, &key[prefix.len()..])))
    }
}

impl SecretStore {
    /// Changes from now on, whoever makes them.
    pub fn changes(&self) -> Changes {
        let mounts = self.mounts().iter().map(|mount| (record::state_key(&mount.id, ""), mount.clone())).collect();
        Changes { receiver: self.0.backend.changes(), mounts, ready: Vec::new() }
    }
}
