//! `sys/rotate`, `sys/key-status`, `sys/homelab/keys…`, `sys/homelab/accept-rollback`.

use std::time::Duration;

use super::*;
use crate::backend::{Backend as _, Batch, Head};
use crate::store::{BackendKind, StorePlace, Watched};
use crate::testing::MemoryWitness;

const KEYS: &str = "sys/homelab/keys";
const SLOTS: &str = "sys/homelab/keys/slots";

async fn status(s: &Server) -> Value {
    let (status, answer) = s.root("GET", KEYS, Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer["data"].clone()
}

fn key_file(host: &FixedHost) -> zeroize::Zeroizing<String> {
    SlotKey::generate(&|buffer| host.random(buffer)).unwrap().to_file()
}

/// A server with its vault, opened by this key file.
async fn sealable() -> (Server, Vault, zeroize::Zeroizing<String>) {
    let host = Arc::new(FixedHost::default());
    let vault = Vault::new(Arc::new(Memory::default()), host.clone());
    let key = key_file(&host);
    vault.initialize(vec![Unlock::KeyFile(SlotKey::from_file(&key).unwrap())]).await.unwrap();
    let options = ServerOptions { vault: Some(vault.clone()), ..ServerOptions::default() };
    (Server::over(vault.handle(), host, vec![], options), vault, key)
}

/// Whether this key opens the store, by sealing it and trying.
async fn opens(s: &Server, key: &str) -> bool {
    let sealed = s.root("PUT", "sys/seal", Value::Null).await.0;
    assert!(matches!(sealed, 204 | 503), "{sealed}");
    s.ask("", "PUT", "sys/unseal", json!({ "key": key })).await.0 == 200
}

#[tokio::test]
async fn a_rotation_begins_an_epoch_and_seals_old_records_anew() {
    let s = Server::new(vec![]).await;
    for n in 0..80 {
        s.root("POST", &format!("kv/data/a/{n}"), json!({ "data": { "n": n } })).await;
    }
    let before = status(&s).await;
    assert_eq!((&before["epoch"], &before["epochs"], &before["resealing"]), (&json!(1), &json!(1), &Value::Null));
    s.host.advance(60);
    assert_eq!(s.root("PUT", "sys/rotate", Value::Null).await, (204, Value::Null));
    let wait = async {
        loop {
            let now = status(&s).await;
            if now["epochs"] == 1 && now["resealing"].is_null() {
                return now;
            }
            let progress = &now["resealing"];
            assert!(progress.is_null() || progress["done"].as_u64() <= progress["total"].as_u64(), "{progress}");
            tokio::task::yield_now().await;
        }
    };
    let after = tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the old key is dropped");
    assert_eq!((&after["epoch"], &after["epoch_made"]), (&json!(2), &json!(s.host.now().to_string())));
    assert_eq!(s.root("GET", "kv/data/a/7", Value::Null).await.1["data"]["data"]["n"], 7);
    assert_eq!(s.root("POST", "sys/rotate/keyring", Value::Null).await.0, 204);
    let (_, key) = s.root("GET", "sys/key-status", Value::Null).await;
    assert_eq!((&key["data"]["term"], &key["term"]), (&json!(3), &json!(3)));
    assert_eq!(key["install_time"], s.host.now().to_string());
}

#[tokio::test]
async fn slots_come_are_replaced_and_go_but_for_the_last_one() {
    let (s, _, first) = sealable().await;
    let listed = status(&s).await["slots"].clone();
    assert_eq!((&listed[0]["kind"], &listed[0]["opens_alone"]), (&json!("key file"), &json!(true)));
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let (code, refused) = s.root("DELETE", &format!("{SLOTS}/{id}"), Value::Null).await;
    assert!(code == 400 && refused.to_string().contains("is the last one: add another one first"), "{refused}");

    let words = "correct horse battery";
    let (code, added) = s.root("POST", SLOTS, json!({ "kind": "passphrase", "key": words })).await;
    assert_eq!((code, added["data"]["slots"].as_array().unwrap().len()), (200, 2));
    assert!(opens(&s, words).await && opens(&s, &first).await);

    let second = key_file(&s.host);
    let replaced = json!({ "kind": "kubernetes-secret", "key": &*second, "replaces": id });
    let (code, answer) = s.root("POST", SLOTS, replaced).await;
    assert_eq!(code, 200, "{answer}");
    let kinds: Vec<_> = answer["data"]["slots"].as_array().unwrap().iter().map(|slot| slot["kind"].clone()).collect();
    assert_eq!(kinds, ["passphrase", "Kubernetes Secret"]);
    assert!(answer["data"].get("warnings").is_none() && !answer.to_string().contains(second.trim()));
    assert!(opens(&s, &second).await && !opens(&s, &first).await && opens(&s, words).await);

    let second_id = answer["data"]["id"].as_str().unwrap();
    let (code, gone) = s.root("DELETE", &format!("{SLOTS}/{second_id}"), Value::Null).await;
    assert_eq!((code, gone["data"]["slots"].as_array().unwrap().len()), (200, 1));
    assert!(gone["data"]["warnings"][0].as_str().unwrap().contains("after its next start the store is sealed"));
}

#[tokio::test]
async fn a_new_root_key_needs_what_opens_each_slot() {
    let (s, _, file) = sealable().await;
    let (words, secret) = ("correct, horse battery ", key_file(&s.host));
    for body in [json!({ "kind": "passphrase", "key": words }), json!({ "kind": "kubernetes-secret", "key": &*secret })]
    {
        assert_eq!(s.root("POST", SLOTS, body).await.0, 200);
    }
    let path = "sys/homelab/keys/rotate-root";
    for keys in [json!([]), json!(7), json!([7]), json!([&*file]), json!([&*file, words, "wrong words"])] {
        let (code, answer) = s.root("POST", path, json!({ "keys": keys })).await;
        assert!(
            code == 400 && !answer.to_string().contains("horse") && !answer.to_string().contains("wrong w"),
            "{answer}"
        );
    }
    let keys = json!([words, &*file, &*secret]);
    let (code, done) = s.root("POST", path, json!({ "keys": keys })).await;
    assert_eq!(code, 200, "{done}");
    let kinds: Vec<_> = done["data"]["slots"].as_array().unwrap().iter().map(|slot| slot["kind"].clone()).collect();
    assert_eq!(kinds, ["passphrase", "key file", "Kubernetes Secret"], "kinds stay");
    assert!(opens(&s, words).await && opens(&s, &file).await && opens(&s, &secret).await);
}

#[tokio::test]
async fn bad_slots_say_what_is_wrong_and_never_what_was_sent() {
    let (s, _, key) = sealable().await;
    let mut lines = Vec::new();
    let none = "ab".repeat(16);
    for body in [
        json!({}),
        json!({ "kind": "key-file" }),
        json!({ "kind": "tpm", "key": "planted" }),
        json!({ "kind": "key-file", "key": "planted" }),
        json!({ "kind": "recovery", "key": "planted" }),
        json!({ "kind": "passphrase", "key": "planted" }),
        json!({ "kind": "passphrase", "key": ["planted"] }),
        json!({ "kind": "passphrase", "key": "planted words", "replaces": "planted" }),
        json!({ "kind": "passphrase", "key": "planted words", "replaces": none }),
        json!({ "kind": "key-file", "key": &*key }),
    ] {
        let (code, answer) = s.root("POST", SLOTS, body).await;
        let error = answer["errors"][0].as_str().unwrap_or_default();
        let error = key.split_whitespace().nth(1).map_or_else(|| error.to_owned(), |id| error.replace(id, "ID"));
        lines.push(format!("{code} {error}"));
    }
    for (method, path) in [
        ("GET", "sys/rotate"),
        ("POST", "sys/key-status"),
        ("POST", KEYS),
        ("GET", SLOTS),
        ("DELETE", "sys/homelab/keys/slots/planted"),
        ("POST", "sys/homelab/keys/other"),
        ("POST", "sys/homelab/accept-rollback"),
    ] {
        let (code, answer) = s.root(method, path, Value::Null).await;
        lines.push(format!("{method} {path}: {code} {}", answer["errors"][0].as_str().unwrap_or_default()));
    }
    let text = lines.join("\n");
    assert!(!text.replace("/planted", "").contains("planted"), "{text}");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn nobody_without_sudo_cares_for_the_keys() {
    let s = Server::new(vec![("web", Capability::ALL.to_vec())]).await;
    let pod = s.login("web/default").await;
    let text = r#"path "sys/*" { capabilities = ["create", "read", "update", "delete", "list"] }"#;
    s.root("PUT", "sys/policies/acl/nearly", json!({ "policy": text })).await;
    let (_, made) = s.root("POST", "auth/token/create", json!({ "policies": ["nearly"] })).await;
    let nearly = made["auth"]["client_token"].as_str().unwrap();
    for (method, path, reads) in [
        ("GET", KEYS, true),
        ("GET", "sys/key-status", true),
        ("PUT", "sys/rotate", false),
        ("POST", SLOTS, false),
        ("DELETE", "sys/homelab/keys/slots/ab", false),
        ("POST", "sys/homelab/keys/rotate-root", false),
        ("POST", "sys/homelab/accept-rollback", false),
    ] {
        assert_eq!(s.ask("", method, path, Value::Null).await.0, 403, "{path}");
        assert_eq!(s.ask(&pod, method, path, Value::Null).await.0, 403, "{path}");
        assert_eq!(s.ask(nearly, method, path, Value::Null).await.0, if reads { 200 } else { 403 }, "{path}");
    }
    assert_eq!(status(&s).await["epoch"], 1);
}

#[tokio::test]
async fn a_sealed_server_cares_for_no_keys() {
    let (s, vault, _) = sealable().await;
    vault.seal();
    for (method, path) in [("GET", KEYS), ("PUT", "sys/rotate"), ("POST", SLOTS), ("GET", "sys/key-status")] {
        assert_eq!(s.root(method, path, Value::Null).await.0, 503, "{path}");
    }
}

#[tokio::test]
async fn where_everything_lies_is_said_with_what_it_is_worth() {
    let (s, vault, _) = sealable().await;
    assert_eq!(status(&s).await["place"], Value::Null);
    let place = StorePlace {
        backend: BackendKind::Kubernetes,
        at: "namespace homelab".into(),
        key: None,
        key_beside: false,
        witness: Some("ConfigMap homelab/homelab-head".into()),
        audit: None,
    };
    let options = ServerOptions { vault: Some(vault.clone()), place: Some(place), ..ServerOptions::default() };
    let s = Server::over(vault.handle(), s.host.clone(), vec![], options);
    assert!(status(&s).await["place"]["safety"].as_str().unwrap().starts_with("the key is kept apart"));
    s.root("POST", SLOTS, json!({ "kind": "kubernetes-secret", "key": &*key_file(&s.host) })).await;
    let place = status(&s).await["place"].clone();
    assert!(place["safety"].as_str().unwrap().starts_with("as safe as plain Secrets"), "{place}");
    assert_eq!(place["witness"], "ConfigMap homelab/homelab-head");
}

/// A store that was put back to before its last writes, behind a server.
async fn rolled_back() -> Server {
    let host = Arc::new(FixedHost::default());
    let witness = Arc::new(MemoryWitness::default());
    let watched = || Some(Watched { witness: witness.clone(), strict: false, every: Duration::from_millis(1) });
    let backend = Arc::new(Memory::default());
    let key = SlotKey::from_file(&key_file(&host)).unwrap();
    let vault = Vault::watched(backend.clone(), host.clone(), watched());
    vault.initialize(vec![Unlock::KeyFile(key.clone())]).await.unwrap();
    let s = Server::over(vault.handle(), host.clone(), vec![("web", vec![Capability::Read])], ServerOptions::default());
    s.root("POST", "kv/data/web/a", json!({ "data": { "v": "old" } })).await;
    s.root("POST", "auth/token/create", json!({ "policies": ["default"], "ttl": "1s" })).await;
    let (backup, mut batch) = (Arc::new(Memory::default()), Batch::default());
    for (key, record) in backend.scan("", "", usize::MAX).await.unwrap() {
        batch.put(key, record);
    }
    backup.commit(Head(0), batch).await.unwrap();
    for _ in 0..3 {
        s.root("POST", "kv/data/web/a", json!({ "data": { "v": "new" } })).await;
    }
    let newest = async {
        use crate::store::HeadWitness as _;
        while witness.read().await.unwrap().is_none_or(|copy| copy.head.sequence < 6) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), newest).await.expect("copied");
    drop(s);
    host.advance(10);
    let vault = Vault::watched(backup, host.clone(), watched());
    vault.unseal(Unlock::KeyFile(key)).await.unwrap();
    let options = ServerOptions { vault: Some(vault.clone()), ..ServerOptions::default() };
    Server::over(vault.handle(), host, vec![("web", vec![Capability::Read])], options)
}

#[tokio::test]
async fn a_store_that_was_put_back_serves_reads_and_logins_until_it_is_accepted() {
    let s = rolled_back().await;
    // A token that ended meanwhile can not be taken out of the store; that stops nobody.
    let pod = s.login("web/default").await;
    assert_eq!(s.ask(&pod, "GET", "kv/data/web/a", Value::Null).await.1["data"]["data"]["v"], "old");
    let (code, refused) = s.root("POST", "kv/data/web/a", json!({ "data": {} })).await;
    assert_eq!(code, 503);
    let error = refused["errors"][0].as_str().unwrap();
    assert!(error.starts_with("the store takes no writes: the store stands at "), "{error}");
    assert!(error.ends_with("then say `homelab secrets accept-rollback`"), "{error}");
    let (code, health) = s.ask("", "GET", "sys/health", Value::Null).await;
    assert_eq!((code, &health["rolled_back"], &health["sealed"]), (500, &json!(true), &json!(false)));
    assert_eq!(s.ask("", "GET", "sys/health?rolledbackcode=299", Value::Null).await.0, 299);
    assert_eq!(status(&s).await["rollback"]["state"], "rolled_back");
    assert_eq!(s.ask(&pod, "POST", "sys/homelab/accept-rollback", Value::Null).await.0, 403);

    assert_eq!(s.root("POST", "sys/homelab/accept-rollback", Value::Null).await, (204, Value::Null));
    assert_eq!(status(&s).await["rollback"]["state"], "fresh");
    assert_eq!(s.ask("", "GET", "sys/health", Value::Null).await.0, 200);
    assert_eq!(s.root("POST", "kv/data/web/a", json!({ "data": {} })).await.0, 200);
    let (code, again) = s.root("POST", "sys/homelab/accept-rollback", Value::Null).await;
    assert_eq!((code, &again["errors"][0]), (400, &json!("the store is not older than the copy of its head")));
}
