//! Whether a live object still is what the record says.

use homelab_core::apply::{ApplyError, ApplyOptions, apply};
use kube::Client;
use serde_json::Value;

use super::{Pair, written};
use crate::backend::helm::MANAGER;
use crate::error::Error;

/// What drifted, for people. A cheap comparison answers most of the time; where it sees a difference (which may only be
/// spelling: `1000m` and `1`) the API server is asked what an apply would change.
pub(super) async fn of(client: &Client, pair: &Pair) -> Result<Option<String>, Error> {
    let said = |what: &str| Some(format!("{} {what}", pair.reference));
    let Some(kind) = &pair.kind else { return Ok(said("is of a kind that the cluster does not serve")) };
    if pair.live.is_null() {
        return Ok(said("is missing"));
    }
    let wanted = ours(pair);
    if holds(&wanted, &pair.live) {
        return Ok(None);
    }
    let options = ApplyOptions { dry_run: true, ..ApplyOptions::default() };
    match apply(client, &kind.resource, kind.namespaced, &wanted, MANAGER, options).await {
        Ok(result) => {
            let result = serde_json::to_value(result).unwrap_or_default();
            Ok((content(&result) != content(&pair.live)).then(|| said("was changed")).flatten())
        }
        Err(ApplyError::Conflict { fields, .. }) => {
            let each: Vec<_> = fields.iter().map(|(manager, field)| format!("{field} by {manager}")).collect();
            Ok(said(&format!("was changed: {}", each.join(", "))))
        }
        Err(error) => Err(written(error)),
    }
}

/// The wanted object without what an autoscaler (or a person with `kubectl scale`) owns.
pub(super) fn ours(pair: &Pair) -> Value {
    let mut wanted = pair.wanted.clone();
    let managers = pair.live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let scaled = managers.is_some_and(|m| m.iter().any(|m| m["subresource"] == "scale"));
    if scaled && let Some(spec) = wanted.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
    wanted
}

/// Whether everything wanted is in the live value as it is written.
fn holds(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Null, _) => true,
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().all(|(key, value)| value.is_null() || live.get(key).is_some_and(|l| holds(value, l)))
        }
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(w, l)| holds(w, l))
        }
        (Value::Number(wanted), Value::Number(live)) => wanted.as_f64() == live.as_f64(),
        (wanted, live) => wanted == live,
    }
}

/// An object without what every write changes.
fn content(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(key);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_add_is_no_drift() {
        let live = json!({"spec": {"replicas": 2, "list": [{"a": 1, "b": 2}], "added": true}, "status": {}});
        assert!(holds(&json!({"spec": {"replicas": 2.0, "list": [{"a": 1}], "gone": null}}), &live));
        assert!(!holds(&json!({"spec": {"replicas": 3}}), &live));
        assert!(!holds(&json!({"spec": {"list": []}}), &live));
        assert!(!holds(&json!({"spec": {"missing": 1}}), &live));
    }
}
