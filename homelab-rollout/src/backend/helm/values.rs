//! What an App's values may ask of us.

use serde_json::Value;

/// `values` with `${homelab.colour}` (empty for `rolling`) and `${homelab.release}` replaced; every other `${…}` stays.
pub(super) fn replaced(values: &Value, release: &str, colour: Option<&str>) -> Value {
    match values {
        Value::String(text) => {
            let text = text.replace("${homelab.release}", release);
            Value::String(text.replace("${homelab.colour}", colour.unwrap_or_default()))
        }
        Value::Array(items) => items.iter().map(|v| replaced(v, release, colour)).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(k, v)| (k.clone(), replaced(v, release, colour))).collect())
        }
        // Helm wants a map; an App without values has none.
        Value::Null => Value::Null,
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_our_own_words_are_replaced() {
        let values =
            json!({"a": ["${homelab.release}-x", 1, "${HOME}"], "b": {"c": "${homelab.colour}/${homelab.other}"}});
        assert_eq!(
            replaced(&values, "web-blue", Some("blue")),
            json!({"a": ["web-blue-x", 1, "${HOME}"], "b": {"c": "blue/${homelab.other}"}})
        );
    }
}
