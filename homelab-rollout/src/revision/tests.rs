use homelab_core::meta::{Account, ObjectRef};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::deployer::Colour;

fn slot() -> SlotRef {
    SlotRef {
        app: ObjectRef::namespaced("homelab.dev", "App", "web", "web"),
        app_uid: "u".into(),
        release: "web-blue".into(),
        colour: Some(Colour::Blue),
        account: Account::new("web", "default"),
    }
}

fn resolved(version: u64, digest: &str) -> (ResolvedSecret, SecretTarget) {
    let secret =
        ResolvedSecret { path: "kv/web/db".into(), version, digest: digest.into(), keys: vec!["password".into()] };
    (secret, SecretTarget::Files("/run/secrets/db".into()))
}

#[test]
fn the_id_follows_content_and_not_versions() {
    let values = json!({"b": 1, "a": {"y": [1], "x": 2}});
    let base = id("d1", &values, &[resolved(1, "aa")], &BTreeSet::new());
    assert_eq!(base.len(), 10);
    assert_eq!(base, id("d1", &json!({"a": {"x": 2, "y": [1]}, "b": 1}), &[resolved(7, "aa")], &BTreeSet::new()));
    assert_ne!(base, id("d2", &values, &[resolved(1, "aa")], &BTreeSet::new()));
    assert_ne!(base, id("d1", &json!({}), &[resolved(1, "aa")], &BTreeSet::new()));
    assert_ne!(base, id("d1", &values, &[resolved(1, "bb")], &BTreeSet::new()));
    let cut = BTreeSet::from(["kv/web/db".to_owned()]);
    let in_place = id("d1", &values, &[resolved(1, "aa")], &cut);
    assert_ne!(base, in_place, "to change in place is another revision");
    assert_eq!(in_place, id("d1", &values, &[resolved(2, "bb")], &cut), "and then its content is none");
    let env = (resolved(1, "aa").0, SecretTarget::Env("/run/secrets/db".into()));
    assert_ne!(base, id("d1", &values, &[env], &BTreeSet::new()));
}

#[test]
fn only_our_own_variables_are_replaced() {
    let values = json!({"fullname": "${homelab.release}-x", "c": ["${homelab.colour}", "${HOME} ${other}"], "${homelab.colour}": true, "n": 3});
    let expected = json!({"fullname": "web-blue-x", "c": ["blue", "${HOME} ${other}"], "blue": true, "n": 3});
    assert_eq!(substitute(&values, &slot()), expected);
}

fn record() -> RevisionRecord {
    RevisionRecord {
        format: FORMAT,
        id: "0123456789".into(),
        chart: "web 1.0.0".into(),
        archive: vec![0, 159, 146, 150],
        values: json!({"replicas": 2}),
        secrets: vec![InjectedSecret {
            path: "kv/web/db".into(),
            version: 3,
            keys: vec!["password".into()],
            target: SecretTarget::Env("DB_".into()),
        }],
        source: "web/home@abc".into(),
        reason: "Git moved".into(),
        created: "2026-11-01T00:00:00Z".parse().unwrap(),
    }
}

#[test]
fn a_revision_survives_its_secret() {
    let written = secret::to_secret(&record(), "web", "web", Default::default()).unwrap();
    insta::assert_json_snapshot!(written.metadata.labels, @r#"
    {
      "app.kubernetes.io/managed-by": "homelab",
      "homelab.dev/app": "web",
      "homelab.dev/revision": "0123456789"
    }
    "#);
    assert_eq!(secret::from_secret(&written).unwrap(), (record(), secret::Marks::default()));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let newer = RevisionRecord { format: FORMAT + 1, ..record() };
    let written = secret::to_secret(&newer, "web", "web", Default::default()).unwrap();
    let error = secret::from_secret(&written).unwrap_err().to_string();
    assert!(error.contains("format 2, newer than the 1"), "{error}");
}

#[test]
fn a_chart_too_big_to_keep_is_refused() {
    let big = RevisionRecord { archive: vec![0; 1_000_001], ..record() };
    assert!(secret::to_secret(&big, "web", "web", Default::default()).unwrap_err().to_string().contains(".helmignore"));
}

proptest! {
    #[test]
    fn marks_survive_annotations(failed in proptest::option::of("[a-z ]{0,9}"), held in proptest::option::of("[a-f0-9]{0,10}"), at in proptest::option::of(0_i64..4_000_000_000)) {
        let at = at.map(|s| Timestamp::from_second(s).unwrap());
        let marks = secret::Marks { failed, held, activated_at: at, retried_at: at, handled: Some("7".into()), ..Default::default() };
        let annotations = marks.to_annotations().into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect();
        prop_assert_eq!(secret::Marks::from_annotations(&annotations), marks);
    }
}
