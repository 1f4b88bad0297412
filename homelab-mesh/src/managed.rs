//! Who wrote what, read from `metadata.managedFields`.

use homelab_core::meta::manager;
use serde_json::Value;

/// The field manager of somebody else who wrote one of `fields` (paths of `fieldsV1` keys, as in
/// `["f:spec", "f:selector"]`), if any. Writes to subresources (status) do not count.
pub fn edited_by(managed_fields: &Value, fields: &[&[&str]]) -> Option<String> {
    let entries = managed_fields.as_array()?;
    entries.iter().find_map(|entry| {
        let name = entry.get("manager").and_then(Value::as_str).unwrap_or("unknown");
        let subresource = entry.get("subresource").and_then(Value::as_str).unwrap_or_default();
        let owns =
            |path: &&[&str]| path.iter().try_fold(entry.get("fieldsV1")?, |value, key| value.get(key)).map(|_| ());
        let foreign = name != manager::MESH && subresource.is_empty();
        (foreign && fields.iter().any(|path| owns(path).is_some())).then(|| name.to_owned())
    })
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
        let status = json!({"manager": "lb", "subresource": "status", "fieldsV1": {"f:spec": {"f:selector": {}}}});
        let other = json!({"manager": "lb", "fieldsV1": {"f:metadata": {"f:finalizers": {}}}});
        let edit = json!({"manager": "kubectl-edit", "fieldsV1": {"f:spec": {"f:selector": {}}}});
        assert_eq!(edited_by(&json!([ours, status, other]), selector), None);
        assert_eq!(edited_by(&json!([ours, edit]), selector).as_deref(), Some("kubectl-edit"));
        assert!(is_ours(&json!([ours])) && !is_ours(&json!([edit])) && !is_ours(&Value::Null));
        assert_eq!(writers(&json!([ours, status, other])), "homelab-mesh, lb");
    }
}
