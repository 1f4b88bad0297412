//! Fields of a request's body, read as leniently as Vault reads them and never quoted.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use zeroize::Zeroizing;

use super::answer::Refused;
use crate::kv::duration;

/// The object that a body is.
#[derive(Clone, Default)]
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A field that has to be there.
    pub(super) fn need(&self, name: &str) -> Result<String, Refused> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| Refused::invalid(format!("missing {name}")))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(wrong(name, "a string")),
        }
    }

    /// A list, or a text with commas.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Refused> {
        let clean = |text: &str| text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect();
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(clean(text))),
            Some(Value::Array(values)) => {
                let text = |value: &Value| value.as_str().map(|text| text.trim().to_owned());
                let texts: Option<Vec<_>> = values.iter().map(text).collect();
                let mut texts = texts.ok_or_else(|| wrong(name, "a list of strings"))?;
                texts.retain(|text| !text.is_empty());
                Ok(Some(texts))
            }
            Some(_) => Err(wrong(name, "a list of strings")),
        }
    }

    /// A list of texts, each as it was sent: blanks and commas can be part of a passphrase.
    pub(super) fn texts_as_sent(self, name: &str) -> Result<Vec<Zeroizing<String>>, Refused> {
        let Self(mut fields) = self;
        let fail = || wrong(name, "a list of strings");
        match fields.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                let text = |value| match value {
                    Value::String(text) => Ok(Zeroizing::new(text)),
                    _ => Err(fail()),
                };
                values.into_iter().map(text).collect()
            }
            Some(_) => Err(fail()),
        }
    }

    /// Seconds: a number, or a duration as `1h30m`.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<i64>, Refused> {
        let parse = |text: &str| duration::parse(text).map(|duration| duration.as_secs());
        let seconds = match self.get(name) {
            None => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => parse(text),
            Some(Value::Number(number)) => number.as_i64().filter(|n| *n >= 0),
            Some(_) => None,
        };
        // Ten years: far beyond what anything here may last, and far from where arithmetic ends.
        let seconds = seconds.filter(|seconds| *seconds <= 10 * 366 * 86_400);
        seconds.map(Some).ok_or_else(|| wrong(name, "a duration, as in 90s, 1h30m or a number of seconds"))
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.map(Some).ok_or_else(|| wrong(name, "a number that is not negative"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let flag = match value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64().map(|n| n != 0),
            _ => None,
        };
        flag.map(Some).ok_or_else(|| wrong(name, "true or false"))
    }

    /// Words by name; `bao` sends maps of the command line as JSON in a string.
    pub(super) fn words(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, Refused> {
        let fail = || wrong(name, "an object of strings");
        let map = match self.get(name) {
            None => return Ok(None),
            Some(Value::Object(map)) => map.clone(),
            Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| fail())?,
            Some(_) => return Err(fail()),
        };
        let word = |(key, value): (String, Value)| Some((key, value.as_str()?.to_owned()));
        map.into_iter().map(word).collect::<Option<_>>().map(Some).ok_or_else(fail)
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }

    /// Refuses fields that would change what is allowed and are not known here.
    pub(super) fn refuse(&self, names: &[&str]) -> Result<(), Refused> {
        let set = |name: &&&str| match self.get(name) {
            None => false,
            Some(Value::String(text)) => !text.is_empty() && text != "default",
            Some(Value::Array(values)) => !values.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Number(number)) => number.as_i64() != Some(0),
            Some(Value::Null) => false,
        };
        match names.iter().find(set) {
            Some(name) => Err(Refused::invalid(format!("{name} is not supported by this server: leave it out"))),
            None => Ok(()),
        }
    }
}

fn wrong(name: &str, expected: &str) -> Refused {
    Refused::invalid(format!("error converting input for field {name:?}: expected {expected}"))
}
