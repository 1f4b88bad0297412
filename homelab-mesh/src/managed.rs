//! Who wrote what, read from `metadata.managedFields`.

use homelab_core::meta::manager;
use serde_json::Value;

/// The field manager of somebody else who took one of `fields` from us, if any: paths of `fieldsV1` keys, as in
/// `["f:spec", "f:selector"]`, where `k:*` stands for each item of a list. A field that we hold too has our value, and an
/// item beside ours takes nothing away. Writes to subresources (status) do not count.
pub fn edited_by(managed_fields: &Value, fields: &[&[&str]]) -> Option<String> {
    let entries = managed_fields.as_array()?;
    let manager = |entry: &'_ Value| entry.get("manager").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let mut whole = entries.iter().filter(|e| e.get("subresource").and_then(Value::as_str).is_none_or(str::is_empty));
    let ours = whole.clone().find(|entry| manager(entry) == manager::MESH).and_then(|entry| entry.get("fieldsV1"));
    let takes = |entry: &&Value| {
        let theirs = entry.get("fieldsV1").unwrap_or(&Value::Null);
        manager(entry) != manager::MESH && fields.iter().any(|path| taken(theirs, ours.unwrap_or(&Value::Null), path))
    };
    whole.find(takes).map(manager)
}

/// Whether `theirs` has what the path leads to, and `ours` has it not.
fn taken(theirs: &Value, ours: &Value, path: &[&str]) -> bool {
    let own = |key: &str| ours.get(key).unwrap_or(&Value::Null);
    match path {
        [] => ours.is_null(),
        ["k:*", rest @ ..] => {
            let items = |value: &'_ Value| {
                let keys = value.as_object().into_iter().flatten().map(|(key, _)| key.clone());
                keys.filter(|key| key.starts_with("k:")).collect::<Vec<_>>()
            };
            let none_is_ours = items(ours).is_empty();
            let taken = |key: &String| theirs.get(key).is_some_and(|item| taken(item, own(key), rest));
            items(theirs).iter().any(|key| if own(key).is_null() { none_is_ours } else { taken(key) })
        }
        [key, rest @ ..] => theirs.get(key).is_some_and(|theirs| taken(theirs, own(key), rest)),
    }
}

/// Whether we have ever applied the object.
pub fn is_ours(managed_fields: &Value) -> bool {
    managed_fields.as_array().is_some_and(|entries| {
        entries.iter().any(|entry| entry.get("manager").and_then(Value::as_str) == Some(manager::MESH))
    })
}

/// The names of all who wrote it, for people.
pub fn writers(managed_fields: &Value) -> String {
    let mut names: Vec<&str> = managed_fields
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry.get("subresource").and_then(Value::as_str).unwrap_or_default().is_empty())
        .filter_map(|entry| entry.get("manager")?.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "somebody unknown".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_foreign_writer_of_our_fields_counts() {
        let selector: &[&[&str]] = &[&["f:spec", "f:selector"]];
        let ours = json!({"manager": "homelab-mesh", "fieldsV1": {"f:spec": {"f:selector": {}}}});
        let lost = json!({"manager": "homelab-mesh", "fieldsV1": {"f:spec": {"f:ports": {}}}});
        let status = json!({"manager": "lb", "subresource": "status", "fieldsV1": {"f:spec": {"f:selector": {}}}});
        let other = json!({"manager": "lb", "fieldsV1": {"f:metadata": {"f:finalizers": {}}}});
        let edit = json!({"manager": "kubectl-edit", "fieldsV1": {"f:spec": {"f:selector": {}}}});
        assert_eq!(edited_by(&json!([ours, status, other]), selector), None);
        assert_eq!(edited_by(&json!([lost, other, edit]), selector).as_deref(), Some("kubectl-edit"));
        assert_eq!(edited_by(&json!([ours, edit]), selector), None, "with our value, or it would be theirs alone");
        assert!(is_ours(&json!([ours])) && !is_ours(&json!([edit])) && !is_ours(&Value::Null));
        assert_eq!(writers(&json!([ours, status, other])), "homelab-mesh, lb");
    }

    #[test]
    fn an_item_beside_ours_is_no_edit_and_one_instead_of_ours_is() {
        let port: &[&[&str]] = &[&["f:spec", "f:ports", "k:*", "f:targetPort"]];
        let entry =
            |manager: &str, ports: Value| json!({"manager": manager, "fieldsV1": {"f:spec": {"f:ports": ports}}});
        let (target, name) = (json!({"f:targetPort": {}, "f:name": {}}), json!({"f:name": {}}));
        let ours = entry("homelab-mesh", json!({"k:80": target}));
        let edited = |ours: &Value, theirs: Value| edited_by(&json!([ours, entry("kubectl", theirs)]), port).is_some();
        assert!(!edited(&ours, json!({"k:81": target})));
        assert!(!edited(&ours, json!({"k:80": {"f:appProtocol": {}}})));
        assert!(edited(&entry("homelab-mesh", json!({"k:80": name})), json!({"k:80": target})));
        assert!(edited(&entry("homelab-mesh", Value::Null), json!({"k:81": target})));
    }
}
