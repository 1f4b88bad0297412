use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU8, Ordering};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

mod format;
mod git;
mod merging;
mod snapshot;

/// Different bytes each time, the same in each run.
fn random(drawn: &AtomicU8) -> impl Fn(&mut [u8]) -> Result<(), Error> + '_ {
    move |buffer| {
        buffer.fill(drawn.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

fn keys_of(name: &str, seed: u8, epochs: usize) -> RepositoryKeys {
    let drawn = AtomicU8::new(seed);
    let name = RepositoryName::parse(name).unwrap();
    let mut keys = RepositoryKeys::create(&name, Timestamp::UNIX_EPOCH, &random(&drawn)).unwrap();
    for _ in 1..epochs {
        keys.add_epoch(Timestamp::UNIX_EPOCH, &random(&drawn)).unwrap();
    }
    keys
}

fn ring() -> RepositoryRing {
    keys_of("home", 1, 1).open().unwrap()
}

fn fields(value: &Value) -> Fields {
    Fields::from_json(value.as_object().unwrap()).unwrap()
}

fn seal(ring: &RepositoryRing, value: &Value) -> SealedFile {
    seal_file(ring, "web/db", &fields(value), None).unwrap()
}

fn open(ring: &RepositoryRing, text: &str) -> Result<Value, String> {
    let file = SealedFile::from_str(text).map_err(|e| e.to_string())?;
    let fields = open_file(ring, &file).map_err(|e| e.to_string())?;
    Ok(fields.to_json().unwrap().into())
}

/// Lines of `b` that are not in `a` at their place, by the longest common subsequence: what a diff shows as added.
fn added(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.lines().collect(), b.lines().collect());
    let mut longest = vec![0; b.len() + 1];
    for x in &a {
        let mut corner = 0;
        for (n, y) in b.iter().enumerate() {
            let here = if x == y { corner + 1 } else { longest[n + 1].max(longest[n]) };
            corner = std::mem::replace(&mut longest[n + 1], here);
        }
    }
    b.len() - longest[b.len()]
}

#[test]
fn what_was_sealed_opens_and_shows_no_value() {
    let secret = json!({
        "user": "web", "password": "hunter2", "port": 5432, "tls": {"key": "-----BEGIN\nline\n", "on": true}, "note": "π 😀\n\n",
        "none": null, "yes": "", "a b: c": "odd key", "": "empty key", "\u{7f}\u{2028}\"\\": "worse", "é": 1.5,
    });
    let file = seal(&ring(), &secret);
    let text = file.to_string();
    assert_eq!(open(&ring(), &text), Ok(secret));
    assert!(!text.contains("hunter2") && !format!("{file:?}").contains("hunter2"));
    assert_eq!(format!("{:?}", fields(&json!({"a": "hunter2"}))), "Fields(1 fields)");
    assert!(format!("{:?}", keys_of("home", 1, 1)).contains("key: …"));
    assert!(format!("{:?}", ring()).contains("SivKey(…)"));
    assert_eq!(open(&ring(), &seal(&ring(), &json!({})).to_string()), Ok(json!({})));
}

#[test]
fn resealing_keeps_the_text_of_what_did_not_change() {
    let one = json!({"a": "1", "b": "2"});
    let two = json!({"b": "2", "a": "3"});
    let (before, after) = (seal(&ring(), &one), seal(&ring(), &two));
    assert_eq!(before.value("b"), after.value("b"), "equal value, equal text, without the earlier file");
    assert_ne!(before.value("a"), after.value("a"));
    let next = keys_of("home", 1, 2).open().unwrap();
    let kept = seal_file(&next, "web/db", &fields(&two), Some(&before)).unwrap();
    assert_eq!(kept.value("b"), before.value("b"), "kept across an epoch");
    assert_eq!(kept.epochs().into_iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(open(&next, &kept.to_string()), Ok(two));
}

#[test]
fn an_epoch_changes_all_values_and_only_when_asked() {
    let secret = json!({"a": "1", "b": {"c": [1, 2]}});
    let old = seal(&ring(), &secret);
    let next = keys_of("home", 1, 2).open().unwrap();
    let new = reseal(&next, &old, 2).unwrap();
    assert_eq!(new.epochs().into_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(open(&next, &new.to_string()), Ok(secret));
    assert_eq!(reseal(&next, &new, 2).unwrap(), new, "again is nothing");
    assert_eq!(reseal(&next, &new, 1).unwrap(), old, "and back is what it was");
    assert_eq!(reseal(&next, &old, 3).unwrap_err().to_string(), "repository home has no epoch 3");
    insta::assert_snapshot!(open(&ring(), &new.to_string()).unwrap_err(), @"the sealed file web/db of repository home does not open: `a` is sealed in epoch 2, whose key this store does not have; `b` is sealed in epoch 2, whose key this store does not have");
}

#[test]
fn a_value_opens_only_where_it_was_sealed() {
    let file = seal(&ring(), &json!({"a": "1", "b": "2"}));
    let text = file.to_string();
    let place = text.replace("path: web/db", "path: web/dc");
    insta::assert_snapshot!(open(&ring(), &place).unwrap_err(), @"the sealed file web/dc of repository home does not open: `a` was sealed for another field, path or repository, or was changed; `b` was sealed for another field, path or repository, or was changed");
    let (a, b) = (file.value("a").unwrap().as_str(), file.value("b").unwrap().as_str());
    let swapped = text.replace(a, "§").replace(b, a).replace('§', b);
    assert!(open(&ring(), &swapped).unwrap_err().contains("`a` was sealed for another field"));
    let renamed = text.replace("  a:", "  c:");
    insta::assert_snapshot!(open(&ring(), &renamed).unwrap_err(), @"the sealed file web/db of repository home does not open: `c` was sealed for another field, path or repository, or was changed");

    let other = keys_of("other", 1, 1).open().unwrap();
    insta::assert_snapshot!(open(&other, &text).unwrap_err(), @"the sealed file belongs to repository home, not other");
    let foreign = keys_of("home", 99, 1).open().unwrap();
    assert!(open(&foreign, &text).unwrap_err().contains("it was sealed by another store"));
    let forged = text.replace(&ring().id().to_string(), &foreign.id().to_string());
    assert!(open(&foreign, &forged).unwrap_err().contains("`a` was sealed for another field"));
    let mut stored = serde_json::to_value(keys_of("home", 99, 1)).unwrap();
    stored["id"] = ring().id().to_string().into();
    let same_id = serde_json::from_value::<RepositoryKeys>(stored).unwrap().open().unwrap();
    assert!(open(&same_id, &text).unwrap_err().contains("`a` was sealed for another"), "another key of the same name");
}

#[test]
fn every_cut_and_every_changed_digit_is_refused() {
    let file = seal(&ring(), &json!({"a": "a rather long value of a secret", "b": "2"}));
    let text = file.to_string();
    for end in 0..text.len() - 1 {
        assert!(open(&ring(), &text[..end]).is_err(), "cut to {end} bytes");
    }
    let value = file.value("a").unwrap().as_str();
    for at in 0..value.len() {
        for digit in ["A", "z", "7", "-"] {
            let mut changed = value.to_owned();
            changed.replace_range(at..=at, digit);
            let wrong = text.replace(value, &changed);
            if wrong != text {
                let error = open(&ring(), &wrong).unwrap_err();
                assert!(error.contains("`a`") || error.contains("\"a\""), "{at}: {error}");
            }
        }
    }
    let second = value.replacen("e1.", "e2.", 1);
    let later = keys_of("home", 1, 2).open().unwrap();
    assert!(open(&later, &text.replace(value, &second)).unwrap_err().contains("`a` was sealed for another field"));
}

#[test]
fn lengths_are_told_in_steps_of_32_bytes() {
    let size = |n: usize| seal(&ring(), &json!({"a": "x".repeat(n)})).value("a").unwrap().as_str().len();
    // Two quotes and at least one byte of padding.
    assert_eq!([size(0), size(1), size(29)], [size(0); 3]);
    assert!(size(30) > size(29) && size(30) == size(61));
}

#[test]
fn names_paths_and_sizes_have_limits() {
    for wrong in ["", "Home", "a/b", "-a", "a-", &"a".repeat(64), "..", "é"] {
        assert!(RepositoryName::parse(wrong).is_err(), "{wrong:?}");
    }
    for wrong in ["", "/a", "a/", "a//b", "../a", "a b", "a\nb", "a*", "a%2fb", &"a".repeat(600)] {
        assert!(seal_file(&ring(), wrong, &Fields::default(), None).is_err(), "{wrong:?}");
    }
    let long = json!({ "k".repeat(257): 1 });
    insta::assert_snapshot!(seal_file(&ring(), "a", &fields(&long), None).unwrap_err(), @"a key in a sealed file may have 256 bytes, one here has 257");
    let large = json!({ "a": "x".repeat(400_000) });
    assert!(seal_file(&ring(), "a", &fields(&large), None).unwrap_err().to_string().contains("524288 is the most"));
    let previous = seal(&ring(), &json!({}));
    insta::assert_snapshot!(seal_file(&ring(), "web/dc", &Fields::default(), Some(&previous)).unwrap_err(), @"the sealed file is the secret web/db, not web/dc: open it and seal it anew under its new path");
}

#[test]
fn keys_of_a_newer_program_are_refused_by_name() {
    let mut stored = serde_json::to_value(keys_of("home", 1, 1)).unwrap();
    stored["format"] = 2.into();
    let newer: RepositoryKeys = serde_json::from_value(stored).unwrap();
    insta::assert_snapshot!(newer.open().unwrap_err(), @"the keys of repository home have format 2, this program reads 1");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn secret() -> impl Strategy<Value = BTreeMap<String, Value>> {
    let name = prop_oneof!["[a-z_]{1,8}", any::<String>().prop_filter("short", |name| name.len() <= 256)];
    prop::collection::btree_map(name, json_value(), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_secret_survives(secret in secret()) {
        let secret = Value::Object(secret.into_iter().collect::<Map<_, _>>());
        let file = seal(&ring(), &secret);
        let text = file.to_string();
        prop_assert_eq!(&SealedFile::from_str(&text).unwrap(), &file);
        prop_assert_eq!(open(&ring(), &text), Ok(secret));
        // Every other reader of YAML sees the same keys and texts.
        let yaml: Value = serde_saphyr::from_str(&text).unwrap();
        let seen: BTreeMap<&str, &str> =
            yaml["values"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
        prop_assert_eq!(seen, file.values().map(|(k, v)| (k, v.as_str())).collect());
    }

    #[test]
    fn one_changed_value_is_one_changed_line(secret in secret(), pick in any::<prop::sample::Index>(), new in any::<String>()) {
        prop_assume!(!secret.is_empty());
        let key = secret.keys().nth(pick.index(secret.len())).unwrap().clone();
        let mut changed = secret.clone();
        let was = changed.insert(key, new.clone().into());
        prop_assume!(was != Some(new.into()));
        let as_json = |map: BTreeMap<String, Value>| Value::Object(map.into_iter().collect());
        let before = seal(&ring(), &as_json(secret)).to_string();
        let after = seal(&ring(), &as_json(changed)).to_string();
        prop_assert_eq!((added(&before, &after), added(&after, &before)), (1, 1));
    }

    #[test]
    fn rubbish_is_never_a_sealed_file(text in any::<String>()) {
        prop_assert!(SealedFile::from_str(&text).is_err());
    }
}
