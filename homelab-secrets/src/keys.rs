//! Keys: a slot opens the root key, the root key wraps the others, a subkey serves each format.
//!
//! ```text
//! slot (key file | passphrase) ── wraps ─► root key ── wraps ─┬► data key of an epoch ─ HKDF ─► version, state
//!                                                             └► digest key ─ HKDF ─► HMAC of values
//! ```
//! [`KeyTable`] is what is stored: wrapped keys, nothing secret. [`Keyring`] is what it opens to; it lives in memory only.
//! The digest key is apart from the epochs, so that a new epoch changes no digest.

use std::collections::BTreeMap;
use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Error;
use crate::seal::{Form, SivKey};

mod id;

pub use id::KeyId;

/// Fills a buffer with random bytes. An argument, so that this module stays pure.
pub type Random<'a> = &'a (dyn Fn(&mut [u8]) -> Result<(), Error> + 'a);

/// Version of [`KeyTable`] that this program writes.
pub const TABLE_FORMAT: u32 = 1;
const KEY_FILE_WORD: &str = "homelab-key/1";
const ROOT_FORMAT: &[u8] = b"homelab.wrap.root/1";
const DATA_FORMAT: &[u8] = b"homelab.wrap.data/1";
const DIGEST_FORMAT: &[u8] = b"homelab.wrap.digest/1";
const DERIVED_LABEL: &[u8] = b"homelab.derived/1 ";
const DIGEST_LABEL: &[u8] = b"homelab.digest/1";

/// What opens a slot.
pub enum Unlock {
    /// The content of a key file.
    KeyFile(SlotKey),
    /// A passphrase; the slot's argon2id parameters stretch it.
    Passphrase(Zeroizing<String>),
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyFile(_) => "Unlock::KeyFile(…)",
            Self::Passphrase(_) => "Unlock::Passphrase(…)",
        })
    }
}

/// The key of a slot.
#[derive(Debug)]
pub struct SlotKey {
    id: KeyId,
    key: SivKey,
}

impl SlotKey {
    /// A new one.
    pub fn generate(random: Random<'_>) -> Result<Self, Error> {
        Ok(Self { id: KeyId::random(random)?, key: random_key(random)? })
    }

    /// One line of text for a key file: `homelab-key/1 ID KEY`.
    pub fn to_file(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(BASE64.encode(self.key.bytes()));
        Zeroizing::new(format!("{KEY_FILE_WORD} {} {}\n", self.id, *key))
    }

    /// Reads a key file's text.
    pub fn from_file(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Invalid(format!("the key file is not one line `{KEY_FILE_WORD} ID KEY`"));
        let mut words = text.split_whitespace();
        let (Some(KEY_FILE_WORD), Some(id), Some(key), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong());
        };
        let bytes = Zeroizing::new(BASE64.decode(key).map_err(|_| wrong())?);
        Ok(Self { id: KeyId::parse(id).ok_or_else(wrong)?, key: key_of(&bytes).ok_or_else(wrong)? })
    }
}

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

/// How a slot's key is come by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum SlotKind {
    /// It is in a key file.
    KeyFile,
    /// It is argon2id of a passphrase.
    #[serde(rename_all = "camelCase")]
    Passphrase {
        /// Salt, base64.
        salt: String,
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// One way to the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// How its key is come by.
    pub how: SlotKind,
    /// The root key, wrapped by it.
    pub root: Wrapped,
}

/// A data key of one epoch, wrapped by the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number, from 1.
    pub epoch: u64,
    /// Its key.
    pub key: Wrapped,
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
    /// New keys, with one slot for `unlock`.
    pub fn create(unlock: &Unlock, random: Random<'_>) -> Result<Self, Error> {
        let (root_id, root) = (KeyId::random(random)?, random_key(random)?);
        let wrap = |format: &[u8]| Wrapped::new(format, (root_id, &root), KeyId::random(random)?, &random_key(random)?);
        Ok(Self {
            format: TABLE_FORMAT,
            slots: vec![new_slot(unlock, root_id, &root, random)?],
            epochs: vec![Epoch { epoch: 1, key: wrap(DATA_FORMAT)? }],
            digest: wrap(DIGEST_FORMAT)?,
        })
    }

    /// Adds a slot: `unlock` opens the same root key from now on.
    pub fn add_slot(&mut self, known: &Unlock, unlock: &Unlock, random: Random<'_>) -> Result<(), Error> {
        let (root_id, root) = self.root(known)?;
        self.slots.push(new_slot(unlock, root_id, &root, random)?);
        Ok(())
    }

    /// Reads a stored table; refuses formats it does not know.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let wrong = |_| Error::Invalid("the key table is not readable: restore it from a backup".into());
        let head: Head = serde_json::from_slice(bytes).map_err(wrong)?;
        if head.format != TABLE_FORMAT {
            let found = head.format;
            return Err(Error::Invalid(format!("the key table has format {found}, this program reads {TABLE_FORMAT}")));
        }
        serde_json::from_slice(bytes).map_err(wrong)
    }

    /// The table as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|_| Error::Bug("the key table does not serialise".into()))
    }

    /// Opens all keys.
    pub fn open(&self, unlock: &Unlock) -> Result<Keyring, Error> {
        let (root_id, root) = self.root(unlock)?;
        let mut data = BTreeMap::new();
        for epoch in &self.epochs {
            let key = epoch.key.open(DATA_FORMAT, (root_id, &root))?;
            data.insert(epoch.key.id, DataKey::derive(&key)?);
        }
        let active = self.epochs.last().ok_or_else(|| Error::Invalid("the key table has no data key".into()))?.key.id;
        let digest = self.digest.open(DIGEST_FORMAT, (root_id, &root))?;
        Ok(Keyring { data, active, digest: DigestKey(subkey::<32>(&digest, DIGEST_LABEL)?) })
    }

    fn root(&self, unlock: &Unlock) -> Result<(KeyId, SivKey), Error> {
        for slot in &self.slots {
            match (unlock, &slot.how) {
                (Unlock::KeyFile(key), SlotKind::KeyFile) if key.id == slot.root.parent => {
                    return Ok((slot.root.id, slot.root.open(ROOT_FORMAT, (key.id, &key.key))?));
                }
                (Unlock::Passphrase(words), SlotKind::Passphrase { salt, memory_kib, passes, lanes }) => {
                    let key = stretch(words, salt, (*memory_kib, *passes, *lanes))?;
                    return Ok((slot.root.id, slot.root.open(ROOT_FORMAT, (slot.root.parent, &key))?));
                }
                _ => {}
            }
        }
        Err(Error::Invalid(
            "no slot of the store belongs to this key: use the key file that the store was made with".into(),
        ))
    }
}

fn new_slot(unlock: &Unlock, root_id: KeyId, root: &SivKey, random: Random<'_>) -> Result<Slot, Error> {
    let slot = |how, id, key: &SivKey| Ok(Slot { how, root: Wrapped::new(ROOT_FORMAT, (id, key), root_id, root)? });
    match unlock {
        Unlock::KeyFile(file) => slot(SlotKind::KeyFile, file.id, &file.key),
        Unlock::Passphrase(words) => {
            let mut salt = [0; 16];
            random(&mut salt)?;
            let (salt, cost) = (BASE64.encode(salt), (PASSPHRASE_KIB, 3, 1));
            let key = stretch(words, &salt, cost)?;
            let how = SlotKind::Passphrase { salt, memory_kib: cost.0, passes: cost.1, lanes: cost.2 };
            slot(how, KeyId::random(random)?, &key)
        }
    }
}

/// 64 MiB and 3 passes: the second recommendation of RFC 9106 with one lane.
const PASSPHRASE_KIB: u32 = 64 * 1024;
/// No table may ask for more: it is read before anything in it is proved.
const PASSPHRASE_KIB_MAX: u32 = 1024 * 1024;

fn stretch(words: &str, salt: &str, (memory_kib, passes, lanes): (u32, u32, u32)) -> Result<SivKey, Error> {
    let wrong = || Error::Invalid("the passphrase slot has parameters that argon2id does not take".into());
    if memory_kib > PASSPHRASE_KIB_MAX || passes > 64 {
        return Err(wrong());
    }
    let salt = BASE64.decode(salt).map_err(|_| wrong())?;
    let params = Params::new(memory_kib, passes, lanes, Some(SivKey::LEN)).map_err(|_| wrong())?;
    let mut key = Zeroizing::new([0; SivKey::LEN]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(words.as_bytes(), &salt, &mut *key)
        .map_err(|_| wrong())?;
    Ok(SivKey::new(*key))
}

fn random_key(random: Random<'_>) -> Result<SivKey, Error> {
    let mut bytes = Zeroizing::new([0; SivKey::LEN]);
    random(&mut *bytes)?;
    Ok(SivKey::new(*bytes))
}

fn key_of(bytes: &[u8]) -> Option<SivKey> {
    bytes.try_into().ok().map(SivKey::new)
}

fn subkey<const N: usize>(key: &SivKey, label: &[u8]) -> Result<Zeroizing<[u8; N]>, Error> {
    let mut out = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::new(None, key.bytes())
        .expand(label, &mut *out)
        .map_err(|_| Error::Bug("a subkey could not be derived".into()))?;
    Ok(out)
}

/// The subkeys of one data key: one for each form of record.
#[derive(Debug)]
struct DataKey {
    version: SivKey,
    state: SivKey,
}

impl DataKey {
    fn derive(key: &SivKey) -> Result<Self, Error> {
        let of = |form: Form| Ok::<_, Error>(SivKey::new(*subkey::<{ SivKey::LEN }>(key, form.label())?));
        Ok(Self { version: of(Form::Version)?, state: of(Form::State)? })
    }
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct DigestKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(…)")
    }
}

/// The open keys.
#[derive(Debug)]
pub struct Keyring {
    data: BTreeMap<KeyId, DataKey>,
    active: KeyId,
    digest: DigestKey,
}

impl Keyring {
    /// The key that seals new records.
    pub fn active(&self) -> KeyId {
        self.active
    }

    /// The subkey of data key `id` for records of `form`.
    pub fn key(&self, id: KeyId, form: Form) -> Option<&SivKey> {
        let key = self.data.get(&id)?;
        Some(match form {
            Form::Version => &key.version,
            Form::State => &key.state,
        })
    }

    /// HMAC-SHA-256 over the parts, each with its length before it. Hex.
    pub fn digest(&self, parts: &[&[u8]]) -> Result<String, Error> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.digest.0).map_err(|_| Error::Bug("HMAC refused its key".into()))?;
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(crate::hex::encode(&mac.finalize().into_bytes()))
    }

    /// A key for `purpose` alone, the same in every epoch.
    pub fn derived(&self, purpose: &str) -> Result<Zeroizing<[u8; 32]>, Error> {
        let mut out = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &*self.digest.0)
            .expand_multi_info(&[DERIVED_LABEL, purpose.as_bytes()], &mut *out)
            .map_err(|_| Error::Bug("a key could not be derived".into()))?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
