//! Files of our own that are not whole, and files of others.

use super::*;
use crate::transfer::external::{ExternalSecret, PathFrom, merged};

const HEAD: &str = r#"{"format":"homelab-export/1","made":"2026-11-24T12:00:00Z"}"#;
const SECRET: &str =
    r#"{"path":"kv/a","metadata":{},"versions":{"2":{"created":"2026-11-24T12:00:00Z","data":{"k":"planted"}}}}"#;

#[test]
fn a_bad_export_is_told_by_its_line_and_never_quoted() {
    let read = |lines: &[&str]| export::read(&lines.join("\n")).map(|export| export.entries.len());
    assert_eq!(read(&[HEAD, SECRET, r#"{"end":1}"#]).unwrap(), 1);
    for (lines, words) in [
        (vec![HEAD, SECRET], "ends in the middle"),
        (vec![HEAD, SECRET, &SECRET[..90]], "ends in the middle"),
        (vec![HEAD, SECRET, r#"{"end":2}"#], "says that it has 2 secrets, and has 1"),
        (vec![HEAD, r#"{"end":0}"#, SECRET], "more behind its end"),
        (vec!["{}", SECRET], "first line"),
        (vec![""], "first line"),
        (vec![&HEAD.replace("export/1", "export/2"), SECRET], "format 2, this program reads 1"),
        (vec![HEAD, &SECRET.replace(r#"{"k":"planted"}"#, r#""planted""#)], "line 2 of the export can not be read"),
        (
            vec![HEAD, &SECRET.replace(r#""data""#, r#""destroyed":true,"data""#)],
            "version 2 is destroyed, and has data",
        ),
        (vec![HEAD, &SECRET.replace(r#","data":{"k":"planted"}"#, "")], "neither deleted nor destroyed"),
        (vec![HEAD, &SECRET.replace("{},", r#"{"delete_version_after":"soon"},"#)], "no duration"),
    ] {
        let error = read(&lines).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("planted"), "{error}");
    }
    let entry = &export::read(&[HEAD, SECRET, r#"{"end":1}"#].join("\n")).unwrap().entries[0];
    assert!(!format!("{entry:?}").contains("planted"));
}

#[test]
fn the_first_release_is_read() {
    let export = export::read(include_str!("../../../../tests/formats/export/v1.export")).unwrap();
    assert_eq!(export.unreadable, ["kv/other/"]);
    let [db, empty] = &export.entries[..] else { panic!("two secrets") };
    let settings = db.settings.as_ref().unwrap();
    assert!(settings.max_versions == 5 && settings.cas_required && settings.custom["owner"] == "anna");
    assert_eq!(settings.delete_version_after, jiff::SignedDuration::from_hours(720));
    let History::All(versions) = &db.history else { panic!("versions") };
    let states: Vec<_> =
        versions.iter().map(|(at, v)| (*at, v.data.is_some(), v.deleted.is_some(), v.destroyed)).collect();
    assert_eq!(states, [(2, false, true, false), (3, false, false, true), (4, true, true, false)]);
    assert_eq!(db.value().unwrap().expose()["port"], 5432);
    assert_eq!((empty.versions(), empty.value()), (0, None));
}

fn answer(value: Value) -> Value {
    json!({
        "request_id": "c4d9", "lease_id": "", "renewable": false, "lease_duration": 0, "warnings": null,
        "data": {"data": value, "metadata": {
            "created_time": "2026-11-24T12:00:00.000000001Z", "custom_metadata": {"owner": "anna"}, "deletion_time": "",
            "destroyed": false, "version": 3,
        }},
    })
}

#[test]
fn answers_of_bao_are_read_with_and_without_paths() {
    let one = bao::read(vec![answer(json!({"k": "v"}))], "web/db").unwrap();
    assert_eq!((&one[0].name, one[0].value()), (&Name::File("web/db".into()), Some(&data("v"))));
    assert_eq!(one[0].settings.as_ref().unwrap().custom["owner"], "anna");
    let paths = vec![json!({"kv/a": answer(json!({"k": "v"}))}), json!({"/kv/b/": answer(json!({"k": "w"}))})];
    assert!(paths.iter().all(bao::is_like) && !bao::is_like(&json!({"kind": "Secret", "data": {}})));
    let names: Vec<_> = bao::read(paths, "dump").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [Name::Full("kv/a".into()), Name::Full("kv/b".into())]);
    let first = bao::read(vec![json!({"request_id": "1", "data": {"k": "v"}})], "a").unwrap();
    assert_eq!(first[0].value(), Some(&data("v")), "version 1 of KV has its keys one floor higher");
    let deleted = bao::read(vec![answer(Value::Null)], "web/db").unwrap_err().to_string();
    assert!(deleted.contains("web/db has no values"), "{deleted}");
    for strange in [json!([1]), json!({"kv/a": "planted"}), json!({"kv/a": {"k": "planted"}})] {
        let error = bao::read(vec![strange], "dump").unwrap_err().to_string();
        assert!(error.contains("bao kv get -format=json") && !error.contains("planted"), "{error}");
    }
}

#[test]
fn secrets_of_kubernetes_are_read_and_those_of_programs_passed_by() {
    let secret = |name: &str, fields: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        object
    };
    let release =
        secret("sh.helm.release.v1.web.v1", json!({"type": "helm.sh/release.v1", "data": {"release": "eA=="}}));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        secret("a", json!({"data": {"k": "dg=="}, "metadata": {"name": "a", "namespace": "web"}})), release,
    ]});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    let found = kubernetes::read(vec![list, secret("b", json!({"stringData": {"k": "v"}})), map], "home").unwrap();
    let names: Vec<_> = found.entries.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(names, [Name::Inner("web/a".into()), Name::Inner("home/b".into())]);
    assert!(found.entries.iter().all(|entry| entry.value() == Some(&data("v"))));
    assert_eq!(
        found.skipped,
        ["Secret home/sh.helm.release.v1.web.v1: its type is helm.sh/release.v1", "ConfigMap home/c: it is no Secret",]
    );
    let binary = kubernetes::read(vec![secret("b", json!({"data": {"k": "/w=="}}))], "home").unwrap_err().to_string();
    assert!(binary.contains("Secret home/b: data.k is not UTF-8 text"), "{binary}");
}

fn external(spec: Value) -> ExternalSecret {
    let metadata = json!({"namespace": "web", "name": "db"});
    ExternalSecret::read(&json!({"kind": "ExternalSecret", "metadata": metadata, "spec": spec})).unwrap()
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn an_external_secret_says_what_its_values_were_called() {
    let spec = json!({
        "target": {"name": "db-secret"},
        "data": [
            {"secretKey": "PASSWORD", "remoteRef": {"key": "home/db", "property": "password"}},
            {"secretKey": "ALL", "remoteRef": {"key": "home/smtp"}},
        ],
        "dataFrom": [{"extract": {"key": "home/api"}}],
    });
    let external_secret = external(spec);
    assert_eq!(external_secret.target(), ("web", "db-secret"));
    let values = || map(json!({"PASSWORD": "p", "ALL": "{\"user\": \"u\"}", "token": "t"}));
    let by_secret = external_secret.entries(values(), PathFrom::Secret).unwrap();
    assert_eq!(by_secret[0].name, Name::Inner("web/db-secret".into()));
    let found: Vec<_> = external_secret.entries(values(), PathFrom::RemoteRef).unwrap();
    let found: Vec<_> =
        found.iter().map(|e| (e.name.clone(), Value::Object(e.value().unwrap().expose().clone()))).collect();
    let name = |text: &str| Name::Inner(text.into());
    assert_eq!(
        found,
        [
            (name("home/api"), json!({"token": "t"})),
            (name("home/db"), json!({"password": "p"})),
            (name("home/smtp"), json!({"user": "u"})),
        ]
    );
}

#[test]
fn what_has_no_one_remote_key_is_refused_without_its_values() {
    let single = json!([{"secretKey": "k", "remoteRef": {"key": "home/db"}}]);
    for (spec, words) in [
        (json!({"target": {"template": {"data": {"a": "{{ .k }}"}}}, "data": single}), "made by a template"),
        (json!({"dataFrom": [{"find": {}}]}), "find or a generator"),
        (json!({"dataFrom": [{"extract": {"key": "a"}, "rewrite": [{}]}]}), "a rewrite"),
        (json!({"dataFrom": [{"extract": {"key": "a"}}, {"extract": {"key": "b"}}]}), "several secrets"),
        (json!({"data": single}), "no JSON object"),
        (json!({"data": [{"secretKey": "gone", "remoteRef": {"key": "a", "property": "b"}}]}), "has no key gone"),
    ] {
        let error = external(spec).entries(map(json!({"k": "planted"})), PathFrom::RemoteRef).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("web/db") && !error.contains("planted"), "{error}");
    }
}

#[test]
fn several_external_secrets_make_one_secret_when_they_agree() {
    let entry = |key: &str, value: &str| Entry::newest(Name::Inner("home/db".into()), map(json!({key: value})));
    let one = merged(vec![entry("a", "1"), entry("b", "2"), entry("a", "1")]).unwrap();
    assert_eq!(one, [Entry::newest(Name::Inner("home/db".into()), map(json!({"a": "1", "b": "2"})))]);
    let error = merged(vec![entry("a", "planted"), entry("a", "2")]).unwrap_err().to_string();
    assert!(error.contains("home/db key a") && !error.contains("planted"), "{error}");
}
