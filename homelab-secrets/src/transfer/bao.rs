//! What `bao kv get -format=json` and `vault kv get -format=json` print: one answer, or objects of paths and answers, as
//! many as there are one after the other.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Entry, History, Name};
use crate::Error;
use crate::kv::Settings;
use crate::store::SecretData;

/// Whether a document looks like an answer, or like paths with answers.
pub fn is_like(document: &Value) -> bool {
    is_answer(document) || document.as_object().is_some_and(|map| !map.is_empty() && map.values().all(is_answer))
}

/// Reads the documents of the file `file`; that is the name of an answer without a path.
pub fn read(documents: Vec<Value>, file: &str) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for document in documents {
        match document {
            Value::Object(answer) if is_answer_map(&answer) => {
                entries.push(entry(Name::File(file.to_owned()), answer, file)?);
            }
            Value::Object(map) => {
                for (path, answer) in map {
                    let Value::Object(answer) = answer else { return Err(strange(&path)) };
                    entries.push(entry(Name::Full(path.trim_matches('/').to_owned()), answer, &path)?);
                }
            }
            _ => return Err(strange(file)),
        }
    }
    Ok(entries)
}

fn is_answer(document: &Value) -> bool {
    document.as_object().is_some_and(is_answer_map)
}

/// Version 1 of KV has its keys where version 2 has `data` and `metadata`; both have words about the request.
fn is_answer_map(map: &Map<String, Value>) -> bool {
    let data = map.get("data").and_then(Value::as_object);
    data.is_some_and(|data| {
        map.contains_key("request_id") || (data.contains_key("data") && data.contains_key("metadata"))
    })
}

fn strange(of: &str) -> Error {
    Error::Invalid(format!(
        "{of} is no answer of `bao kv get -format=json`: it has no `data`; write one answer, or {{\"MOUNT/PATH\": ANSWER}}"
    ))
}

fn entry(name: Name, mut answer: Map<String, Value>, of: &str) -> Result<Entry, Error> {
    let Some(Value::Object(mut data)) = answer.remove("data") else { return Err(strange(of)) };
    if !data.get("metadata").is_some_and(Value::is_object) || data.len() != 2 || !data.contains_key("data") {
        return Ok(Entry::newest(name, data));
    }
    let custom = words(&data["metadata"]["custom_metadata"]);
    let settings = (!custom.is_empty()).then(|| Settings { custom, ..Settings::default() });
    match data.remove("data") {
        Some(Value::Object(values)) => Ok(Entry { name, settings, history: History::Newest(SecretData::new(values)) }),
        _ => Err(Error::Invalid(format!(
            "{of} has no values: that version is deleted or destroyed; leave it out, or take another one"
        ))),
    }
}

fn words(value: &Value) -> BTreeMap<String, String> {
    let words = value.as_object().into_iter().flatten();
    words.filter_map(|(key, word)| Some((key.clone(), word.as_str()?.to_owned()))).collect()
}
