//! Paths, queries and bodies of the HTTP API, sent with a token that may read `kv/mine/` and nothing else.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use homelab_secrets::backend::Host as _;
use homelab_secrets::backend::memory::Memory;
use homelab_secrets::keys::{SlotKey, Unlock};
use homelab_secrets::policy::PolicySet;
use homelab_secrets::server::{ServerConfig, ServerOptions, ServerState, router};
use homelab_secrets::store::SecretStore;
use homelab_secrets::testing::FixedHost;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::change::{changed, config};

const ROOT: &str = "root-token-of-the-test";
const PLANTED: &str = "planted-where-the-token-may-not-look";
const SEEDS: &str = include_str!("seeds/paths.txt");
const METHODS: &[&str] = &["GET", "LIST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "FOO"];
const WORDS: &[&str] = &[
    "/",
    "//",
    "..",
    ".",
    "%2e%2e/",
    "%2f",
    "%2F",
    "%5c",
    "%00",
    "%0a",
    "%",
    "%zz",
    "%c0%ae",
    "%ff",
    "+",
    "*",
    "?",
    "&",
    "=",
    ";",
    "kv/",
    "data/",
    "other/",
    "version=",
    "list=true",
    "-1",
    "99999999999999999999",
];

async fn serve() -> Router {
    let host = Arc::new(FixedHost::default());
    let key = SlotKey::generate(&|buffer| host.random(buffer)).expect("a key");
    let store = SecretStore::open_or_init(Arc::new(Memory::default()), Unlock::KeyFile(key), host.clone()).await;
    let config =
        ServerConfig { store: store.expect("a store"), policy: Arc::new(PolicySet::default()), host, kubernetes: None };
    let options = ServerOptions { login_rate: None, ..ServerOptions::default() };
    router(ServerState::with_options(config, Some(ROOT), options).expect("a server"))
}

async fn send(app: &Router, token: &str, method: &str, path: &str, body: Vec<u8>) -> Option<(StatusCode, Vec<u8>)> {
    let request = Request::builder().method(method).uri(format!("/v1/{path}")).header("x-vault-token", token);
    let request = request.header("content-type", "application/merge-patch+json").body(Body::from(body));
    // What is no URI does not come this far: hyper answers it.
    let response = app.clone().oneshot(request.ok()?).await.expect("infallible");
    let status = response.status();
    Some((status, to_bytes(response.into_body(), usize::MAX).await.expect("a body").to_vec()))
}

async fn root(app: &Router, path: &str, body: Value) -> Value {
    let (status, answer) = send(app, ROOT, "POST", path, body.to_string().into_bytes()).await.expect("a URI");
    assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&answer));
    serde_json::from_slice(&answer).unwrap_or_default()
}

/// A server with secrets on both sides of a border, and a token that must stay on one.
async fn bordered() -> (Router, String) {
    let app = serve().await;
    for path in ["other/db", "other", "db"] {
        root(&app, &format!("kv/data/{path}"), json!({"data": {"password": PLANTED}})).await;
    }
    root(&app, "kv/data/mine/db", json!({"data": {"password": "my own"}})).await;
    let policy = r#"path "kv/data/mine/*" { capabilities = ["read", "create", "update", "patch", "delete"] }
        path "kv/metadata/mine/*" { capabilities = ["list", "read"] }
        path "kv/subkeys/mine/*" { capabilities = ["read"] }"#;
    root(&app, "sys/policies/acl/mine", json!({"policy": policy})).await;
    let made = root(&app, "auth/token/create", json!({"policies": ["mine"], "no_default_policy": true})).await;
    let token = made["auth"]["client_token"].as_str().expect("a token").to_owned();
    (app, token)
}

#[test]
fn no_request_reaches_beyond_its_policy_or_breaks_the_server() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (app, token) = runtime.block_on(bordered());
    let seeds = SEEDS.lines().map(|line| line.as_bytes().to_vec()).collect();
    let bodies: &[&[u8]] = &[
        b"",
        br#"{"data": {"password": "new"}, "options": {"cas": 0}}"#,
        br#"{"versions": [1, 2]}"#,
        br#"{"policy": "path \"*\" { capabilities = [\"read\"] }"}"#,
        br#"{"token": "x", "paths": ["kv/data/other/db"]}"#,
    ];
    let body =
        changed(bodies.iter().map(|body| body.to_vec()).collect(), &["{", "}", "[", "\"", "null", "1e999", "\\u0000"]);
    let strategy = (changed(seeds, WORDS), prop::sample::select(METHODS), body);
    let mut runner = TestRunner::new(Config { source_file: Some(file!()), ..config() });
    let outcome = runner.run(&strategy, |(path, method, body)| {
        let Ok(path) = String::from_utf8(path) else { return Ok(()) };
        let Some((status, answer)) = runtime.block_on(send(&app, &token, method, &path, body)) else { return Ok(()) };
        let text = String::from_utf8_lossy(&answer);
        prop_assert!(!text.contains(PLANTED), "{} {} gave what it must not: {}", method, path, text);
        prop_assert!(!status.is_server_error(), "{} {}: {} {}", method, path, status, text);
        if status.is_client_error() && method != "HEAD" {
            let errors: Value = serde_json::from_slice(&answer).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert!(errors["errors"].is_array() || errors["data"].is_object(), "{} {}: {}", method, path, text);
        }
        Ok(())
    });
    outcome.expect("a failing request is shown above");
    // What lies beyond the border is as it was.
    for path in ["other/db", "other", "db"] {
        let (_, answer) =
            runtime.block_on(send(&app, ROOT, "GET", &format!("kv/data/{path}"), Vec::new())).expect("a URI");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(
            (&answer["data"]["data"]["password"], &answer["data"]["metadata"]["version"]),
            (&json!(PLANTED), &json!(1))
        );
    }
}
