use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::content::{self, Found};
use super::plan::{Action, Input, Owner, Rival, Stray, manifest, may_take_back, plan};
use super::report::{self, Finding};
use super::*;
use crate::api::v1alpha1::{Deletion, SecretSyncSpec, SecretSyncStatus, TargetSecret};

fn spec(value: Value) -> SecretSyncSpec {
    serde_json::from_value(value).unwrap()
}

fn found(secrets: &[(&str, Option<u64>, u64, Value)]) -> Found {
    let opened = |version, values: &Value| Opened { version, values: Values::of(values.as_object().unwrap()) };
    let each = secrets.iter().map(|(path, asked, version, values)| {
        (Source { path: (*path).into(), version: *asked }, opened(*version, values))
    });
    each.collect()
}

fn db() -> Found {
    let values = json!({"user": "web", "password": "pl@nted/öne", "port": 5432, "tags": ["a", "b"], "raw": "3q2+7w=="});
    found(&[("kv/web/db", None, 3, values)])
}

/// `key=value` lines, or what is wrong.
fn built(spec: &SecretSyncSpec, found: &Found) -> String {
    match content::build(spec, found) {
        Ok(content) => {
            let line = |(key, value): (&String, &zeroize::Zeroizing<Vec<u8>>)| {
                format!("{key}={}", String::from_utf8(value.to_vec()).unwrap_or_else(|_| format!("{:x?}", **value)))
            };
            content.data.iter().map(line).collect::<Vec<_>>().join(" ")
        }
        Err(problem) => format!("{}: {}", problem.reason, problem.message),
    }
}

#[test]
fn keys_are_renamed_whole_paths_are_taken_and_texts_are_filled() {
    for (what, expected) in [
        (json!({"data": [{"key": "PASS", "path": "kv/web/db", "property": "password"}]}), "PASS=pl@nted/öne"),
        (
            json!({"data": [{"key": "port", "path": "kv/web/db"}, {"key": "t", "path": "kv/web/db", "property": "tags"}]}),
            r#"port=5432 t=["a","b"]"#,
        ),
        (json!({"data": [{"key": "raw", "path": "kv/web/db", "decode": "base64"}]}), "raw=[de, ad, be, ef]"),
        (
            json!({"dataFrom": [{"path": "kv/web/db", "prefix": "DB_"}]}),
            r#"DB_password=pl@nted/öne DB_port=5432 DB_raw=3q2+7w== DB_tags=["a","b"] DB_user=web"#,
        ),
        (
            json!({"template": {"secrets": [{"name": "db", "path": "kv/web/db"}],
                "data": {"url": "postgres://${db.user}:${db.password|url}@pg:${ db.port }/web"}}}),
            "url=postgres://web:pl%40nted%2F%C3%B6ne@pg:5432/web",
        ),
        (
            json!({"template": {"secrets": [{"name": "db", "path": "kv/web/db"}],
                "data": {"a.json": r#"{"p": ${db.password|json}, "n": ${db.port|json}, "b": "${db.user|base64}"} $${HOME} $5"#}}}),
            r#"a.json={"p": "pl@nted/öne", "n": 5432, "b": "d2Vi"} ${HOME} $5"#,
        ),
    ] {
        assert_eq!(built(&spec(what.clone()), &db()), expected, "{what}");
    }
}

#[test]
fn what_can_not_be_made_is_named_with_its_cause_and_what_to_do_and_without_values() {
    let template =
        |text: &str| json!({"template": {"secrets": [{"name": "db", "path": "kv/web/db"}], "data": {"t": text}}});
    let large = found(&[("kv/web/db", None, 1, json!({"a": "x".repeat(600_000), "b": "y".repeat(600_000)}))]);
    let odd = found(&[("kv/web/db", None, 1, json!({"a b": "planted"}))]);
    let dots = found(&[("kv/web/db", None, 1, json!({"..a": "planted"}))]);
    let whole = json!({"dataFrom": [{"path": "kv/web/db"}]});
    let told: Vec<String> = [
        (json!({"data": [{"key": "PASS", "path": "kv/web/db"}]}), db()),
        (json!({"data": [{"key": "password", "path": "kv/web/db", "decode": "base64"}]}), db()),
        (whole.clone(), odd),
        (whole.clone(), dots),
        (whole, large),
        (json!({"dataFrom": [{"path": "kv/web/db"}], "data": [{"key": "user", "path": "kv/web/db"}]}), db()),
        (template("a\n${db.pasword}"), db()),
        (template("${app.password}"), db()),
        (template("${db}"), db()),
        (template("${db.user|hex}"), db()),
        (template("${db.user"), db()),
        (
            json!({"template": {"secrets": [{"name": "db", "path": "kv/web/db"}, {"name": "db", "path": "kv/web/db"}], "data": {"t": ""}}}),
            db(),
        ),
    ]
    .iter()
    .map(|(what, found)| built(&spec(what.clone()), found))
    .collect();
    let told = told.join("\n");
    assert!(!told.contains("nted") && !told.contains("xxxx"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn a_text_can_not_grow_beyond_a_secret() {
    let found = found(&[("kv/web/db", None, 1, json!({"a": "x".repeat(500_000)}))]);
    let what = json!({"template": {"secrets": [{"name": "db", "path": "kv/web/db"}], "data": {"t": "${db.a}".repeat(30_000)}}});
    assert!(built(&spec(what), &found).contains("no Secret can hold"));
}

#[test]
fn each_path_is_read_once() {
    let spec = spec(json!({
        "data": [{"key": "a", "path": "kv/x"}, {"key": "b", "path": "kv/x"}, {"key": "c", "path": "kv/x", "version": 2}],
        "dataFrom": [{"path": "kv/y"}], "template": {"secrets": [{"name": "y", "path": "kv/y"}], "data": {"t": "${y.a}"}},
    }));
    let read: Vec<_> = sources(&spec).iter().map(ToString::to_string).collect();
    assert_eq!(read, ["kv/x", "kv/x@2", "kv/y"]);
}

proptest! {
    #[test]
    fn text_without_placeholders_stays_and_values_are_taken_as_they_are(before in "[^$]{0,40}", value in "\\PC{0,40}", after in "[^$]{0,40}") {
        let found = found(&[("kv/a", None, 1, json!({"k": value}))]);
        let what = json!({"template": {"secrets": [{"name": "s", "path": "kv/a"}], "data": {"t": format!("{before}${{s.k}}{after}")}}});
        let content = content::build(&spec(what), &found).unwrap();
        let expected = format!("{before}{value}{after}");
        prop_assert_eq!(content.data["t"].as_slice(), expected.as_bytes());
    }

    #[test]
    fn no_text_breaks_the_template(text in "[${}.|a-z\\n]{0,60}") {
        let what = json!({"template": {"secrets": [{"name": "s", "path": "kv/a"}], "data": {"t": text}}});
        let _ = content::build(&spec(what), &found(&[("kv/a", None, 1, json!({"k": "v"}))]));
    }
}

const UID: &str = "uid-of-the-sync";

struct World {
    content: Content,
    target: TargetSecret,
    deletion: Deletion,
    live: Option<Live>,
    rivals: Vec<Rival>,
    strays: Vec<Stray>,
}

fn world(live: Option<Value>) -> World {
    let live = live.map(|live| Live::of(serde_json::from_value::<Secret>(live).unwrap()));
    let found = found(&[("kv/web/db", None, 3, json!({"password": "planted-one"}))]);
    let content = content::build(&spec(json!({"dataFrom": [{"path": "kv/web/db"}]})), &found).unwrap();
    let (target, deletion) = (TargetSecret::default(), Deletion::Delete);
    World { content, target, deletion, live, rivals: Vec::new(), strays: Vec::new() }
}

impl World {
    fn input(&self) -> Input<'_> {
        let created = Timestamp::from_second(100).unwrap();
        Input {
            owner: Owner { namespace: "web", name: "db", uid: UID, created },
            name: "db",
            target: &self.target,
            deletion: self.deletion,
            content: &self.content,
            live: self.live.as_ref(),
            rivals: &self.rivals,
            strays: &self.strays,
        }
    }

    fn planned(&self) -> String {
        match plan(&self.input()) {
            Ok(actions) if actions.is_empty() => "nothing".into(),
            Ok(actions) => actions.iter().map(shown).collect::<Vec<_>>().join(", "),
            Err(problem) => {
                format!("{}{}: {}", problem.reason, if problem.passing { " (passing)" } else { "" }, problem.message)
            }
        }
    }
}

fn shown(action: &Action) -> String {
    match action {
        Action::Apply { resource_version, take_back } => {
            let from = resource_version.as_deref().unwrap_or("new");
            format!("apply {from}{}", if *take_back { ", taking edits back" } else { "" })
        }
        Action::Delete(stray) => format!("delete {}", stray.name),
    }
}

/// The Secret as the API server has it after our apply, with changes of `change`.
fn kept(change: impl Fn(&mut Value)) -> Option<Value> {
    let mut secret = manifest(&world(None).input());
    secret["metadata"]["uid"] = json!("uid-of-the-secret");
    secret["metadata"]["resourceVersion"] = json!("7");
    secret["metadata"]["managedFields"] = json!([{
        "manager": "homelab-secrets", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:password": {}}, "f:type": {},
            "f:metadata": {"f:labels": {"f:homelab.dev/secretsync": {}, "f:app.kubernetes.io/managed-by": {}}}},
    }]);
    change(&mut secret);
    Some(secret)
}

#[test]
fn what_is_equal_is_not_written_and_what_differs_is() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change, &str); 10] = [
        ("equal", |_| {}, "nothing"),
        ("edited", |s| s["data"]["password"] = json!("aGVsbG8="), "apply 7, taking edits back"),
        ("a key taken out", |s| s["data"] = json!({}), "apply 7, taking edits back"),
        ("a key of somebody else", |s| s["data"]["more"] = json!("aGVsbG8="), "nothing"),
        (
            "a key that we once applied",
            |s| {
                s["data"]["old"] = json!("aGVsbG8=");
                s["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]["f:old"] = json!({});
            },
            "apply 7, taking edits back",
        ),
        ("a label of somebody else", |s| s["metadata"]["labels"]["team"] = json!("a"), "nothing"),
        ("our label taken out", |s| s["metadata"]["labels"] = json!({}), "apply 7, taking edits back"),
        ("our owner taken out", |s| s["metadata"]["ownerReferences"] = json!([]), "apply 7, taking edits back"),
        ("immutable and equal", |s| s["immutable"] = json!(true), "nothing"),
        (
            "handed over",
            |s| {
                s["metadata"]["ownerReferences"] = json!([]);
                s["metadata"]["managedFields"] = json!([]);
            },
            "apply 7",
        ),
    ];
    for (name, change, expected) in cases {
        assert_eq!(world(kept(change)).planned(), expected, "{name}");
    }
    assert_eq!(world(None).planned(), "apply new");
}

#[test]
fn wishes_for_type_labels_and_deletion_are_seen() {
    let mut world = world(kept(|_| {}));
    world.target.labels.insert("team".into(), "a".into());
    assert_eq!(world.planned(), "apply 7, taking edits back");
    world.target = TargetSecret::default();
    world.target.annotations.insert("note".into(), "a".into());
    assert_eq!(world.planned(), "apply 7, taking edits back");
    world.target = TargetSecret::default();
    world.deletion = Deletion::Orphan;
    assert_eq!(world.planned(), "apply 7, taking edits back", "it gives the Secret up");
    assert_eq!(manifest(&world.input())["metadata"].get("ownerReferences"), None);
    let stray = Stray { name: "old".into(), uid: "u".into(), resource_version: "1".into() };
    world.strays.push(stray);
    assert_eq!(world.planned(), "apply 7, taking edits back", "nothing of an orphaning one is deleted");
    world.deletion = Deletion::Delete;
    assert_eq!(world.planned(), "delete old");
}

#[test]
fn what_is_not_ours_or_can_not_be_changed_stays() {
    let foreign = |s: &mut Value| {
        s["metadata"]["labels"] = json!({});
        s["metadata"]["ownerReferences"] = json!([]);
    };
    let younger = || Rival { name: "younger".into(), created: Timestamp::from_second(200).unwrap() };
    let older = || Rival { name: "older".into(), created: Timestamp::from_second(50).unwrap() };
    let mut told = vec![world(kept(foreign)).planned()];
    told.push(world(kept(|s| s["type"] = json!("kubernetes.io/tls"))).planned());
    told.push(
        world(kept(|s| {
            s["immutable"] = json!(true);
            s["data"]["password"] = json!("aGVsbG8=");
        }))
        .planned(),
    );
    told.push(world(kept(|s| s["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"))).planned());
    let mut rivalry = world(None);
    rivalry.rivals = vec![younger()];
    told.push(rivalry.planned());
    rivalry.rivals = vec![younger(), older()];
    told.push(rivalry.planned());
    let mut held = world(kept(|s| {
        s["metadata"]["labels"]["homelab.dev/secretsync"] = json!("younger");
        s["metadata"]["ownerReferences"] = json!([]);
    }));
    told.push(held.planned());
    held.rivals = vec![younger()];
    told.push(held.planned());
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn edits_by_hand_are_taken_back_and_programs_are_asked() {
    let appliers = BTreeSet::from(["terraform".to_owned()]);
    for (managers, expected) in [
        (vec!["kubectl-edit"], true),
        (vec!["kubectl-edit", "k9s"], true),
        (vec!["terraform"], false),
        (vec!["kubectl-edit", "helm"], false),
        (vec!["homelab-gitops"], false),
    ] {
        assert_eq!(may_take_back(&managers.iter().copied().collect(), &appliers), expected, "{managers:?}");
    }
}

#[test]
fn the_manifest_is_whole() {
    let mut world = world(None);
    world.target.type_ = Some("example.org/db".into());
    world.target.labels = BTreeMap::from([("team".into(), "a".into())]);
    world.target.annotations = BTreeMap::from([("note".into(), "b".into())]);
    let mut manifest = manifest(&world.input());
    assert_eq!(manifest["data"]["password"], "cGxhbnRlZC1vbmU=");
    manifest["data"] = json!("checked above");
    insta::assert_json_snapshot!(manifest);
}

fn brief(status: &SecretSyncStatus) -> Vec<String> {
    status.conditions.iter().map(|c| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message)).collect()
}

#[test]
fn a_status_says_what_is_held_what_is_wrong_and_that_nobody_looks() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let held = Finding::Held { keys: 2, versions: vec!["kv/web/db@3".into()] };
    let first = report::status(&SecretSyncStatus::default(), 1, "db", &held, at(1)).unwrap();
    assert_eq!(brief(&first), ["Ready=True Synced: Secret db holds 2 keys of kv/web/db@3"]);
    assert_eq!((first.versions.clone(), first.secret.clone()), (vec!["kv/web/db@3".to_owned()], Some("db".to_owned())));
    assert_eq!(report::status(&first, 1, "db", &held, at(2)), None, "nothing new is not written");

    let failed = Finding::Failed(Problem::stalled("NotOurs", "it is not ours"));
    let second = report::status(&first, 2, "db", &failed, at(3)).unwrap();
    assert_eq!(brief(&second), ["Ready=False NotOurs: it is not ours", "Stalled=True NotOurs: it is not ours"]);
    assert_eq!(second.versions, first.versions, "it still holds what it held");
    let waits = Finding::Failed(Problem::passing("StoreUnavailable", "it is sealed"));
    let third = report::status(&second, 2, "db", &waits, at(4)).unwrap();
    assert_eq!(
        brief(&third),
        ["Ready=False StoreUnavailable: it is sealed", "Reconciling=True StoreUnavailable: it is sealed"]
    );
    let fourth = report::status(&first, 3, "db", &Finding::Suspended, at(5)).unwrap();
    assert_eq!(brief(&fourth), ["Ready=True Suspended: spec.suspend is set: Secret db stays as it is"]);
}

#[test]
fn debug_shows_no_value() {
    let world = world(kept(|_| {}));
    let shown = format!("{:?} {:?} {:?}", world.input(), db(), world.live);
    assert!(!shown.contains("planted") && !shown.contains("cGxhbnRl") && !shown.contains("nted"), "{shown}");
    assert!(shown.contains("Content(1 keys of kv/web/db@3)"), "{shown}");
}
