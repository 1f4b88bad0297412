//! JSON merge patch (RFC 7396) and the one written form of a JSON value.

use serde_json::{Map, Value};

/// Merges `patch` into `target`: `null` takes a key away, objects merge, anything else replaces.
pub fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, change) in patch {
        match change {
            Value::Null => drop(target.remove(key)),
            Value::Object(change) => {
                let slot = target.entry(key.as_str()).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(inner) = slot {
                    merge(inner, change);
                }
            }
            other => drop(target.insert(key.clone(), other.clone())),
        }
    }
}

/// Writes a value with its keys sorted and no spaces: equal values, equal bytes, whatever order they came in.
pub fn canonical(value: &Map<String, Value>, out: &mut Vec<u8>) {
    let mut keys: Vec<&String> = value.keys().collect();
    keys.sort_unstable();
    out.push(b'{');
    for (n, key) in keys.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        scalar(&Value::from(key.as_str()), out);
        out.push(b':');
        canonical_value(&value[key.as_str()], out);
    }
    out.push(b'}');
}

/// The same for any value.
pub fn canonical_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(inner) => canonical(inner, out),
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                canonical_value(item, out);
            }
            out.push(b']');
        }
        other => scalar(other, out),
    }
}

fn scalar(value: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(value.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn patches_merge_as_rfc_7396_says() {
        for (target, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let mut merged = object(target);
            merge(&mut merged, &object(patch));
            assert_eq!(merged, object(expected), "{target} + {patch}");
        }
    }

    #[test]
    fn equal_values_have_one_written_form() {
        let written = |text: &str| {
            let mut out = Vec::new();
            canonical(&object(text), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(r#"{"b": [1, {"y": "\u00e9\"", "x": null}], "a": 1.5}"#),
            written(r#"{"a":1.5,"b":[1,{"x":null,"y":"é\""}]}"#)
        );
        insta::assert_snapshot!(written(r#"{"b": [1, {"y": "\u00e9\"", "x": null}], "a": true}"#), @r#"{"a":true,"b":[1,{"x":null,"y":"é\""}]}"#);
    }
}
