//! The values of one secret, as text, and as lines of an env file.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::wish::Secret;

/// Longest line that the kubelet reads of an env file (64 KiB, less the name).
const LONGEST_LINE: usize = 63 << 10;

/// What the server answered to a read.
pub(crate) struct Answer(Zeroizing<Vec<u8>>);

/// Values by key: a string as it is, anything else as compact JSON.
pub(crate) type Values = BTreeMap<String, Zeroizing<String>>;

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    data: Inner<'a>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    data: BTreeMap<String, &'a RawValue>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
}

impl Answer {
    pub(crate) fn new(text: Zeroizing<Vec<u8>>) -> Self {
        Self(text)
    }

    /// Which version it is.
    pub(crate) fn version(&self, secret: &Secret) -> Result<u64, Failure> {
        let path = &secret.path;
        let odd = |_| Failure::passing(format!("{path}: the server's answer is no KV v2 answer; is it homelab?"));
        let outer: Outer<'_> = serde_json::from_slice(&self.0).map_err(odd)?;
        Ok(outer.data.metadata.version)
    }

    /// Takes it apart; it must be the version that was asked for.
    pub(crate) fn open(&self, secret: &Secret) -> Result<Values, Failure> {
        let Secret { path, version, .. } = secret;
        let odd =
            |what: &str| Failure::passing(format!("{path}@{version}: the server's answer {what}; is it homelab?"));
        // serde_json's own words may quote the value: they stay here.
        let Outer { data: Inner { data, metadata } } =
            serde_json::from_slice(&self.0).map_err(|_| odd("is no KV v2 answer"))?;
        if metadata.version != *version {
            return Err(odd(&format!("is version {}", metadata.version)));
        }
        let text = |raw: &RawValue| match raw.get().starts_with('"') {
            true => serde_json::from_str(raw.get()).map(Zeroizing::new).map_err(|_| odd("has a broken string")),
            false => Ok(Zeroizing::new(compact(raw.get()))),
        };
        data.into_iter().map(|(key, raw)| Ok((key, text(raw)?))).collect()
    }
}

/// JSON without white space outside strings; numbers and order stay as they are.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string || !c.is_ascii_whitespace() {
            out.push(c);
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    out
}

/// The env file for the keys that the pod's spec names: `NAME='value'` lines, which is all that the kubelet reads.
pub(crate) fn env_file(secret: &Secret, prefix: &str, values: &Values) -> Result<Zeroizing<String>, Failure> {
    let Secret { path, version, keys, .. } = secret;
    let room = keys.iter().filter_map(|key| values.get(key)).map(|value| value.len()).sum::<usize>();
    let names = keys.iter().map(|key| prefix.len() + key.len() + 4).sum::<usize>();
    let mut file = Zeroizing::new(String::with_capacity(room + names));
    for key in keys {
        let Some(value) = values.get(key) else {
            return Err(Failure::fixed(format!(
                "{path}@{version} has no key {key:?}; make the pod anew, or write the key"
            )));
        };
        if let Some(why) = unwritable(value) {
            return Err(Failure::fixed(format!(
                "key {key:?} of {path}@{version} can not be a variable: its value {why}; take the secret as files"
            )));
        }
        for part in [prefix, key, "='", value, "'\n"] {
            file.push_str(part);
        }
    }
    Ok(file)
}

/// What of a value the kubelet's parser would drop, change or stumble over.
fn unwritable(value: &str) -> Option<&'static str> {
    if value.is_empty() {
        return Some("is empty, which the kubelet takes for missing");
    }
    if value.contains('\'') {
        return Some("has a single quote");
    }
    if value.contains(['\r', '\0']) {
        return Some("has a carriage return or NUL");
    }
    value.split('\n').any(|line| line.len() > LONGEST_LINE).then_some("has a line longer than 63 KiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wish::Target;

    fn secret(keys: &[&str]) -> Secret {
        let keys = keys.iter().map(|key| (*key).into()).collect();
        Secret { path: "kv/web/db".into(), version: 3, keys, target: Target::Env("P_".into()), to: "0.env".into() }
    }

    fn open(data: &str, version: u64) -> Result<Values, String> {
        let text = format!(
            r#"{{"request_id":"x","data":{{"data":{data},"metadata":{{"version":{version},"custom_metadata":null}}}}}}"#
        );
        Answer::new(Zeroizing::new(text.into_bytes())).open(&secret(&[])).map_err(|failure| failure.to_string())
    }

    #[test]
    fn strings_stay_and_the_rest_is_compact_json() {
        let data = r#"{"s":"a\n\"ü\u0041\"","n":1.50,"o":{ "b" : [1, 2 ], "a":"x \" y" },"t":true,"z":null}"#;
        let values = open(data, 3).unwrap();
        let got: Vec<_> = values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expect =
            [("n", "1.50"), ("o", r#"{"b":[1,2],"a":"x \" y"}"#), ("s", "a\n\"üA\""), ("t", "true"), ("z", "null")];
        assert_eq!(got, expect);
    }

    #[test]
    fn another_version_or_no_answer_is_refused_without_a_value() {
        for (data, version) in [(r#"{"s":"topsecret"}"#, 4), (r#"["topsecret"]"#, 3), (r#"{"s":topsecret}"#, 3)] {
            let error = open(data, version).unwrap_err();
            assert!(!error.contains("topsecret") && error.contains("kv/web/db@3"), "{error}");
        }
    }

    #[test]
    fn env_files_are_what_the_kubelet_reads() {
        let values = open(r#"{"A":"x $y \"z\"","B":"1\n2","C":"unused"}"#, 3).unwrap();
        assert_eq!(env_file(&secret(&["A", "B"]), "P_", &values).unwrap().as_str(), "P_A='x $y \"z\"'\nP_B='1\n2'\n");
    }

    #[test]
    fn values_that_the_kubelet_can_not_read_are_refused_by_key() {
        let long = format!("\"{}\"", "x".repeat(64 << 10));
        for bad in [r#""it's topsecret""#, r#""""#, r#""a\r\ntopsecret""#, r#""topsecret\u0000""#, long.as_str()] {
            let values = open(&format!(r#"{{"KEY":{bad}}}"#), 3).unwrap();
            let error = env_file(&secret(&["KEY"]), "P_", &values).unwrap_err().to_string();
            assert!(
                error.contains("\"KEY\" of kv/web/db@3") && !error.contains("topsecret") && error.len() < 300,
                "{error}"
            );
        }
        let values = open(r#"{"A":"x"}"#, 3).unwrap();
        assert!(env_file(&secret(&["B"]), "P_", &values).unwrap_err().to_string().contains("no key \"B\""));
    }
}
