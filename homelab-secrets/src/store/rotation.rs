//! Changing keys of an open store: slots, epochs and the root key, each in one commit.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::write::{Draft, Job};
use super::{SecretStore, record};
use crate::Error;
use crate::keys::{ForAge, KeyId, KeyTable, Keyring, NewSlot, Slot, SlotKind, Unlock};

pub use super::reseal::Progress;

/// A slot as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its name.
    pub id: KeyId,
    /// Its kind, in words.
    pub kind: &'static str,
    /// Whether a program can open it at its start, with nobody there.
    pub opens_alone: bool,
    /// Whether its key lies in the cluster's etcd.
    pub in_etcd: bool,
    /// Its key, sealed for age identities, if it is of that kind.
    pub age: Option<ForAge>,
    /// When its key was last seen to open a backup.
    pub proved: Option<Timestamp>,
}

impl SlotInfo {
    pub(super) fn of(slot: &Slot) -> Self {
        let age = match &slot.how {
            SlotKind::Age(sealed) => Some(sealed.clone()),
            _ => None,
        };
        let how = &slot.how;
        Self {
            id: slot.id(),
            kind: how.name(),
            opens_alone: how.opens_alone(),
            in_etcd: how.in_etcd(),
            age,
            proved: slot.proved,
        }
    }
}

impl SecretStore {
    /// Adds a slot: `unlock` opens the store, too, from now on.
    pub async fn add_slot(&self, unlock: Unlock) -> Result<KeyId, Error> {
        let slot = self.new_slots(vec![unlock]).await?;
        self.change_keys(move |table, ring, _| {
            slot.iter().map(|slot| table.add_slot(ring, slot)).next().ok_or_else(|| Error::Bug("no slot".into()))?
        })
        .await
    }

    /// Takes a slot away: what opened it opens the store no more. The last one stays. Who has kept a copy of the store
    /// and the slot's key can still open that copy.
    pub async fn remove_slot(&self, id: KeyId) -> Result<(), Error> {
        self.change_keys(move |table, _, _| table.remove_slot(id)).await
    }

    /// Notes that the key of a slot was seen to open a backup of this store.
    pub async fn prove_slot(&self, id: KeyId) -> Result<(), Error> {
        let now = self.0.host.now();
        self.change_keys(move |table, _, _| table.prove_slot(id, now)).await
    }

    /// `rekey`: puts a slot for `unlock` in the place of another one, in one commit. Gives its name.
    pub async fn replace_slot(&self, id: KeyId, unlock: Unlock) -> Result<KeyId, Error> {
        let slot = self.new_slots(vec![unlock]).await?;
        self.change_keys(move |table, ring, _| {
            // The new one first: the last slot can not be removed, and there may be one place less.
            let at = table.slots.iter().position(|slot| slot.id() == id);
            let at = at.ok_or_else(|| Error::NotFound(format!("the store has no slot {id}")))?;
            let old = table.slots.remove(at);
            let added = slot.iter().map(|slot| table.add_slot(ring, slot)).next();
            added.unwrap_or_else(|| Err(Error::Bug(format!("nothing takes the place of {}", old.id()))))
        })
        .await
    }

    /// `rotate`: begins an epoch. New records are sealed with its key; old ones are sealed anew in the background
    /// ([`Self::resealing`]), and their key is dropped when nothing uses it. Gives the epoch's number.
    pub async fn rotate(&self) -> Result<u64, Error> {
        let begin = |table: &mut KeyTable, ring: &Keyring, store: &Self| {
            let number = table.add_epoch(ring, &|buffer| store.0.host.random(buffer))?;
            table.stamp(store.now());
            Ok(number)
        };
        let number = self.change_keys(begin).await?;
        self.reseal_in_background();
        Ok(number)
    }

    /// `rotate --root`: a new root key. It has to be wrapped for each slot, so what opens each of them is needed:
    /// `unlocks` has one for every slot (a slot that is to go is removed first). Data keys stay: [`Self::rotate`] changes
    /// those.
    pub async fn rotate_root(&self, unlocks: Vec<Unlock>) -> Result<(), Error> {
        let known = self.opened()?.table.clone();
        let slots = known.slots.clone();
        let opened = tokio::task::spawn_blocking(move || {
            for slot in &slots {
                let mut missing = true;
                for unlock in &unlocks {
                    missing = missing && !slot.opens(unlock)?;
                }
                if missing {
                    let (kind, id) = (slot.how.name(), slot.id());
                    return Err(Error::Invalid(format!(
                        "slot {id} ({kind}) would open nothing any more: give its key, too, or remove it first"
                    )));
                }
            }
            if unlocks.len() != slots.len() {
                let (given, there) = (unlocks.len(), slots.len());
                return Err(Error::Invalid(format!("{given} keys are given for {there} slots: give one for each")));
            }
            Ok(unlocks)
        });
        let unlocks = opened.await.map_err(|_| Error::Bug("opening the slots was cut off".into()))??;
        let slots = self.new_slots(unlocks).await?;
        self.write(Change(move |table: &mut KeyTable, ring: &Keyring, store: &Self| {
            if table.slots != known.slots {
                return Err(Error::Conflict("the slots were changed in between: try again".into()));
            }
            let ring = table.replace_root(ring, &slots, &|buffer| store.0.host.random(buffer))?;
            Ok(((), Some(ring)))
        }))
        .await
    }

    async fn new_slots(&self, unlocks: Vec<Unlock>) -> Result<Vec<NewSlot>, Error> {
        let host = self.0.host.clone();
        let make = move || unlocks.iter().map(|unlock| NewSlot::of(unlock, &|buffer| host.random(buffer))).collect();
        // A passphrase takes argon2id tens of milliseconds and 64 MiB: not on a thread that serves others.
        tokio::task::spawn_blocking(make).await.map_err(|_| Error::Bug("making a slot was cut off".into()))?
    }

    pub(super) async fn change_keys<T, F>(&self, mut change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&mut KeyTable, &Keyring, &Self) -> Result<T, Error> + Send + 'static,
    {
        self.write(Change(move |table: &mut KeyTable, ring: &Keyring, store: &Self| {
            Ok((change(table, ring, store)?, None))
        }))
        .await
    }
}

/// Changes the key table; gives the new keys where the root key is another one.
struct Change<F>(F);

#[async_trait]
impl<T, F> Job for Change<F>
where
    T: Send + 'static,
    F: FnMut(&mut KeyTable, &Keyring, &SecretStore) -> Result<(T, Option<Keyring>), Error> + Send + 'static,
{
    type Output = T;

    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) -> Result<T, Error> {
        let mut table = (*draft.open.table).clone();
        let (output, ring) = (self.0)(&mut table, &draft.open.keys, store)?;
        let ring = match ring {
            Some(ring) => ring,
            None => table.reopen(&draft.open.keys)?,
        };
        // What is stored is what was proved to open.
        draft.put(record::KEY_TABLE, table.to_json()?);
        draft.open.keys = Arc::new(ring);
        draft.open.table = Arc::new(table);
        Ok(output)
    }
}

#[cfg(test)]
mod tests;
