//! AES-256-SIV (RFC 5297) with its vector of associated data, and the two sealed forms of the live store.
//!
//! What a blob is for is part of its seal: mount, path and version (or generation) are associated data, so a blob that
//! was moved, swapped, cut or changed does not open. Numbers enter as 8 bytes, big-endian. The key's id is in the
//! associated data too and names the one key to try: SIV does not commit to its key.

use std::fmt;

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::KeyId;

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 16;
/// Bytes that sealing adds: the synthetic IV.
pub const TAG_LEN: usize = 16;

/// A random value that makes two seals of equal content differ.
pub type Nonce = [u8; NONCE_LEN];

const VERSION_FORMAT: &[u8] = b"homelab.version/1";
const STATE_FORMAT: &[u8] = b"homelab.state/1";
const VERSION_BYTE: u8 = 0x01;
const STATE_BYTE: u8 = 0x81;

/// It did not open: another key or place, or not what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than a seal can be, or not one of ours.
    #[error("is not a sealed record")]
    Malformed,
    /// Written by a newer program.
    #[error("has format {0}, which this program does not know")]
    UnknownFormat(u8),
    /// Sealed with a key that is not in the key ring.
    #[error("is sealed with the unknown key {0}")]
    UnknownKey(KeyId),
    /// The seal is broken.
    #[error("does not open: wrong key, wrong place, or changed")]
    Broken,
}

/// A key of AES-256-SIV: 32 bytes for the tag, 32 for the text.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SivKey([u8; Self::LEN]);

impl SivKey {
    /// Bytes of a key.
    pub const LEN: usize = 64;

    /// A key of these bytes.
    pub fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, to derive from or to wrap.
    pub(crate) fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Seals `plaintext` for exactly these parts of associated data (at most 126).
    pub fn seal(&self, associated: &[&[u8]], plaintext: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut siv = Aes256Siv::new((&self.0).into());
        let mut text = Vec::with_capacity(plaintext.len() + TAG_LEN);
        text.extend_from_slice(plaintext);
        siv.encrypt_in_place(associated, &mut text).map_err(|_| OpenError::Malformed)?;
        Ok(text)
    }

    /// Opens what [`Self::seal`] made for the same parts.
    pub fn open(&self, associated: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if sealed.len() < TAG_LEN {
            return Err(OpenError::Malformed);
        }
        let mut siv = Aes256Siv::new((&self.0).into());
        siv.decrypt(associated, sealed).map(Zeroizing::new).map_err(|_| OpenError::Broken)
    }
}

impl fmt::Debug for SivKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SivKey(…)")
    }
}

/// Where a record of the live store belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// UUID of the mount.
    pub mount: &'a [u8; 16],
    /// Path inside the mount.
    pub path: &'a str,
}

/// The readable front of a sealed record: which key opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// Id of the data key.
    pub key: KeyId,
    /// Version (of a value) or generation (of a state).
    pub number: u64,
    /// Nonce.
    pub nonce: Nonce,
}

/// What kind of record it is. Each has its own subkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// One version of a value. Associated data: format, key id, mount, path, version, nonce.
    Version,
    /// State and metadata of one path. Associated data: format, key id, mount, path, generation, nonce.
    State,
}

impl Form {
    /// Name of the format, as it enters associated data and the derivation of subkeys.
    pub fn label(self) -> &'static [u8] {
        match self {
            Self::Version => VERSION_FORMAT,
            Self::State => STATE_FORMAT,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Version => VERSION_BYTE,
            Self::State => STATE_BYTE,
        }
    }
}

const FRONT_LEN: usize = 1 + KeyId::LEN + 8 + NONCE_LEN;

/// Seals one record: front (format, key id, number, nonce), then the seal.
pub fn seal_record(
    form: Form,
    key: &SivKey,
    front: Front,
    place: Place<'_>,
    plaintext: &[u8],
) -> Result<Vec<u8>, OpenError> {
    let sealed = key.seal(&associated(form, &front, &front.number.to_be_bytes(), place), plaintext)?;
    let mut record = Vec::with_capacity(FRONT_LEN + sealed.len());
    record.push(form.byte());
    record.extend_from_slice(front.key.as_bytes());
    record.extend_from_slice(&front.number.to_be_bytes());
    record.extend_from_slice(&front.nonce);
    record.extend_from_slice(&sealed);
    Ok(record)
}

/// Reads the front of a record, to find its key.
pub fn front(form: Form, record: &[u8]) -> Result<Front, OpenError> {
    let (first, rest) = record.split_first().ok_or(OpenError::Malformed)?;
    if *first != form.byte() {
        return Err(OpenError::UnknownFormat(*first));
    }
    let (key, rest) = rest.split_first_chunk::<{ KeyId::LEN }>().ok_or(OpenError::Malformed)?;
    let (number, rest) = rest.split_first_chunk::<8>().ok_or(OpenError::Malformed)?;
    let nonce = rest.first_chunk::<NONCE_LEN>().ok_or(OpenError::Malformed)?;
    Ok(Front { key: KeyId::new(*key), number: u64::from_be_bytes(*number), nonce: *nonce })
}

/// Opens a record that has to be `form` at `place`, with the key that its front names.
pub fn open_record(form: Form, key: &SivKey, place: Place<'_>, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let front = front(form, record)?;
    let sealed = record.get(FRONT_LEN..).ok_or(OpenError::Malformed)?;
    key.open(&associated(form, &front, &front.number.to_be_bytes(), place), sealed)
}

fn associated<'a>(form: Form, front: &'a Front, number: &'a [u8; 8], place: Place<'a>) -> [&'a [u8]; 6] {
    [form.label(), front.key.as_bytes(), place.mount, place.path.as_bytes(), number, &front.nonce]
}

#[cfg(test)]
mod tests;
