//! A split as the objects that hold it. Pure; the whole object is ours, because its lists and its selector are atomic
//! for server-side apply.

use std::collections::BTreeMap;

use homelab_core::meta::{annotation, label};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::gateway;
use crate::error::Error;
use crate::split::{Backend, Route, Split};

/// Annotation of an HTTPRoute of ours: the Service of each backend, so that an observation can tell which is which.
pub const BACKENDS: &str = "homelab.dev/backends";

/// Selector of an apex Service that sends everything to `backend`: the backend's own plus the colour, so that pods of
/// the other colour can never match, whatever the chart's selector says.
pub fn apex_selector(backend: &Backend) -> BTreeMap<String, String> {
    let mut selector = backend.selector.clone();
    selector.insert(label::COLOUR.into(), backend.name.clone());
    selector
}

/// The apex Service that sends everything to `backend`.
pub fn apex_service(route: &Route, split: &Split, backend: &Backend, shifted_at: Timestamp) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(route, split, shifted_at),
        "spec": {
            "type": "ClusterIP",
            "selector": apex_selector(backend),
            "ports": [{"name": "http", "port": route.port, "protocol": "TCP", "targetPort": backend.target_port}],
        },
    })
}

/// The HTTPRoute that holds `split`: one rule for each preview, then all backends with their weights.
pub fn http_route(route: &Route, split: &Split, shifted_at: Timestamp) -> Result<Value, Error> {
    if route.parents.is_empty() {
        return Err(Error::Invalid(format!(
            "route {} has no parents: name the Gateway in routes[].parents, or use mesh: service",
            route.name
        )));
    }
    let mut rules: Vec<Value> = split
        .previews()
        .iter()
        .filter_map(|preview| {
            let backend = split.backends().iter().find(|b| b.name == preview.backend)?;
            let header = json!({"type": "Exact", "name": preview.header, "value": preview.backend});
            Some(json!({
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [header]}],
                "backendRefs": [reference(backend, 1)],
            }))
        })
        .collect();
    let weighted: Vec<Value> = split.backends().iter().map(|b| reference(b, b.weight)).collect();
    rules.push(json!({
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": weighted,
    }));
    let mut spec = json!({"parentRefs": parents(route), "rules": rules});
    if !route.hosts.is_empty() {
        spec["hostnames"] = json!(route.hosts);
    }
    let services: Map<String, Value> = split.backends().iter().map(|b| (b.name.clone(), json!(b.service))).collect();
    let mut metadata = metadata(route, split, shifted_at);
    metadata["annotations"][BACKENDS] = json!(Value::Object(services).to_string());
    Ok(json!({
        "apiVersion": format!("{}/v1", gateway::GROUP),
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": spec,
    }))
}

/// Adds the version that a write is planned from: the API server answers 409 when the object has moved on.
pub fn planned_from(mut object: Value, version: Option<&str>) -> Value {
    if let Some(version) = version {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    object
}

fn parents(route: &Route) -> Vec<Value> {
    let parent = |p: &crate::split::Parent| {
        let mut value = json!({"group": gateway::GROUP, "kind": "Gateway", "namespace": p.namespace, "name": p.name});
        if let Some(section) = &p.section {
            value["sectionName"] = json!(section);
        }
        value
    };
    route.parents.iter().map(parent).collect()
}

/// Defaults are written out: what the API server would add must not look like somebody's edit.
fn reference(backend: &Backend, weight: u8) -> Value {
    json!({"group": "", "kind": "Service", "name": backend.service, "port": backend.port, "weight": weight})
}

fn metadata(route: &Route, split: &Split, shifted_at: Timestamp) -> Value {
    let mut labels: Map<String, Value> = route.labels.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    labels.entry(label::APP).or_insert_with(|| json!(route.name));
    labels.insert(label::MANAGED_BY.into(), json!(label::MANAGED_BY_US));
    let mut metadata = json!({
        "name": route.name,
        "namespace": route.namespace,
        "labels": labels,
        "annotations": {
            annotation::ACTIVE: split.active(),
            annotation::SHIFTED_AT: shifted_at.to_string(),
        },
    });
    if let Some(owner) = &route.owner {
        metadata["ownerReferences"] = json!([owner]);
    }
    metadata
}

#[cfg(test)]
mod tests;
