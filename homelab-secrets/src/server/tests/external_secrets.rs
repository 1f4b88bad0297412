//! The calls of External Secrets' Vault provider, as its source makes them (`providers/v1/vault` with
//! `hashicorp/vault/api`): there is no program of it that could run here.
//!
//! Vault's client writes by PUT, lists by GET with `list=true`, and sends `X-Vault-Request` and, where a store has one,
//! `X-Vault-Namespace`.

use super::*;

struct Provider {
    server: Server,
    token: String,
}

impl Provider {
    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("/v1/{path}"));
        let request = request.header("x-vault-request", "true").header("x-vault-token", &self.token);
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let (status, answer) = self.server.send(request.body(body).unwrap()).await;
        (status.as_u16(), answer)
    }
}

/// A SecretStore with Kubernetes login, whose role has what `PushSecret` and `find` need.
async fn provider() -> Provider {
    let server = Server::new(vec![]).await;
    let text = r#"
        path "kv/data/eso/*" { capabilities = ["create", "read", "update", "delete"] }
        path "kv/metadata/eso/*" { capabilities = ["create", "read", "update", "delete", "list"] }
        path "kv/metadata/eso" { capabilities = ["list"] }
    "#;
    server.root("PUT", "sys/policies/acl/eso", json!({ "policy": text })).await;
    let role = json!({
        "audience": "vault", "bound_service_account_names": "eso", "bound_service_account_namespaces": "eso",
        "token_policies": "eso",
    });
    server.root("PUT", "auth/kubernetes/role/eso", role).await;
    let provider = Provider { server, token: String::new() };
    let login = json!({ "jwt": "eso/eso@vault", "role": "eso" });
    let (status, answer) = provider.call("PUT", "auth/kubernetes/login", login).await;
    assert_eq!(status, 200, "{answer}");
    Provider { token: answer["auth"]["client_token"].as_str().unwrap().to_owned(), ..provider }
}

#[tokio::test]
async fn its_token_is_looked_up_and_revoked() {
    let eso = provider().await;
    let (status, about) = eso.call("GET", "auth/token/lookup-self", Value::Null).await;
    let data = &about["data"];
    assert_eq!((status, &data["type"]), (200, &json!("service")));
    assert!(data["ttl"].is_i64() && data["expire_time"].as_str().unwrap().parse::<Timestamp>().is_ok(), "{data}");
    assert_eq!(eso.call("PUT", "auth/token/revoke-self", Value::Null).await.0, 204);
    assert_eq!(eso.call("GET", "auth/token/lookup-self", Value::Null).await.0, 403);
}

#[tokio::test]
async fn it_pushes_reads_finds_and_deletes() {
    let eso = provider().await;
    // A push: read (nothing there), metadata first, then data with cas 0.
    assert_eq!(eso.call("GET", "kv/data/eso/db", Value::Null).await, (404, json!({ "errors": [] })));
    let managed = json!({ "custom_metadata": { "managed-by": "external-secrets" } });
    assert_eq!(eso.call("PUT", "kv/metadata/eso/db", managed).await.0, 204);
    let first = json!({ "data": { "password": "one" }, "options": { "cas": 0 } });
    assert_eq!(eso.call("PUT", "kv/data/eso/db", first).await.0, 200);
    // The next one: read, metadata for owner and version, data with that version.
    let (_, read) = eso.call("GET", "kv/data/eso/db", Value::Null).await;
    assert_eq!(read["data"]["data"], json!({ "password": "one" }));
    let (_, metadata) = eso.call("GET", "kv/metadata/eso/db", Value::Null).await;
    assert_eq!(metadata["data"]["custom_metadata"], json!({ "managed-by": "external-secrets" }));
    assert_eq!(metadata["data"]["current_version"], 1);
    let next = json!({ "data": { "password": "two" }, "options": { "cas": 1 } });
    assert_eq!(eso.call("PUT", "kv/data/eso/db", next).await.0, 200);

    let (_, old) = eso.call("GET", "kv/data/eso/db?version=1", Value::Null).await;
    assert_eq!(old["data"]["data"], json!({ "password": "one" }));
    // `find`: folder by folder.
    for path in ["kv/metadata/eso/?list=true", "kv/metadata/eso?list=true"] {
        let (status, listed) = eso.call("GET", path, Value::Null).await;
        assert_eq!((status, &listed["data"]["keys"]), (200, &json!(["db"])), "{path}");
    }
    // A version that was deleted reads as no secret: 404 with `data: null` inside.
    assert_eq!(eso.call("DELETE", "kv/data/eso/db", Value::Null).await.0, 204);
    let (status, gone) = eso.call("GET", "kv/data/eso/db", Value::Null).await;
    assert_eq!((status, &gone["data"]["data"]), (404, &Value::Null));
    assert_eq!(eso.call("DELETE", "kv/metadata/eso/db", Value::Null).await.0, 204);
    assert_eq!(eso.call("GET", "kv/metadata/eso/db", Value::Null).await.0, 404);
    assert_eq!(eso.call("GET", "kv/data/other/db", Value::Null).await.0, 403);
}
