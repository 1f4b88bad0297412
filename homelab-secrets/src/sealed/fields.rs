//! Open fields of a sealed file.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::Error;
use crate::kv::merge::canonical_value;

/// Names and values, each value as its one written JSON form. Wiped when dropped; `Debug` shows how many and no more.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, Zeroizing<String>>);

impl Fields {
    /// The fields of a JSON object; a value that is an object itself stays one value.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, Error> {
        let mut fields = Self::default();
        for (name, value) in map {
            let mut text = Zeroizing::new(Vec::with_capacity(64));
            canonical_value(value, &mut text);
            let text =
                std::str::from_utf8(&text).map_err(|_| Error::Bug(format!("`{name}` is not written as UTF-8")))?;
            fields.0.insert(name.clone(), Zeroizing::new(text.to_owned()));
        }
        Ok(fields)
    }

    /// The same as a JSON object. Whoever takes it answers for where it goes.
    pub fn to_json(&self) -> Result<Map<String, Value>, Error> {
        let read = |(name, text): (&String, &Zeroizing<String>)| {
            // serde's own words may quote the value, so they are dropped.
            let value = serde_json::from_str(text).map_err(|_| Error::Invalid(format!("`{name}` holds no JSON")))?;
            Ok((name.clone(), value))
        };
        self.0.iter().map(read).collect()
    }

    /// Names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Zeroizing<String>)> {
        self.0.iter().map(|(name, content)| (name.as_str(), content))
    }

    pub(super) fn set_written(&mut self, name: &str, content: Zeroizing<String>) {
        self.0.insert(name.into(), content);
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({} fields)", self.0.len())
    }
}
