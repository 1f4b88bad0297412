//! The idle render of one object.

use serde_json::{Value, json};

/// On a node this label never is: a DaemonSet that must not run anywhere selects it.
const NOWHERE: &str = "homelab.dev/idle";

/// Makes an object idle; false drops it.
///
/// What scales or guards pods is dropped with the pods. So are Jobs and bare Pods: they would run again as soon as the
/// idle release is applied.
pub(super) fn keep(object: &mut Value) -> bool {
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        items.retain_mut(keep);
        return true;
    }
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind.as_str()) {
        ("autoscaling", "HorizontalPodAutoscaler")
        | ("keda.sh", "ScaledObject" | "ScaledJob")
        | ("policy", "PodDisruptionBudget")
        | ("batch", "Job")
        | ("", "Pod") => return false,
        ("apps", "Deployment" | "StatefulSet" | "ReplicaSet") | ("", "ReplicationController") => {
            set(object, "replicas", json!(0));
        }
        ("batch", "CronJob") => set(object, "suspend", json!(true)),
        ("apps", "DaemonSet") => {
            if let Some(spec) = object.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut) {
                spec.insert("nodeSelector".into(), json!({ NOWHERE: "never" }));
            }
        }
        _ => {}
    }
    true
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert(key.into(), value);
    }
}
