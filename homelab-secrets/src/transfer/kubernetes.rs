//! Kubernetes Secrets, as objects and lists of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Entry, Name};
use crate::Error;

/// Types of what the cluster or a program makes for itself: worth nothing elsewhere.
const OF_PROGRAMS: [&str; 4] =
    ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "helm.sh/release.v1", "homelab.dev/"];

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Secrets.
    pub entries: Vec<Entry>,
    /// What was passed by, and why.
    pub skipped: Vec<String>,
}

/// Whether a document is a Secret or a list.
pub fn is_like(document: &Value) -> bool {
    matches!(document["kind"].as_str(), Some("Secret" | "SecretList" | "List")) && document["apiVersion"] == "v1"
}

/// Reads objects; `namespace` is that of objects that name none. What is no Secret is passed by.
pub fn read(documents: Vec<Value>, namespace: &str) -> Result<Found, Error> {
    let mut found = Found::default();
    for mut document in documents {
        match document["kind"].as_str() {
            Some("List" | "SecretList") => {
                let Value::Array(items) = document["items"].take() else { continue };
                let inner = read(items.into_iter().map(as_secret_item).collect(), namespace)?;
                found.entries.extend(inner.entries);
                found.skipped.extend(inner.skipped);
            }
            Some("Secret") => one(&document, namespace, &mut found)?,
            _ => found.skipped.push(format!("{}: it is no Secret", title(&document, namespace))),
        }
    }
    Ok(found)
}

/// Items of a SecretList of the API do not say their kind.
fn as_secret_item(mut item: Value) -> Value {
    if item["kind"].is_null() && item["metadata"].is_object() {
        item["kind"] = "Secret".into();
    }
    item
}

fn title(document: &Value, namespace: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let (kind, name) = (text(&document["kind"]), text(&document["metadata"]["name"]));
    format!("{kind} {}/{name}", document["metadata"]["namespace"].as_str().unwrap_or(namespace))
}

fn one(secret: &Value, namespace: &str, found: &mut Found) -> Result<(), Error> {
    let title = title(secret, namespace);
    let kind = secret["type"].as_str().unwrap_or_default();
    if OF_PROGRAMS.iter().any(|of| kind.starts_with(of)) {
        found.skipped.push(format!("{title}: its type is {kind}"));
        return Ok(());
    }
    let metadata = &secret["metadata"];
    let Some(name) = metadata["name"].as_str() else {
        return Err(Error::Invalid("a Secret has no metadata.name: give it one".into()));
    };
    let values = secret.as_object().ok_or_else(|| "it is no object".to_owned()).and_then(values);
    let values = values.map_err(|why| Error::Invalid(format!("{title}: {why}")))?;
    let namespace = metadata["namespace"].as_str().unwrap_or(namespace);
    found.entries.push(Entry::newest(Name::Inner(format!("{namespace}/{name}")), values));
    Ok(())
}

/// The values of a Secret: `stringData` wins over `data`, as in the API server.
pub fn values(secret: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut values = Map::new();
    let part = |name: &str| secret.get(name).and_then(Value::as_object).into_iter().flatten();
    for (key, value) in part("data") {
        let text = value.as_str().ok_or_else(|| format!("data.{key} is no text"))?;
        let bytes = BASE64.decode(text.trim()).map(Zeroizing::new).map_err(|_| format!("data.{key} is not base64"))?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| format!("data.{key} is not UTF-8 text: write it as base64 text in stringData"))?;
        values.insert(key.clone(), text.into());
    }
    for (key, value) in part("stringData") {
        let text = value.as_str().ok_or_else(|| format!("stringData.{key} is no text"))?;
        values.insert(key.clone(), text.into());
    }
    if values.is_empty() {
        return Err("the Secret has neither data nor stringData".into());
    }
    Ok(values)
}
