//! A secret as a file for Git: sealed value by value, changed, merged, and opened again.
//!
//! ```sh
//! cargo run -p homelab-secrets --example sealer --features store
//! ```
#![expect(clippy::print_stderr, reason = "an example talks to whoever tries it")]

use std::error::Error;

use homelab_secrets::backend::{Host as _, System};
use homelab_secrets::sealed::{Fields, RepositoryKeys, RepositoryName, SealedFile, open_file, seal_file};
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    // The store keeps these keys, itself sealed; a laptop never has them. Here they live as long as the example.
    let random = |buffer: &mut [u8]| System.random(buffer);
    let name = RepositoryName::parse("home")?;
    let keys = RepositoryKeys::create(&name, "2026-11-23T12:00:00Z".parse()?, &random)?;
    let ring = keys.open()?;

    let before = Fields::from_json(&object(json!({"user": "web", "password": "correct-horse"}))?)?;
    let first = seal_file(&ring, "web/db", &before, None)?;
    eprintln!("{first}");

    // Given the earlier file, what did not change keeps its text: one changed value is one changed line.
    let after = Fields::from_json(&object(json!({"user": "web", "password": "battery-staple"}))?)?;
    let second = seal_file(&ring, "web/db", &after, Some(&first))?;
    let (old, new) = (first.to_string(), second.to_string());
    let changed: Vec<_> = new.lines().filter(|line| !old.contains(line)).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");

    // The file is text: it goes through Git, and opens with the keys of its repository only, in its own place only.
    let read: SealedFile = new.parse()?;
    let opened = open_file(&ring, &read)?.to_json()?;
    assert_eq!(opened["password"], "battery-staple");
    let moved: SealedFile = new.replace("path: web/db", "path: web/other").parse()?;
    let refused = open_file(&ring, &moved).expect_err("a file that was moved does not open");
    eprintln!("moved by hand: {refused}");
    Ok(())
}

fn object(value: Value) -> Result<Map<String, Value>, Box<dyn Error>> {
    value.as_object().cloned().ok_or_else(|| "a secret is an object".into())
}

#[test]
fn runs() {
    main().expect("it holds what it says");
}
