//! Keys: a slot opens the root key, the root key wraps the others, a subkey serves each format.
//!
//! ```text
//! slot (key file | Secret | passphrase | recovery key | age identity) ── wraps ─► root key ── wraps ─┬► data key of an epoch ─ HKDF ─► version, state
//!                                                                                     └► digest key ─ HKDF ─► HMAC of values, derived keys
//! ```
//! [`KeyTable`] is what is stored: wrapped keys, nothing secret. [`Keyring`] is what it opens to; it lives in memory only.
//! The digest key is apart from the epochs, so that a new epoch changes no digest.
//!
//! Changing a slot changes who can open the store, and no record. A new epoch changes which key seals new records; old
//! ones are sealed anew in the background. A new root key wraps the same data keys: after a theft of it, make a new
//! epoch, too.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hkdf::Hkdf;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Error;
use crate::seal::SivKey;

mod id;
mod recovery;
mod ring;
mod slot;

pub use id::KeyId;
pub use recovery::RecoveryKey;
pub use ring::Keyring;
pub use slot::{ForAge, NewSlot, Slot, SlotKey, SlotKind, Unlock};

use ring::{DataKey, DigestKey};

/// Fills a buffer with random bytes. An argument, so that this module stays pure.
pub type Random<'a> = &'a (dyn Fn(&mut [u8]) -> Result<(), Error> + 'a);

/// Version of [`KeyTable`] that this program writes. It reads 1, too, which knew key files and passphrases only, and 2, which
/// knew no age identities.
pub const TABLE_FORMAT: u32 = 3;
const OLDEST_TABLE: u32 = 1;
/// Slots of a store at most.
pub const MAX_SLOTS: usize = 8;
const DATA_FORMAT: &[u8] = b"homelab.wrap.data/1";
const DIGEST_FORMAT: &[u8] = b"homelab.wrap.digest/1";

/// A key sealed by another one. Associated data: format, parent's id, own id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    /// Key that wraps it.
    pub parent: KeyId,
    /// Its own id.
    pub id: KeyId,
    /// The seal, base64.
    pub sealed: String,
}

impl Wrapped {
    fn new(format: &[u8], parent: (KeyId, &SivKey), id: KeyId, key: &SivKey) -> Result<Self, Error> {
        let sealed = parent
            .1
            .seal(&[format, parent.0.as_bytes(), id.as_bytes()], key.bytes())
            .map_err(|_| Error::Bug("a key could not be wrapped".into()))?;
        Ok(Self { parent: parent.0, id, sealed: BASE64.encode(sealed) })
    }

    fn open(&self, format: &[u8], parent: (KeyId, &SivKey)) -> Result<SivKey, Error> {
        let fails = || Error::Unsealed { what: format!("key {}", self.id) };
        if self.parent != parent.0 {
            return Err(fails());
        }
        let sealed = BASE64.decode(&self.sealed).map_err(|_| fails())?;
        let bytes =
            parent.1.open(&[format, self.parent.as_bytes(), self.id.as_bytes()], &sealed).map_err(|_| fails())?;
        key_of(&bytes).ok_or_else(fails)
    }
}

/// A data key of one epoch, wrapped by the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number, from 1.
    pub epoch: u64,
    /// Its key.
    pub key: Wrapped,
    /// When it was begun; none in tables of before that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Timestamp>,
}

/// All wrapped keys, as stored beside the records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyTable {
    /// Version of this table's format.
    pub format: u32,
    /// Ways to the root key.
    pub slots: Vec<Slot>,
    /// Data keys; the last one seals, all open.
    pub epochs: Vec<Epoch>,
    /// Key of the digests of values.
    pub digest: Wrapped,
}

impl KeyTable {
    /// New keys, with these slots.
    pub fn create(slots: &[NewSlot], random: Random<'_>) -> Result<Self, Error> {
        let (root_id, root) = (KeyId::random(random)?, random_key(random)?);
        let wrap = |format: &[u8]| Wrapped::new(format, (root_id, &root), KeyId::random(random)?, &random_key(random)?);
        let (epoch, digest) = (Epoch { epoch: 1, key: wrap(DATA_FORMAT)?, made: None }, wrap(DIGEST_FORMAT)?);
        Ok(Self { format: TABLE_FORMAT, slots: wrap_slots(slots, (root_id, &root))?, epochs: vec![epoch], digest })
    }

    /// Reads a stored table; refuses formats it does not know.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let wrong = |_| Error::Invalid("the key table is not readable: restore it from a backup".into());
        let head: Head = serde_json::from_slice(bytes).map_err(wrong)?;
        if !(OLDEST_TABLE..=TABLE_FORMAT).contains(&head.format) {
            let found = head.format;
            return Err(Error::Invalid(format!("the key table has format {found}, this program reads {TABLE_FORMAT}")));
        }
        serde_json::from_slice(bytes).map_err(wrong)
    }

    /// The table as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let newest = Self { format: TABLE_FORMAT, ..self.clone() };
        serde_json::to_vec(&newest).map_err(|_| Error::Bug("the key table does not serialise".into()))
    }

    /// Opens all keys. For a passphrase this takes tens of milliseconds and 64 MiB for each slot that has one.
    pub fn open(&self, unlock: &Unlock) -> Result<Keyring, Error> {
        for slot in &self.slots {
            if let Some(root) = slot.open(unlock)? {
                return self.open_with((slot.root.id, root));
            }
        }
        Err(self.unknown(unlock))
    }

    /// Opens all keys with the root key of `ring`, which was opened from an earlier table of this store.
    pub fn reopen(&self, ring: &Keyring) -> Result<Keyring, Error> {
        self.open_with(ring.root.clone())
    }

    fn open_with(&self, root: (KeyId, SivKey)) -> Result<Keyring, Error> {
        let parent = (root.0, &root.1);
        let mut data = BTreeMap::new();
        for epoch in &self.epochs {
            data.insert(epoch.key.id, DataKey::derive(&epoch.key.open(DATA_FORMAT, parent)?)?);
        }
        let digest = DigestKey::derive(&self.digest.open(DIGEST_FORMAT, parent)?)?;
        Ok(Keyring { data, active: self.newest()?.key.id, digest, root })
    }

    fn newest(&self) -> Result<&Epoch, Error> {
        self.epochs.last().ok_or_else(|| Error::Invalid("the key table has no data key".into()))
    }

    fn unknown(&self, unlock: &Unlock) -> Error {
        let wanted = match unlock {
            Unlock::KeyFile(_) | Unlock::KubernetesSecret(_) | Unlock::Age(..) => {
                "no slot of the store belongs to this key: use the key file that the store was made with"
            }
            Unlock::Recovery(_) => {
                "no slot of the store belongs to this recovery key: it is another store's, or replaced"
            }
            Unlock::Passphrase(_) if self.slots.iter().any(|s| matches!(s.how, SlotKind::Passphrase { .. })) => {
                return Error::Unsealed { what: "the passphrase slot".into() };
            }
            Unlock::Passphrase(_) => "the store has no slot for a passphrase",
        };
        Error::Invalid(wanted.into())
    }

    /// Adds a slot: what it is made of opens the same root key from now on.
    pub fn add_slot(&mut self, ring: &Keyring, slot: &NewSlot) -> Result<KeyId, Error> {
        if self.slots.iter().any(|other| other.id() == slot.id()) {
            return Err(Error::Conflict(format!("the store has a slot {} already", slot.id())));
        }
        if self.slots.len() >= MAX_SLOTS {
            return Err(Error::Invalid(format!("a store has at most {MAX_SLOTS} slots: remove one first")));
        }
        self.slots.push(slot.wrap((ring.root.0, &ring.root.1))?);
        Ok(slot.id())
    }

    /// Removes a slot. The last one stays: nothing would open the store again.
    pub fn remove_slot(&mut self, id: KeyId) -> Result<(), Error> {
        let at = self.slots.iter().position(|slot| slot.id() == id);
        let at = at.ok_or_else(|| Error::NotFound(format!("the store has no slot {id}")))?;
        if self.slots.len() == 1 {
            return Err(Error::Invalid(format!("slot {id} is the last one: add another one first")));
        }
        self.slots.remove(at);
        Ok(())
    }

    /// The slot that `unlock` opens. For a passphrase this takes tens of milliseconds and 64 MiB for each slot that has one.
    pub fn slot_of(&self, unlock: &Unlock) -> Result<Option<KeyId>, Error> {
        for slot in &self.slots {
            if slot.opens(unlock)? {
                return Ok(Some(slot.id()));
            }
        }
        Ok(None)
    }

    /// Notes that the key of a slot has opened a backup.
    pub fn prove_slot(&mut self, id: KeyId, now: Timestamp) -> Result<(), Error> {
        let slot = self.slots.iter_mut().find(|slot| slot.id() == id);
        slot.ok_or_else(|| Error::NotFound(format!("the store has no slot {id}")))?.proved = Some(now);
        Ok(())
    }

    /// Begins an epoch: a new data key, which seals from now on. Gives its number.
    pub fn add_epoch(&mut self, ring: &Keyring, random: Random<'_>) -> Result<u64, Error> {
        let (number, id) = (self.newest()?.epoch + 1, KeyId::random(random)?);
        let key = Wrapped::new(DATA_FORMAT, (ring.root.0, &ring.root.1), id, &random_key(random)?)?;
        self.epochs.push(Epoch { epoch: number, key, made: None });
        Ok(number)
    }

    /// Notes when the newest epoch was begun.
    pub fn stamp(&mut self, now: Timestamp) {
        if let Some(newest) = self.epochs.last_mut() {
            newest.made = Some(now);
        }
    }

    /// Drops the data keys of epochs before `number`: nothing may be sealed with them any more.
    pub fn drop_epochs_before(&mut self, number: u64) {
        let newest = self.epochs.last().map(|epoch| epoch.epoch);
        self.epochs.retain(|epoch| epoch.epoch >= number || Some(epoch.epoch) == newest);
    }

    /// A new root key: wraps all data keys anew and makes these slots the only ones. Gives the keys as it opens them.
    pub fn replace_root(&mut self, ring: &Keyring, slots: &[NewSlot], random: Random<'_>) -> Result<Keyring, Error> {
        let (old, id, root) = ((ring.root.0, &ring.root.1), KeyId::random(random)?, random_key(random)?);
        let rewrap = |format: &[u8], key: &Wrapped| Wrapped::new(format, (id, &root), key.id, &key.open(format, old)?);
        let mut epochs = self.epochs.clone();
        for epoch in &mut epochs {
            epoch.key = rewrap(DATA_FORMAT, &epoch.key)?;
        }
        let (slots, digest) = (wrap_slots(slots, (id, &root))?, rewrap(DIGEST_FORMAT, &self.digest)?);
        *self = Self { format: TABLE_FORMAT, slots, epochs, digest };
        self.open_with((id, root))
    }
}

fn wrap_slots(slots: &[NewSlot], root: (KeyId, &SivKey)) -> Result<Vec<Slot>, Error> {
    let mut ids: Vec<KeyId> = slots.iter().map(NewSlot::id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() || ids.len() != slots.len() || ids.len() > MAX_SLOTS {
        return Err(Error::Invalid(format!("a store has 1 to {MAX_SLOTS} slots, each with a key of its own")));
    }
    slots.iter().map(|slot| slot.wrap(root)).collect()
}

fn random_key(random: Random<'_>) -> Result<SivKey, Error> {
    let mut bytes = Zeroizing::new([0; SivKey::LEN]);
    random(&mut *bytes)?;
    Ok(SivKey::new(*bytes))
}

fn key_of(bytes: &[u8]) -> Option<SivKey> {
    bytes.try_into().ok().map(SivKey::new)
}

/// HKDF-SHA-256 (RFC 5869) without a salt.
pub(crate) fn expand<const N: usize>(key: &[u8], label: &[u8]) -> Result<Zeroizing<[u8; N]>, Error> {
    expand_all(key, &[label])
}

fn expand_all<const N: usize>(key: &[u8], label: &[&[u8]]) -> Result<Zeroizing<[u8; N]>, Error> {
    let mut out = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::new(None, key)
        .expand_multi_info(label, &mut *out)
        .map_err(|_| Error::Bug("a subkey could not be derived".into()))?;
    Ok(out)
}

#[cfg(test)]
mod tests;
