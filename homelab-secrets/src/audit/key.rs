//! The keys of the audit log: all from one, each for one use.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ChainMac;
use crate::Error;

/// Hex digits of a digest that stand in a record: 128 bits.
const DIGEST_DIGITS: usize = 32;

/// Keys of the chain, of the digests of values, and of anchors.
pub struct AuditKey {
    chain: Zeroizing<[u8; 32]>,
    value: Zeroizing<[u8; 32]>,
    anchor: Zeroizing<[u8; 32]>,
    name: String,
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({}, …)", self.name)
    }
}

impl AuditKey {
    /// What the key is derived for, as the store's keys name it.
    pub const PURPOSE: &'static str = "homelab.audit/1";

    /// The keys that follow from `secret`.
    pub fn new(secret: &[u8; 32]) -> Result<Self, Error> {
        let derive = |label: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            let derived = Hkdf::<Sha256>::new(None, secret).expand(label, &mut *key);
            derived.map_err(|_| Error::Bug("a key of the audit log could not be derived".into()))?;
            Ok::<_, Error>(key)
        };
        let value = derive(b"homelab.audit.value/1")?;
        let mut name = crate::hex::encode(&mac(&value, &[b"homelab.audit.name/1"]).0);
        name.truncate(16);
        Ok(Self { chain: derive(b"homelab.audit.chain/1")?, value, anchor: derive(b"homelab.audit.anchor/1")?, name })
    }

    /// A word that differs for each key and says nothing about it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands in a record in the place of `value`: equal values, equal digests.
    pub fn digest(&self, value: &[u8]) -> String {
        let mut hex = crate::hex::encode(&mac(&self.value, &[value]).0);
        hex.truncate(DIGEST_DIGITS);
        format!("hmac:{hex}")
    }

    pub(super) fn link(&self, previous: &ChainMac, body: &[u8]) -> ChainMac {
        mac(&self.chain, &[&previous.0, body])
    }

    pub(super) fn anchor(&self, text: &[u8]) -> ChainMac {
        mac(&self.anchor, &[text])
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> ChainMac {
    // A key of 32 bytes is one block of SHA-256, padded (RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    parts.iter().for_each(|part| mac.update(part));
    ChainMac(mac.finalize().into_bytes().into())
}
