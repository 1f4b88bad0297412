//! The structure of a value without its values, as KV v2's `subkeys` shows it.

use serde_json::{Map, Value};

/// `value` with every leaf replaced by `null`. Objects deeper than `depth` levels are leaves, too (0: no limit), and so
/// are empty objects and arrays, as Vault's KV v2 API says.
pub fn subkeys(value: &Map<String, Value>, depth: u64) -> Map<String, Value> {
    let limit = if depth == 0 { u64::MAX } else { depth };
    level(value, limit)
}

fn level(value: &Map<String, Value>, levels: u64) -> Map<String, Value> {
    let shown = |value: &Value| match value {
        Value::Object(inner) if levels > 1 && !inner.is_empty() => Value::Object(level(inner, levels - 1)),
        _ => Value::Null,
    };
    value.iter().map(|(key, value)| (key.clone(), shown(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_shown_down_to_the_depth() {
        let value = r#"{"a": {"b": {"c": "planted"}, "d": []}, "e": [{"f": 1}], "g": {}, "h": "planted"}"#;
        let value: Map<String, Value> = serde_json::from_str(value).unwrap();
        let shown = |depth| Value::Object(subkeys(&value, depth)).to_string();
        assert_eq!(shown(0), r#"{"a":{"b":{"c":null},"d":null},"e":null,"g":null,"h":null}"#);
        assert_eq!(shown(1), r#"{"a":null,"e":null,"g":null,"h":null}"#);
        assert_eq!(shown(2), r#"{"a":{"b":null,"d":null},"e":null,"g":null,"h":null}"#);
        assert_eq!(shown(9), shown(0));
    }
}
