//! A revision: everything that makes one version of an App, kept for rollback.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::deployer::SlotRef;
use crate::ports::{InjectedSecret, ResolvedSecret, SecretTarget};

pub mod secret;

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
    pub values: Value,
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

/// The id of a revision: ten hex digits over the chart's digest, the values before replacement, and the keyed digests of
/// the secrets. Versions do not count: equal content is the same revision. Of secrets at a path in `cut` the content does not
/// count either: they change in place.
pub fn id(
    chart_digest: &str,
    values: &Value,
    secrets: &[(ResolvedSecret, SecretTarget)],
    cut: &BTreeSet<String>,
) -> String {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    field(&FORMAT.to_be_bytes());
    field(chart_digest.as_bytes());
    field(canonical(values).to_string().as_bytes());
    for (secret, target) in secrets {
        field(secret.path.as_bytes());
        field(if cut.contains(&secret.path) { b"cut" } else { secret.digest.as_bytes() });
        let (kind, place) = match target {
            SecretTarget::Files(place) => ("files", place),
            SecretTarget::Env(place) => ("env", place),
        };
        field(kind.as_bytes());
        field(place.as_bytes());
    }
    hash.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

/// The same value with the keys of every object sorted, whatever map serde_json was built with.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            Value::Object(sorted.into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect())
        }
        other => other.clone(),
    }
}

/// `values` with `${homelab.colour}` and `${homelab.release}` replaced for a slot, in strings and keys of any depth.
/// Every other `${…}` is left alone. The colour of a `rolling` App is empty.
pub fn substitute(values: &Value, slot: &SlotRef) -> Value {
    match values {
        Value::String(text) => Value::String(substitute_text(text, slot)),
        Value::Array(items) => items.iter().map(|item| substitute(item, slot)).collect(),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(key, value)| (substitute_text(key, slot), substitute(value, slot))).collect(),
        ),
        other => other.clone(),
    }
}

/// [`substitute`] for one text.
pub fn substitute_text(text: &str, slot: &SlotRef) -> String {
    let colour = slot.colour.map_or("", |colour| colour.as_str());
    text.replace("${homelab.colour}", colour).replace("${homelab.release}", &slot.release)
}

#[cfg(test)]
mod tests;
