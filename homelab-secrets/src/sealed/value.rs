//! One sealed value: `eEPOCH.SEAL`, the seal in base64url without padding.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use zeroize::Zeroizing;

use super::keys::{EpochKey, RepositoryRing};
use super::name::RepositoryId;
use crate::Error;

/// Name of the format, as it enters associated data and the derivation of subkeys.
pub(super) const LABEL: &[u8] = b"homelab.sealed/1";
/// Values are padded to a multiple of this, so that a length tells little.
const BUCKET: usize = 32;
/// First byte of the padding (ISO/IEC 7816-4); zeros follow. JSON never ends with either.
const PAD: u8 = 0x80;

/// What a value is sealed for.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) repository: RepositoryId,
    pub(super) path: &'a str,
    pub(super) field: &'a str,
}

/// A value as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SealedValue {
    pub(super) epoch: u64,
    /// The whole text, with the epoch.
    text: String,
}

impl SealedValue {
    /// Reads the form; says nothing about whether it opens.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (epoch, sealed) = text.strip_prefix('e')?.split_once('.')?;
        let number: u64 = epoch.parse().ok()?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let plain = number > 0 && number.to_string() == epoch && !sealed.is_empty() && sealed.bytes().all(fits);
        plain.then(|| Self { epoch: number, text: text.into() })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    fn sealed(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.text.split_once('.')?.1).ok()
    }
}

/// Why a value does not open; a fragment that follows the field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("is sealed in epoch {0}, whose key this store does not have")]
    UnknownEpoch(u64),
    #[error("was cut or changed")]
    Malformed,
    #[error("was sealed for another field, path or repository, or was changed")]
    Broken,
}

/// Seals `content`. Equal content at one place in one epoch gives equal text.
pub(super) fn seal(key: &EpochKey, place: Place<'_>, content: &[u8]) -> Result<SealedValue, Error> {
    let padded = pad(content);
    let sealed = key.key.seal(&associated(key, &place), &padded);
    let sealed = sealed.map_err(|_| Error::Bug(format!("`{}` could not be sealed", place.field)))?;
    Ok(SealedValue { epoch: key.epoch, text: format!("e{}.{}", key.epoch, BASE64.encode(sealed)) })
}

/// Opens a value that has to belong to `place`.
pub(super) fn open(ring: &RepositoryRing, place: Place<'_>, value: &SealedValue) -> Result<Zeroizing<String>, Problem> {
    let key = ring.epoch(value.epoch).ok_or(Problem::UnknownEpoch(value.epoch))?;
    let sealed = value.sealed().ok_or(Problem::Malformed)?;
    let padded = key.key.open(&associated(key, &place), &sealed).map_err(|_| Problem::Broken)?;
    let content = unpad(&padded).ok_or(Problem::Broken)?;
    std::str::from_utf8(content).map(|text| Zeroizing::new(text.to_owned())).map_err(|_| Problem::Broken)
}

fn associated<'a>(key: &'a EpochKey, place: &'a Place<'a>) -> [&'a [u8]; 5] {
    [LABEL, key.id.as_bytes(), place.repository.as_bytes(), place.path.as_bytes(), place.field.as_bytes()]
}

fn pad(content: &[u8]) -> Zeroizing<Vec<u8>> {
    let size = (content.len() / BUCKET + 1) * BUCKET;
    let mut padded = Zeroizing::new(Vec::with_capacity(size));
    padded.extend_from_slice(content);
    padded.push(PAD);
    padded.resize(size, 0);
    padded
}

fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let end = padded.iter().rposition(|byte| *byte != 0)?;
    (padded.get(end) == Some(&PAD)).then(|| padded.get(..end)).flatten()
}
