//! Open values of one secret, as text.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use zeroize::{Zeroize as _, Zeroizing};

/// The values of one secret by key. Wiped when dropped; `Debug` shows how many there are and no more.
#[derive(Default)]
pub struct Values(BTreeMap<String, Text>);

/// One value: a string as it is, anything else as compact JSON.
pub(super) struct Text {
    pub(super) plain: Zeroizing<String>,
    /// It is a string in the store, too.
    is_string: bool,
}

impl Text {
    /// As JSON: a string with its quotes.
    pub(super) fn json(&self) -> Zeroizing<String> {
        if !self.is_string {
            return self.plain.clone();
        }
        let mut quoted = Value::String(self.plain.to_string());
        let text = Zeroizing::new(quoted.to_string());
        if let Value::String(copy) = &mut quoted {
            copy.zeroize();
        }
        text
    }
}

impl Values {
    /// Of an open secret.
    pub fn of(map: &Map<String, Value>) -> Self {
        let text = |value: &Value| match value {
            Value::String(text) => Text { plain: Zeroizing::new(text.clone()), is_string: true },
            other => Text { plain: Zeroizing::new(other.to_string()), is_string: false },
        };
        Self(map.iter().map(|(key, value)| (key.clone(), text(value))).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Text> {
        self.0.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Text)> {
        self.0.iter()
    }

    /// The names of the keys, for messages.
    pub(super) fn names(&self) -> String {
        const SHOWN: usize = 12;
        let names: Vec<_> = self.0.keys().take(SHOWN).map(String::as_str).collect();
        match self.0.len() {
            0 => "none".into(),
            n if n > SHOWN => format!("{} and {} more", names.join(", "), n - SHOWN),
            _ => names.join(", "),
        }
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values({} keys)", self.0.len())
    }
}

/// A secret that was read, at the version that was found.
#[derive(Debug)]
pub struct Opened {
    /// Which version.
    pub version: u64,
    /// Its values.
    pub values: Values,
}
