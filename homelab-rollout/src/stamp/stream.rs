//! YAML streams as Helm writes and reads them.

use serde_json::Value;

use crate::error::Error;

/// One document of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Document<'a> {
    /// Its text, without separator.
    pub text: &'a str,
    /// What it says.
    pub object: Value,
}

/// The objects of a stream, in order; empty documents and comments are passed by.
pub fn documents(yaml: &str) -> Result<Vec<Document<'_>>, Error> {
    let mut found = vec![];
    for text in split(yaml) {
        let object = parse(text)?;
        if !object.is_null() {
            found.push(Document { text, object });
        }
    }
    Ok(found)
}

/// The objects alone, `List`s taken apart.
pub fn objects(yaml: &str) -> Result<Vec<Value>, Error> {
    let mut found = vec![];
    for document in documents(yaml)? {
        flatten(document.object, &mut found);
    }
    Ok(found)
}

fn flatten(mut object: Value, into: &mut Vec<Value>) {
    match object.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items.into_iter().for_each(|item| flatten(item, into)),
        Some(other) => {
            object["items"] = other;
            into.push(object);
        }
        None => into.push(object),
    }
}

/// A separator is `---` at the start of a line: block scalars are indented, so that can not be content.
fn split(yaml: &str) -> Vec<&str> {
    let mut parts = vec![];
    let (mut start, mut at) = (0, 0);
    for line in yaml.split_inclusive('\n') {
        let rest = line.trim_end();
        if rest == "---" || rest.starts_with("--- ") {
            parts.push(&yaml[start..at]);
            start = at + line.find("---").unwrap_or(0) + 3;
        }
        at += line.len();
    }
    parts.push(&yaml[start..]);
    parts.into_iter().map(str::trim).filter(|text| !text.is_empty()).collect()
}

/// As Kubernetes' own reader does it: `0644` is octal; a document of comments only is null.
fn parse(text: &str) -> Result<Value, Error> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let head: String = text.lines().take(4).collect::<Vec<_>>().join("; ");
        Error::Invalid(format!("rendered YAML can not be read near `{head}`: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stream_is_taken_apart_as_helm_does() {
        let yaml = "# Source: a\n---\na: 0644\nb: |\n  ---\n  x\n---\n# only a comment\n--- \nkind: List\nitems:\n- c: \"1\"\n- d: 1.0\n";
        assert_eq!(objects(yaml).unwrap(), [json!({"a": 420, "b": "---\nx\n"}), json!({"c": "1"}), json!({"d": 1.0})]);
        assert_eq!(objects("").unwrap(), Vec::<Value>::new());
        let error = objects("a: [\n").unwrap_err().to_string();
        assert!(error.starts_with("rendered YAML can not be read near `a: [`"), "{error}");
    }

    #[test]
    fn strings_that_look_like_other_things_stay_what_they_are() {
        let yaml = "a: 'yes'\nb: \"012\"\nc: 'null'\nd: 1e3\ne: true\nf: ~\ng: 2026-11-01\n";
        assert_eq!(
            objects(yaml).unwrap(),
            [json!({"a": "yes", "b": "012", "c": "null", "d": 1000.0, "e": true, "f": null, "g": "2026-11-01"})]
        );
    }

    /// Helm reads through sigs.k8s.io/yaml, for which a plain `yes` is true.
    #[test]
    fn plain_yes_is_true_as_for_helm() {
        assert_eq!(objects("a: yes\nb: off\n").unwrap(), [json!({"a": true, "b": false})]);
    }
}
