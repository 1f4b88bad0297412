//! The JSON schema of sealed files, for editors. What counts is what the reader takes; a test holds the two together.

use serde_json::{Value, json};

use super::FORMAT;

/// The schema of a sealed file as YAML.
pub fn schema() -> Value {
    let label = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Sealed file",
        "description": "A secret in Git. `homelab edit FILE` changes it, `homelab seal --open FILE` prints it.",
        "type": "object",
        "additionalProperties": false,
        "required": ["homelab", "repository", "id", "path", "values"],
        "properties": {
            "homelab": {"const": format!("sealed/{FORMAT}"), "description": "Version of the format."},
            "repository": {"type": "string", "pattern": label, "description": "Whose key seals it."},
            "id": {
                "type": "string",
                "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
                "description": "Id of that repository."
            },
            "path": {
                "type": "string",
                "minLength": 1,
                "description": "What the secret is called: sealed for this path, it opens under no other."
            },
            "values": {
                "type": "object",
                "description": "Sealed values by key.",
                "propertyNames": {"minLength": 1},
                "additionalProperties": {"type": "string", "pattern": "^e[1-9][0-9]*\\.[A-Za-z0-9_-]+$"}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::str::FromStr as _;

    use super::super::SealedFile;
    use super::*;

    #[test]
    fn it_has_the_keys_that_the_reader_takes() {
        let sample = include_str!("../../../tests/formats/sealed-file/v1.sealed.yaml");
        SealedFile::from_str(sample).expect("a sealed file");
        let sample: Value = serde_saphyr::from_str(sample).expect("YAML");
        let schema = schema();
        let keys = |value: &Value| value.as_object().expect("keys").keys().cloned().collect::<BTreeSet<_>>();
        let required: BTreeSet<_> = schema["required"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|key| key.as_str().expect("text").to_owned())
            .collect();
        assert_eq!(keys(&sample), keys(&schema["properties"]));
        assert_eq!(keys(&sample), required);
        assert_eq!(schema["properties"]["homelab"]["const"], sample["homelab"]);
    }
}
