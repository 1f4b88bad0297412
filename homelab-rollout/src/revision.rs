//! A revision: everything that makes one version of an App, kept for rollback.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ports::InjectedSecret;

/// Format that this version writes.
pub const FORMAT: u32 = 1;

/// One kept revision of an App. Immutable; its id is the digest of chart, values and secret digests (not of versions).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRecord {
    /// Format version of this record.
    pub format: u32,
    /// Ten hex digits of the content digest.
    pub id: String,
    /// Name of the chart, version and app version, for people.
    pub chart: String,
    /// Chart archive: reproducible tar, gzip.
    #[serde(with = "base64_bytes")]
    pub archive: Vec<u8>,
    /// Values before `${homelab.…}` is replaced.
    pub values: serde_json::Value,
    /// Secrets with exact versions.
    pub secrets: Vec<InjectedSecret>,
    /// Where it came from: `gitsync@tree`, for people.
    pub source: String,
    /// Why it exists: "Git moved", "secret kv/web/db is now version 3".
    pub reason: String,
    /// When it was first seen.
    pub created: Timestamp,
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
