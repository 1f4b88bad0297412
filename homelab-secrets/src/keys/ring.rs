//! The open keys.

use std::collections::BTreeMap;
use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{KeyId, expand, expand_all};
use crate::Error;
use crate::seal::{Form, SivKey};

const DERIVED_LABEL: &[u8] = b"homelab.derived/1 ";
const DIGEST_LABEL: &[u8] = b"homelab.digest/1";

/// The subkeys of one data key: one for each form of record.
#[derive(Debug)]
pub(super) struct DataKey {
    version: SivKey,
    state: SivKey,
}

impl DataKey {
    pub(super) fn derive(key: &SivKey) -> Result<Self, Error> {
        let of = |form: Form| Ok::<_, Error>(SivKey::new(*expand(key.bytes(), form.label())?));
        Ok(Self { version: of(Form::Version)?, state: of(Form::State)? })
    }
}

pub(super) struct DigestKey(Zeroizing<[u8; 32]>);

impl DigestKey {
    pub(super) fn derive(key: &SivKey) -> Result<Self, Error> {
        Ok(Self(expand(key.bytes(), DIGEST_LABEL)?))
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(…)")
    }
}

/// The open keys. They live in memory only.
#[derive(Debug)]
pub struct Keyring {
    /// It stays, so that new epochs and slots can be made while the store is open.
    pub(super) root: (KeyId, SivKey),
    pub(super) data: BTreeMap<KeyId, DataKey>,
    pub(super) active: KeyId,
    pub(super) digest: DigestKey,
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

    /// HMAC-SHA-256 over the parts, each with its length before it. Hex. The same in every epoch.
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
        expand_all(&*self.digest.0, &[DERIVED_LABEL, purpose.as_bytes()])
    }
}
