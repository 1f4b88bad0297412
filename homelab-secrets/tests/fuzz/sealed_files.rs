//! Sealed files of a repository.

use std::str::FromStr as _;

use homelab_secrets::sealed::{
    Fields, RepositoryKeys, RepositoryName, RepositoryRing, SealedFile, open_file, seal_file,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::change::{changed, config};

const SAMPLE: &[u8] = include_bytes!("../../../tests/formats/sealed-file/v1.sealed.yaml");
const WORDS: &[&str] =
    &["\n", "  ", "    ", "...\n", "values:\n", "values: {}\n", "\"", "\\u0000", "e1.", "#", ": ", "\r\n", "<<<<<<< "];

fn ring() -> RepositoryRing {
    let random = |buffer: &mut [u8]| {
        buffer.fill(5);
        Ok(())
    };
    let name = RepositoryName::parse("home").expect("a name");
    let now = "2026-11-23T12:00:00Z".parse().expect("a time");
    RepositoryKeys::create(&name, now, &random).expect("keys").open().expect("open")
}

fn secret() -> Map<String, Value> {
    json!({"user": "web", "password": "hunter2", "port": 5432, "odd key: #": "", "long": "x".repeat(100)})
        .as_object()
        .cloned()
        .expect("an object")
}

fn file(path: &str) -> String {
    seal_file(&ring(), path, &Fields::from_json(&secret()).expect("fields"), None).expect("sealed").to_string()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_changed_file_is_refused_or_holds_what_was_sealed_there(
        sent in changed(vec![file("web/db").into_bytes(), SAMPLE.to_vec()], WORDS),
    ) {
        let Ok(text) = String::from_utf8(sent) else { return Ok(()) };
        let _ = SealedFile::is_sealed(&text);
        let Ok(file) = SealedFile::from_str(&text) else { return Ok(()) };
        prop_assert_eq!(&SealedFile::from_str(&file.to_string()).expect("what is written is read"), &file);
        match open_file(&ring(), &file) {
            Err(error) => prop_assert!(!error.to_string().contains("hunter2")),
            Ok(fields) => {
                prop_assert_eq!(file.path(), "web/db");
                let secret = secret();
                for (key, value) in fields.to_json().expect("JSON") {
                    prop_assert_eq!(secret.get(&key), Some(&value), "{}", key);
                }
            }
        }
    }
}
