//! The mount of sealed files over HTTP.

use super::*;
use crate::sealed::GitCommit;
use crate::sealed::{Fields, RepositoryName, seal_file};

struct Everybody;

impl Policy for Everybody {
    fn decide(&self, _: &Identity, _: &str, _: Capability) -> Decision {
        Decision::Allow
    }
}

async fn shown(s: &Server, value: &str) {
    let keys = s.store.create_repository(&RepositoryName::parse("home").unwrap()).await.unwrap().0;
    let fields = json!({ "password": value });
    let fields = Fields::from_json(fields.as_object().unwrap()).unwrap();
    let text = seal_file(&keys.open().unwrap(), "web/db", &fields, None).unwrap().to_string();
    let files = [("apps/db.sealed.yaml".to_owned(), text)];
    let from = GitCommit { gitsync: "infra/home", commit: "0123abc", files: &files };
    s.store.mirror(&Everybody, &Account::new("infra", "git"), from).await.unwrap();
}

#[tokio::test]
async fn sealed_files_are_read_as_secrets_of_kv_and_written_in_git_only() {
    let s = Server::new(vec![]).await;
    let before = s.root("GET", "git/data/home/web/db", Value::Null).await;
    assert_eq!(before.0, 404, "without a sealed file there is no mount");
    shown(&s, "one").await;
    shown(&s, "two").await;

    let (status, read) = s.root("GET", "git/data/home/web/db", Value::Null).await;
    let words = json!({ "commit": "0123abc", "file": "apps/db.sealed.yaml", "gitsync": "infra/home" });
    assert_eq!((status, &read["data"]["data"]), (200, &json!({ "password": "two" })));
    assert_eq!(
        (&read["data"]["metadata"]["custom_metadata"], &read["data"]["metadata"]["version"]),
        (&words, &json!(2))
    );
    let (_, first) = s.root("GET", "git/data/home/web/db?version=1", Value::Null).await;
    assert_eq!(first["data"]["data"]["password"], "one", "what a revision began with");
    let (_, metadata) = s.root("GET", "git/metadata/home/web/db", Value::Null).await;
    assert_eq!((&metadata["data"]["custom_metadata"], &metadata["data"]["current_version"]), (&words, &json!(2)));
    let (_, listed) = s.root("LIST", "git/metadata/home", Value::Null).await;
    assert_eq!(listed["data"]["keys"], json!(["web/"]));
    let (_, subkeys) = s.root("GET", "git/subkeys/home/web/db", Value::Null).await;
    assert_eq!(subkeys["data"]["subkeys"], json!({ "password": null }));
    let (_, mounts) = s.root("GET", "sys/internal/ui/mounts", Value::Null).await;
    assert_eq!(mounts["data"]["secret"]["git/"]["options"]["version"], "2");
    let (status, mount) = s.root("GET", "sys/internal/ui/mounts/git/home/web/db", Value::Null).await;
    assert_eq!((status, &mount["data"]["path"]), (200, &json!("git/")));

    let said =
        "git/home/web/db is a sealed file, read only here: edit in Git: apps/db.sealed.yaml (GitSync infra/home)";
    let versions = json!({ "versions": [1] });
    for (method, path, body) in [
        ("POST", "git/data/home/web/db", json!({ "data": { "password": "three" } })),
        ("PATCH", "git/data/home/web/db", json!({ "data": { "password": "three" } })),
        ("DELETE", "git/data/home/web/db", Value::Null),
        ("POST", "git/delete/home/web/db", versions.clone()),
        ("POST", "git/undelete/home/web/db", versions.clone()),
        ("PUT", "git/destroy/home/web/db", versions),
        ("POST", "git/metadata/home/web/db", json!({ "max_versions": 1 })),
        ("PATCH", "git/metadata/home/web/db", json!({ "max_versions": 1 })),
        ("DELETE", "git/metadata/home/web/db", Value::Null),
    ] {
        assert_eq!(s.root(method, path, body).await, (405, json!({ "errors": [said] })), "{method} {path}");
    }
    let (status, new) = s.root("POST", "git/data/home/other", json!({ "data": {} })).await;
    assert_eq!(status, 405, "{new}");
    for (method, path, body) in [
        ("DELETE", "sys/mounts/git", Value::Null),
        ("POST", "sys/mounts/git/tune", json!({ "description": "mine" })),
        ("POST", "git/config", json!({ "max_versions": 1 })),
    ] {
        assert_eq!(s.root(method, path, body).await.0, 405, "{method} {path}");
    }
    let again = s.root("GET", "git/data/home/web/db", Value::Null).await.1;
    assert_eq!(again["data"]["data"]["password"], "two");

    let stranger = s.login("web/default").await;
    for (method, path) in
        [("GET", "git/data/home/web/db"), ("POST", "git/data/home/web/db"), ("LIST", "git/metadata/home")]
    {
        let (status, answer) = s.ask(&stranger, method, path, Value::Null).await;
        assert_eq!(status, 403, "{answer}");
        assert!(!answer.to_string().contains("apps/"), "where a secret lies is said to its readers only: {answer}");
    }
}
