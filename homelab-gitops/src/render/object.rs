//! From a document to objects: lists opened, what the API server writes taken away, relative charts found.

use homelab_core::meta::ObjectRef;
use serde_json::{Map, Value};

use super::{Manifest, Origin};
use crate::source::RepoPath;

/// The objects of one document; none if it is no Kubernetes object.
pub(super) fn manifests(origin: &Origin, value: Value) -> Vec<Result<Manifest, String>> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() || kind.is_empty() {
        return Vec::new();
    }
    match value {
        Value::Object(mut fields) if kind.ends_with("List") && fields.get("items").is_some_and(Value::is_array) => {
            let Some(Value::Array(items)) = fields.remove("items") else { return Vec::new() };
            items.into_iter().map(|item| manifest(origin, with_type(item, &api_version, &kind))).collect()
        }
        value => vec![manifest(origin, value)],
    }
}

/// Items of a typed list (`ConfigMapList`) may leave their own type out.
fn with_type(mut item: Value, api_version: &str, list_kind: &str) -> Value {
    let kind = list_kind.strip_suffix("List").unwrap_or_default();
    if let (Value::Object(fields), false) = (&mut item, kind.is_empty()) {
        fields.entry("apiVersion").or_insert_with(|| api_version.into());
        fields.entry("kind").or_insert_with(|| kind.into());
    }
    item
}

fn manifest(origin: &Origin, mut object: Value) -> Result<Manifest, String> {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind.is_empty() || !object.get("apiVersion").is_some_and(Value::is_string) {
        return Err("has an item without apiVersion and kind".into());
    }
    if object.get("sops").is_some_and(|sops| sops.get("mac").is_some()) {
        return Err(format!(
            "{kind} is encrypted with SOPS, which is not supported yet: keep the secret in the store (homelab kv put)"
        ));
    }
    let reference = ObjectRef::of(&object).ok_or_else(|| {
        let generated = object.pointer("/metadata/generateName").is_some();
        let cause = if generated {
            "has generateName, which would make a new object each time"
        } else {
            "has no metadata.name"
        };
        format!("{kind} {cause}: give it a name")
    })?;
    clean(&mut object).map_err(|message| format!("{reference}: {message}"))?;
    let chart = chart(origin, &reference, &object)?;
    Ok(Manifest { origin: origin.clone(), reference, object, chart })
}

/// Takes away what only the API server writes, and what a person writes into the cluster and not into Git.
fn clean(object: &mut Value) -> Result<(), String> {
    let Value::Object(fields) = object else { return Err("is no object".into()) };
    fields.remove("status");
    let Some(Value::Object(metadata)) = fields.get_mut("metadata") else { return Err("metadata is no object".into()) };
    for field in
        ["uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields", "selfLink"]
    {
        metadata.remove(field);
    }
    for field in ["labels", "annotations"] {
        match metadata.get(field) {
            Some(Value::Null) => drop(metadata.remove(field)),
            Some(Value::Object(values)) => texts(field, values)?,
            Some(_) => return Err(format!("metadata.{field} is no map")),
            None => {}
        }
    }
    Ok(())
}

fn texts(field: &str, values: &Map<String, Value>) -> Result<(), String> {
    match values.iter().find(|(_, value)| !value.is_string()) {
        Some((key, value)) => {
            Err(format!("metadata.{field}[{key:?}] must be text: write it in quotes, as in \"{value}\""))
        }
        None => Ok(()),
    }
}

/// The folder of an App's chart if it is named by a relative path: relative to the folder of the manifest's file.
fn chart(origin: &Origin, reference: &ObjectRef, object: &Value) -> Result<Option<RepoPath>, String> {
    if (reference.group.as_str(), reference.kind.as_str()) != ("homelab.dev", "App") {
        return Ok(None);
    }
    let Some(chart) = object.pointer("/spec/helm/chart").and_then(Value::as_str) else { return Ok(None) };
    if chart.contains("://") || object.pointer("/spec/helm/repository").is_some() {
        return Ok(None);
    }
    match origin.path.parent().join(chart) {
        Some(folder) => Ok(Some(folder)),
        None => Err(format!(
            "{reference}: spec.helm.chart {chart:?} leaves the repository: name a folder relative to this file"
        )),
    }
}

/// Sets or removes `metadata.namespace`.
pub(super) fn set_namespace(object: &mut Value, namespace: Option<&str>) {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        match namespace {
            Some(namespace) => drop(metadata.insert("namespace".into(), namespace.into())),
            None => drop(metadata.remove("namespace")),
        }
    }
}
