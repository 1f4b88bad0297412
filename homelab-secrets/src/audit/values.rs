//! Bodies of requests as they are recorded: names in clear, a keyed digest in the place of each value.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::AuditKey;

/// What the form of a body may take in a record. Beyond it the whole body is one digest.
const ROOM: usize = 16 * 1024;
/// What a digest takes.
const DIGEST: usize = 40;
/// Numbers and switches that say what was asked for and are nobody's secret, outside of what users store.
const CLEAR: [&str; 10] = [
    "cas",
    "versions",
    "version",
    "max_versions",
    "cas_required",
    "force",
    "ttl",
    "num_uses",
    "renewable",
    "increment",
];
/// Below these everything is the users' own.
const STORED: [&str; 2] = ["data", "custom_metadata"];

/// The form of a JSON body with digests of its values; one digest of all of it where it is no object, or a very large
/// one; null where there is none. A value is digested as its text, a number or a switch as JSON writes it.
///
/// The values pass from the body to the digest; no copy of them is made that lasts.
pub fn digests(key: &AuditKey, body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    let room = Cell::new(ROOM);
    let seed = Seed { key, room: &room, name: "", stored: false };
    let mut json = serde_json::Deserializer::from_slice(body);
    match seed.deserialize(&mut json) {
        Ok(form @ Value::Object(_)) if json.end().is_ok() => form,
        _ => Value::String(key.digest(body)),
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    key: &'a AuditKey,
    room: &'a Cell<usize>,
    /// Name of the member that this is, or is in.
    name: &'a str,
    /// Whether it is below what users store.
    stored: bool,
}

impl Seed<'_> {
    fn take<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        self.room.set(self.room.get().checked_sub(bytes).ok_or_else(|| E::custom("too large a form"))?);
        Ok(())
    }

    fn digest<E: serde::de::Error>(&self, text: &[u8]) -> Result<Value, E> {
        self.take(DIGEST)?;
        Ok(Value::String(self.key.digest(text)))
    }

    fn plain<E: serde::de::Error>(&self, value: impl Into<Value>) -> Result<Value, E> {
        let value = value.into();
        if self.stored || !CLEAR.contains(&self.name) {
            return self.digest(value.to_string().as_bytes());
        }
        self.take(DIGEST)?;
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.take(DIGEST)?;
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.plain(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.plain(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.plain(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.plain(value)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.digest(text.as_bytes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.take::<A::Error>(name.len())?;
            let stored = self.stored || STORED.contains(&name.as_str());
            let value = members.next_value_seed(Seed { name: &name, stored, ..self })?;
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom("a name comes twice"));
            }
        }
        Ok(Value::Object(all))
    }
}
