//! The client against canned answers, as Vault and OpenBao give them.

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode as Code;
use axum::response::{IntoResponse as _, Response};

use super::*;

/// A server that answers `METHOD PATH` with a status and a body.
async fn serving(answers: &'static [(&'static str, u16, &'static str)]) -> Client {
    crate::install_crypto();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = move |request: Request| async move {
        let asked = format!("{} {}", request.method(), request.uri());
        let token = request.headers().get("X-Vault-Token").is_some_and(|token| token == "t0ken");
        let found = answers.iter().find(|(want, _, _)| *want == asked).filter(|_| token);
        let (_, status, body) = found.copied().unwrap_or(("", 400, r#"{"errors": ["unexpected request"]}"#));
        (Code::from_u16(status).expect("a status"), body).into_response() as Response
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    Client::new(reqwest::Client::new(), address, "t0ken".into(), None)
}

fn path() -> Path {
    Path::parse("kv/web/db").expect("a path")
}

#[tokio::test]
async fn a_secret_is_read_with_its_version() {
    let body =
        r#"{"data": {"data": {"password": "x"}, "metadata": {"version": 3, "created_time": "2026-11-23T12:00:00Z"}}}"#;
    let client = serving(Box::leak(Box::new([("GET /v1/kv/data/web/db?version=3", 200, body)]))).await;
    let (data, at) = client.read(&path(), Some(3)).await.expect("read");
    assert_eq!((data["password"].as_str(), at.version), (Some("x"), 3));
}

#[tokio::test]
async fn what_is_not_there_is_told_apart() {
    let deleted = r#"{"data": {"data": null, "metadata": {"version": 2, "deletion_time": "2026-11-23T12:00:00Z", "destroyed": false}}}"#;
    let destroyed = r#"{"data": {"data": null, "metadata": {"version": 2, "deletion_time": "", "destroyed": true}}}"#;
    for (body, words) in [
        (r#"{"errors": []}"#, "there is no secret kv/web/db; `homelab kv put kv/web/db key=value` writes it"),
        (
            deleted,
            "kv/web/db version 2 is deleted since 2026-11-23T12:00:00Z; `homelab kv undelete kv/web/db --versions 2` brings it back",
        ),
        (destroyed, "kv/web/db version 2 is destroyed for good; see `homelab kv history kv/web/db`"),
    ] {
        let client = serving(Box::leak(Box::new([("GET /v1/kv/data/web/db", 404, body)]))).await;
        assert_eq!(client.read(&path(), None).await.expect_err("missing").to_string(), words);
    }
}

#[tokio::test]
async fn refusals_say_who_and_what_to_do() {
    let body = r#"{"errors": ["permission denied"]}"#;
    let client = serving(Box::leak(Box::new([("POST /v1/kv/data/web/db", 403, body)]))).await;
    let error = client.write(&path(), Map::new(), Some(0)).await.expect_err("denied").to_string();
    assert_eq!(
        error,
        "write kv/web/db as the token: permission denied (a SecretPolicy or ClusterSecretPolicy gives rights)"
    );
}

#[tokio::test]
async fn versions_that_never_were_are_not_said_to_be_deleted() {
    let body = r#"{"data": {"versions": {"1": {"created_time": "a", "destroyed": false}}}}"#;
    let client = serving(Box::leak(Box::new([
        ("GET /v1/kv/metadata/web/db", 200, body),
        ("PUT /v1/kv/destroy/web/db", 204, ""),
    ])))
    .await;
    client.destroy(&path(), &[1]).await.expect("there is a version 1");
    let error = client.destroy(&path(), &[1, 3]).await.expect_err("there is no version 3").to_string();
    assert_eq!(error, "kv/web/db has no version 3; see `homelab kv history kv/web/db`");
    let client = serving(Box::leak(Box::new([("GET /v1/kv/metadata/web/db", 404, r#"{"errors": []}"#)]))).await;
    let error = client.delete(&path(), &[]).await.expect_err("there is none").to_string();
    assert_eq!(error, "there is no secret kv/web/db; `homelab kv put kv/web/db key=value` writes it");
}

#[tokio::test]
async fn versions_come_in_order() {
    let body = r#"{"data": {"versions": {"10": {"created_time": "b", "destroyed": false}, "9": {"created_time": "a", "destroyed": true}}}}"#;
    let client = serving(Box::leak(Box::new([("GET /v1/kv/metadata/web/db", 200, body)]))).await;
    let versions = client.history(&path()).await.expect("read");
    assert_eq!(versions.iter().map(|v| (v.version, v.destroyed)).collect::<Vec<_>>(), [(9, true), (10, false)]);
}

#[tokio::test]
async fn a_server_that_is_away_is_named() {
    // As main does; another test of the same process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new(reqwest::Client::new(), "http://127.0.0.1:1".into(), String::new(), None);
    let error = client.list(&path()).await.expect_err("nobody listens").to_string();
    assert!(error.starts_with("reach http://127.0.0.1:1: ") && error.contains("refused"), "{error}");
}
