//! Open values.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use crate::kv::merge;

/// The value of a secret: a JSON object. Wiped when dropped; `Debug` shows how many keys it has and no more.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretData(Map<String, Value>);

impl SecretData {
    /// A value of these keys.
    pub fn new(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// The open value. Whoever takes it answers for where it goes.
    pub fn expose(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Names of the keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.0.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// Merges a patch (RFC 7396).
    pub(super) fn merge(&mut self, patch: &Self) {
        merge::merge(&mut self.0, &patch.0);
    }

    /// The one written form.
    pub(crate) fn canonical(&self) -> zeroize::Zeroizing<Vec<u8>> {
        let mut out = zeroize::Zeroizing::new(Vec::with_capacity(256));
        merge::canonical(&self.0, &mut out);
        out
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretData({} keys)", self.0.len())
    }
}

impl Drop for SecretData {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// One version of a secret, open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Which version.
    pub version: u64,
    /// When it was written.
    pub created: Timestamp,
    /// Who wrote it, as they were known then.
    pub writer: String,
    /// The value.
    pub data: SecretData,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let data: SecretData = serde_json::from_str(r#"{"password": "hunter2", "list": [{"a": "b"}]}"#).unwrap();
        let secret = Secret { version: 3, created: Timestamp::UNIX_EPOCH, writer: "root".into(), data };
        insta::assert_snapshot!(format!("{secret:?}"), @r#"Secret { version: 3, created: 1970-01-01T00:00:00Z, writer: "root", data: SecretData(2 keys) }"#);
    }
}
