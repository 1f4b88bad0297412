//! A store with its seal: initialised or not, open or not.

use std::sync::Arc;

use jiff::Timestamp;

use super::backup::restore;
use super::rotation::{Progress, SlotInfo};
use super::witness::{Watched, Witnessed};
use super::{SecretStore, record};
use crate::Error;
#[cfg(feature = "age")]
use crate::backend::age::AgeIdentities;
use crate::backend::{Backend, Head, Host};
use crate::backup::Decoder;
use crate::keys::{KeyId, KeyTable, Unlock};

/// Holds a backend whether it can be read or not. Starts sealed; clones share it.
#[derive(Clone, Debug)]
pub struct Vault {
    store: SecretStore,
    in_etcd: bool,
}

/// How things stand. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealStatus {
    /// There are keys.
    pub initialized: bool,
    /// The keys are not in memory: nothing can be read or written.
    pub sealed: bool,
    /// Ways to open it.
    pub slots: Vec<SlotInfo>,
    /// Number of the epoch that seals; 0 while there are no keys.
    pub epoch: u64,
    /// When it was begun, if that is known.
    pub epoch_made: Option<Timestamp>,
    /// Epochs whose keys are kept: more than one while old records are sealed anew.
    pub epochs: usize,
    /// Records that are being sealed anew, after a rotation.
    pub resealing: Option<Progress>,
    /// Whether it is as new as the copy of its head says.
    pub witnessed: Witnessed,
    /// Its records lie in the cluster's etcd.
    pub in_etcd: bool,
}

impl SealStatus {
    /// Whether it can open by itself after a start.
    pub fn opens_alone(&self) -> bool {
        self.slots.iter().any(|slot| slot.opens_alone)
    }

    /// Whether the records and a key that opens them lie in one etcd: then sealing guards them no better than plain
    /// Kubernetes Secrets are guarded.
    pub fn as_safe_as_plain_secrets(&self) -> bool {
        self.in_etcd && self.slots.iter().any(|slot| slot.in_etcd)
    }
}

impl SecretStore {
    /// How things stand. Works sealed, too. Where the records lie is not known here.
    pub async fn status(&self) -> Result<SealStatus, Error> {
        let table = match self.0.backend.get(record::KEY_TABLE).await? {
            Some(table) => Some(KeyTable::from_json(&table)?),
            None => None,
        };
        let newest = table.as_ref().and_then(|table| table.epochs.last());
        Ok(SealStatus {
            initialized: self.0.backend.head().await? != Head(0),
            sealed: self.opened().is_err(),
            slots: table.iter().flat_map(|table| table.slots.iter().map(SlotInfo::of)).collect(),
            epoch: newest.map_or(0, |epoch| epoch.epoch),
            epoch_made: newest.and_then(|epoch| epoch.made),
            epochs: table.as_ref().map_or(0, |table| table.epochs.len()),
            resealing: self.resealing(),
            witnessed: self.witnessed(),
            in_etcd: false,
        })
    }
}

impl Vault {
    /// Over `backend`, sealed.
    pub fn new(backend: Arc<dyn Backend>, host: Arc<dyn Host>) -> Self {
        Self::watched(backend, host, None)
    }

    /// The same; a witness keeps a copy of its head, so that it is noticed when the store is put back.
    pub fn watched(backend: Arc<dyn Backend>, host: Arc<dyn Host>, watched: Option<Watched>) -> Self {
        Self { store: SecretStore::sealed(backend, host, watched), in_etcd: false }
    }

    /// Says that the backend keeps its records in the cluster's etcd.
    #[must_use]
    pub fn in_etcd(self) -> Self {
        Self { in_etcd: true, ..self }
    }

    /// Whether there are keys.
    pub async fn initialized(&self) -> Result<bool, Error> {
        Ok(self.store.0.backend.head().await? != Head(0))
    }

    /// How things stand. Works sealed, too.
    pub async fn status(&self) -> Result<SealStatus, Error> {
        Ok(SealStatus { in_etcd: self.in_etcd, ..self.store.status().await? })
    }

    /// Makes new keys with a slot for each of `unlocks`, and the mount `kv`; the store is open then. Class `Conflict` if
    /// there are keys.
    pub async fn initialize(&self, unlocks: Vec<Unlock>) -> Result<SecretStore, Error> {
        self.store.initialize(unlocks).await?;
        Ok(self.store.clone())
    }

    /// Puts a backup back where there are no keys yet; the store is sealed then, and what opened the store that the backup
    /// is of opens this one. All of it is there afterwards, or nothing.
    pub async fn restore<R: std::io::Read>(&self, backup: &mut Decoder<R>) -> Result<u64, Error> {
        restore(&*self.store.0.backend, backup).await
    }

    /// Opens it; once more is nothing new. Class `Invalid` if `unlock` belongs to no slot.
    pub async fn unseal(&self, unlock: Unlock) -> Result<(), Error> {
        self.store.unseal(unlock).await
    }

    /// The slot that `unlock` opens. Works sealed, too.
    pub async fn slot_of(&self, unlock: &Unlock) -> Result<Option<KeyId>, Error> {
        match self.store.0.backend.get(record::KEY_TABLE).await? {
            Some(table) => KeyTable::from_json(&table)?.slot_of(unlock),
            None => Ok(None),
        }
    }

    /// Opens it with age identities. Class `Invalid` if they belong to no slot.
    #[cfg(feature = "age")]
    pub async fn unseal_by_age(&self, identities: &AgeIdentities) -> Result<(), Error> {
        self.unseal(self.unlock_of(identities).await?).await
    }

    /// What age identities open, of the slots there are. Class `Invalid` if they belong to none.
    #[cfg(feature = "age")]
    pub async fn unlock_of(&self, identities: &AgeIdentities) -> Result<Unlock, Error> {
        for slot in self.status().await?.slots.iter().filter_map(|slot| slot.age.as_ref()) {
            if let Some(key) = identities.open(slot)? {
                return Ok(Unlock::KeyFile(key));
            }
        }
        Err(Error::Invalid("no slot of the store belongs to these age identities".into()))
    }

    /// Forgets the keys. Whoever has the store gets [`Error::Sealed`] until it is opened again; a write that is under way
    /// ends first.
    pub fn seal(&self) {
        self.store.seal();
    }

    /// The store, if it is open.
    pub fn store(&self) -> Result<SecretStore, Error> {
        self.store.opened()?;
        Ok(self.store.clone())
    }

    /// The store whether it is open or not: it works as soon as it is, and answers [`Error::Sealed`] while it is not.
    pub fn handle(&self) -> SecretStore {
        self.store.clone()
    }
}

#[cfg(test)]
mod tests;
