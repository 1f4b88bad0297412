use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use homelab_core::meta::Account;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::Error;
use crate::api::v1alpha1::{ClusterSecretPolicy, SecretPolicy};
use crate::backend::memory::Memory;
use crate::keys::{SlotKey, Unlock};
use crate::policy::{Identity, PolicySet};
use crate::server::{Authenticator, Login, ServerConfig, ServerState, router};
use crate::store::SecretStore;
use crate::testing::FixedHost;

const ROOT: &str = "root-token-of-the-test";

/// Takes `NAMESPACE/NAME` for a token.
struct Trusting;

#[async_trait]
impl Authenticator for Trusting {
    async fn authenticate(&self, credential: &str, _: &str) -> Result<Login, Error> {
        let account = Account::parse(credential).ok_or_else(|| Error::Denied("not a token".into()))?;
        Ok(Login { identity: Identity::account(account), ends: None })
    }
}

/// A server where `people/reader` and `people/writer` have rights on `git/home/web/`, `people/owner` on all of it.
struct Server(Router);

fn policies() -> PolicySet {
    let rule = |account: &str, paths: Value, capabilities: Value| json!({"subjects": [{"serviceAccount": account}], "paths": paths, "capabilities": capabilities});
    let cluster: ClusterSecretPolicy = serde_json::from_value(json!({
        "apiVersion": "homelab.dev/v1alpha1", "kind": "ClusterSecretPolicy", "metadata": {"name": "git"},
        "spec": {"rules": [
            rule("people/reader", json!(["git/home/web/*"]), json!(["read"])),
            rule("people/writer", json!(["git/home/web/*"]), json!(["update"])),
            rule("people/owner", json!(["git/home", "git/home/*"]), json!(["create", "read", "update", "list", "sudo"])),
        ]},
    }))
    .unwrap();
    let set = PolicySet::build([], [&cluster]);
    assert_eq!(set.problems(), []);
    set
}

impl Server {
    async fn new() -> Self {
        let host = Arc::new(FixedHost::default());
        let unlock = Unlock::KeyFile(SlotKey::generate(&|b| crate::backend::Host::random(&*host, b)).unwrap());
        let store = SecretStore::open_or_init(Arc::new(Memory::default()), unlock, host.clone()).await.unwrap();
        let kubernetes: Option<Arc<dyn Authenticator>> = Some(Arc::new(Trusting));
        let config = ServerConfig { store, policy: Arc::new(policies()), host, kubernetes };
        let server = Self(router(ServerState::new(config, Some(ROOT)).unwrap()));
        let (status, made) = server.ask("people/owner", "POST", "sys/homelab/git/home", Value::Null).await;
        assert_eq!((status, &made["data"]["new"]), (200, &json!(true)));
        server
    }

    async fn send(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("/v1/{path}"));
        let request = if token.is_empty() { request } else { request.header("x-vault-token", token) };
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.0.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn ask(&self, who: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (_, login) =
            self.send("", "POST", "auth/kubernetes/login", json!({"role": "homelab-agent", "jwt": who})).await;
        let token = login["auth"]["client_token"].as_str().unwrap().to_owned();
        self.send(&token, method, path, body).await
    }

    async fn act(&self, who: &str, verb: &str, path: &str, body: Value) -> (u16, Value) {
        self.ask(who, "POST", &format!("sys/homelab/git/home/{verb}/{path}"), body).await
    }

    async fn sealed(&self, path: &str, data: Value) -> String {
        let (status, answer) = self.act("people/owner", "seal", path, json!({"data": data})).await;
        assert_eq!(status, 200, "{answer}");
        answer["data"]["file"].as_str().unwrap().to_owned()
    }
}

fn error(answer: &Value) -> &str {
    answer["errors"][0].as_str().unwrap()
}

#[tokio::test]
async fn what_one_person_seals_another_opens() {
    let s = Server::new().await;
    let (status, answer) = s.act("people/writer", "seal", "web/db", json!({"data": {"password": "hunter2"}})).await;
    assert_eq!(status, 200, "{answer}");
    let file = &answer["data"]["file"];
    assert!(!file.as_str().unwrap().contains("hunter2"));
    let (status, opened) = s.act("people/reader", "open", "web/db", json!({"file": file})).await;
    assert_eq!((status, &opened["data"]["data"]), (200, &json!({"password": "hunter2"})));
    let body = json!({"data": {"password": "hunter2", "user": "web"}, "previous": file});
    let (_, again) = s.act("people/writer", "seal", "web/db", body).await;
    let line = file.as_str().unwrap().lines().find(|line| line.contains("e1.")).unwrap();
    assert!(again["data"]["file"].as_str().unwrap().contains(line));
}

#[tokio::test]
async fn policies_decide_about_each_path_and_verb() {
    let s = Server::new().await;
    let web = json!({"file": s.sealed("web/db", json!({"a": "1"})).await});
    let other = json!({"file": s.sealed("other/db", json!({"a": "1"})).await});
    let data = json!({"data": {"a": "2"}});
    for (who, verb, path, body, expected) in [
        ("people/reader", "open", "web/db", &web, 200),
        ("people/reader", "seal", "web/db", &data, 403),
        ("people/reader", "reseal", "web/db", &web, 403),
        ("people/reader", "open", "other/db", &other, 403),
        ("people/writer", "open", "web/db", &web, 403),
        ("people/writer", "reseal", "web/db", &web, 200),
        ("people/writer", "seal", "other/db", &data, 403),
        ("people/nobody", "open", "web/db", &web, 403),
        // The path that was asked for has to be the file's own.
        ("people/reader", "open", "web/db", &other, 400),
    ] {
        let (status, answer) = s.act(who, verb, path, body.clone()).await;
        assert_eq!(status, expected, "{who} {verb} {path}: {answer}");
        assert!(answer.get("data").is_some_and(|data| !data.is_null()) == (expected == 200), "{answer}");
    }
    let renamed = other["file"].as_str().unwrap().replace("path: other/db", "path: web/db");
    let (status, answer) = s.act("people/reader", "open", "web/db", json!({"file": renamed})).await;
    insta::assert_snapshot!(error(&answer), @"the sealed file web/db of repository home does not open: `a` was sealed for another field, path or repository, or was changed");
    assert_eq!(status, 400);
    let (status, _) = s.send("", "POST", "sys/homelab/git/home/open/web/db", web).await;
    assert_eq!(status, 403, "without a token");
}

#[tokio::test]
async fn a_policy_of_a_namespace_never_reaches_a_repository_of_its_name() {
    let policy: SecretPolicy = serde_json::from_value(json!({
        "apiVersion": "homelab.dev/v1alpha1", "kind": "SecretPolicy", "metadata": {"name": "sly", "namespace": "home"},
        "spec": {"rules": [{"serviceAccounts": ["x"], "paths": ["git/home/*"], "capabilities": ["read"]}]},
    }))
    .unwrap();
    let set = PolicySet::build([&policy], []);
    assert_eq!(set.len(), 0);
    insta::assert_snapshot!(set.problems()[0].reasons[0], @r#"rule 0: path "git/home/*": the paths of sealed files in Git are git/REPOSITORY/…, and a repository belongs to no namespace: write a ClusterSecretPolicy"#);
}

#[tokio::test]
async fn the_life_of_a_repository() {
    let s = Server::new().await;
    let get = s.ask("people/owner", "GET", "sys/homelab/git/home", Value::Null).await;
    assert_eq!((get.0, &get.1["data"]["epoch"]), (200, &json!(1)));
    let again = s.ask("people/owner", "POST", "sys/homelab/git/home", Value::Null).await;
    assert_eq!((again.0, &again.1["data"]["new"], &again.1["data"]["id"]), (200, &json!(false), &get.1["data"]["id"]));
    assert_eq!(s.ask("people/writer", "GET", "sys/homelab/git/home", Value::Null).await.0, 403);
    assert_eq!(s.ask("people/owner", "POST", "sys/homelab/git/other", Value::Null).await.0, 403);

    let old = s.sealed("web/db", json!({"a": "1"})).await;
    let rotate = |who, from: u64| s.ask(who, "POST", "sys/homelab/git/home/rotate", json!({"from": from}));
    assert_eq!(rotate("people/writer", 1).await.0, 403);
    assert_eq!(rotate("people/owner", 1).await.1["data"]["epoch"], 2);
    assert_eq!(rotate("people/owner", 1).await.1["data"]["epoch"], 2, "asked again it makes no second one");
    let (status, answer) = rotate("people/owner", 7).await;
    assert_eq!((status, error(&answer)), (400, "repository home is in epoch 2, not in 7"));
    let (_, new) = s.act("people/owner", "reseal", "web/db", json!({"file": old})).await;
    let new = new["data"]["file"].clone();
    assert!(new.as_str().unwrap().contains("    e2."));
    for file in [json!(old), new] {
        let (_, opened) = s.act("people/reader", "open", "web/db", json!({"file": file})).await;
        assert_eq!(opened["data"]["data"], json!({"a": "1"}), "both epochs open");
    }
}

#[tokio::test]
async fn bad_input_is_told_and_never_repeated() {
    let s = Server::new().await;
    let root = async |path: &str, body: Value| s.send(ROOT, "POST", &format!("sys/homelab/git/{path}"), body).await;
    for (path, body, status) in [
        ("home/open/web/db", json!({"file": "password: hunter2\n"}), 400),
        ("home/open/web/db", json!({"file": 5}), 400),
        ("home/open/web/db", json!({}), 400),
        ("home/seal/web/db", json!({"data": "hunter2"}), 400),
        ("home/seal/web/db", json!({"data": {}, "previous": "hunter2"}), 400),
        ("home/seal/web%20db", json!({"data": {}}), 400),
        ("home/seal/web/../db", json!({"data": {}}), 400),
        ("home/burn/web/db", json!({"data": {}}), 404),
        ("away/seal/web/db", json!({"data": {}}), 404),
        ("Away/seal/web/db", json!({"data": {}}), 400),
        ("home/rotate", json!({}), 400),
    ] {
        let (found, answer) = root(path, body.clone()).await;
        assert_eq!(found, status, "{path} {body}: {answer}");
        assert!(!answer.to_string().contains("hunter2"), "{answer}");
    }
    let (_, answer) = root("away/seal/web/db", json!({"data": {}})).await;
    insta::assert_snapshot!(error(&answer), @"the store has no repository away: `homelab seal --install --repository away` makes it");
    assert_eq!(s.send(ROOT, "GET", "sys/homelab/git/home/open/web/db", Value::Null).await.0, 405);
    assert_eq!(s.send(ROOT, "DELETE", "sys/homelab/git/home", Value::Null).await.0, 405);
    let large = json!({"data": {"a": "x".repeat(450_000)}});
    assert!(error(&root("home/seal/web/db", large).await.1).contains("524288 is the most"));
}
