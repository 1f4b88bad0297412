//! `sys/…`, mounts, policies, limits.

use super::*;

async fn bad(s: &Server, method: &str, path: &str, body: Value) -> String {
    let (status, answer) = s.root(method, path, body).await;
    format!("{status} {}", answer["errors"])
}

#[tokio::test]
async fn mounts_come_change_and_go() {
    let s = Server::new(vec![]).await;
    let made = json!({ "type": "kv", "options": { "version": "2" }, "description": "of the team" });
    assert_eq!(s.root("POST", "sys/mounts/team", made).await.0, 204);
    assert_eq!(
        bad(&s, "POST", "sys/mounts/team", json!({ "type": "kv" })).await,
        r#"400 ["path is already in use at team/"]"#
    );
    assert!(bad(&s, "POST", "sys/mounts/x", json!({ "type": "pki" })).await.starts_with(r#"400 ["plugin not found"#));
    assert_eq!(s.root("POST", "sys/mounts/x", json!({ "type": "kv", "options": { "version": "1" } })).await.0, 400);
    assert_eq!(s.root("POST", "sys/mounts/a/b", json!({ "type": "kv" })).await.0, 400);
    let (_, all) = s.root("GET", "sys/mounts", Value::Null).await;
    assert_eq!((&all["data"]["team/"]["description"], &all["team/"]["type"]), (&json!("of the team"), &json!("kv")));
    assert_eq!(s.root("POST", "sys/mounts/team/tune", json!({ "description": "ours" })).await.0, 204);
    assert_eq!(s.root("GET", "sys/mounts/team/tune", Value::Null).await.1["data"]["description"], "ours");

    let settings = json!({ "max_versions": 5, "cas_required": true, "delete_version_after": "3h" });
    assert_eq!(s.root("POST", "team/config", settings).await.0, 204);
    let (_, config) = s.root("GET", "team/config", Value::Null).await;
    assert_eq!(config["data"], json!({ "cas_required": true, "delete_version_after": "3h0m0s", "max_versions": 5 }));
    assert_eq!(
        bad(&s, "POST", "team/data/a", json!({ "data": { "a": 1 } })).await,
        r#"400 ["check-and-set parameter required for this call"]"#
    );
    let nested = json!({ "data": { "a": { "b": [1], "c": "planted" }, "d": null }, "options": { "cas": 0 } });
    assert_eq!(s.root("POST", "team/data/a", nested).await.0, 200);
    let (_, keys) = s.root("GET", "team/subkeys/a", Value::Null).await;
    assert_eq!(keys["data"]["subkeys"], json!({ "a": { "b": null, "c": null }, "d": null }));
    assert_eq!(keys["data"]["metadata"]["version"], 1);
    let (_, shallow) = s.root("GET", "team/subkeys/a?depth=1", Value::Null).await;
    assert_eq!(shallow["data"]["subkeys"], json!({ "a": null, "d": null }));
    s.root("DELETE", "team/data/a", Value::Null).await;
    let (status, gone) = s.root("GET", "team/subkeys/a", Value::Null).await;
    assert_eq!((status, &gone["data"]["subkeys"]), (404, &Value::Null));
    assert_eq!(s.root("GET", "team/subkeys/none", Value::Null).await, (404, json!({ "errors": [] })));

    assert_eq!(s.root("DELETE", "sys/mounts/team", Value::Null).await.0, 204);
    assert_eq!(s.root("DELETE", "sys/mounts/team", Value::Null).await.0, 204, "what is gone is gone");
    let nothing = r#"404 ["no handler for route \"team/data/a\". route entry not found."]"#;
    assert_eq!(bad(&s, "GET", "team/data/a", Value::Null).await, nothing);
    assert_eq!(bad(&s, "POST", "team/data/a", json!({ "data": {} })).await, nothing);
    assert!(bad(&s, "GET", "sys/mounts/team", Value::Null).await.starts_with("400"));
}

#[tokio::test]
async fn health_speaks_in_status_codes() {
    let s = Server::new(vec![]).await;
    assert_eq!(s.ask("", "GET", "sys/health", Value::Null).await.0, 200);
    assert_eq!(s.ask("", "GET", "sys/health?activecode=299&standbyok=true&sealedcode=200", Value::Null).await.0, 299);
    assert_eq!(s.ask("", "GET", "sys/health?sealedcode=x", Value::Null).await.0, 400);
    assert_eq!(s.ask("", "GET", "sys/init", Value::Null).await.1, json!({ "initialized": true }));
    assert_eq!(s.ask("", "POST", "sys/init", json!({ "secret_shares": 1 })).await.0, 400);
    assert_eq!(s.ask("", "GET", "sys/leader", Value::Null).await.1["ha_enabled"], false);
    assert_eq!(s.ask("", "POST", "sys/seal", Value::Null).await.0, 403);
}

#[tokio::test]
async fn paths_that_are_not_served_say_so_to_who_may_ask() {
    let s = Server::new(vec![]).await;
    assert_eq!(
        bad(&s, "GET", "something/else", Value::Null).await,
        r#"404 ["no handler for route \"something/else\". route entry not found."]"#
    );
    assert_eq!(bad(&s, "GET", "sys/raw/x", Value::Null).await, r#"404 ["unsupported path"]"#);
    assert_eq!(
        bad(&s, "GET", "auth/ldap/config", Value::Null).await,
        r#"404 ["no handler for route \"auth/ldap/config\". route entry not found."]"#
    );
    assert_eq!(
        bad(&s, "POST", "auth/approle/login", json!({})).await,
        r#"404 ["no handler for route \"auth/approle/login\". route entry not found."]"#
    );
    assert!(s.root("GET", "kv/web/db", Value::Null).await.1["warnings"][0].as_str().unwrap().contains("versioned K/V"));
    let token = s.login("web/default").await;
    for path in ["something/else", "sys/raw/x", "sys/mounts", "sys/auth", "sys/policies/acl", "auth/token/accessors"] {
        assert_eq!(s.ask(&token, "GET", path, Value::Null).await.0, 403, "{path}");
        assert_eq!(s.ask("", "GET", path, Value::Null).await.0, 403, "{path}");
    }
    for (path, status) in [("kv/data/a%2fb", 400), ("kv/data/a%00b", 400), ("kv//data/a", 400), ("%", 400)] {
        assert_eq!(s.root("GET", path, Value::Null).await.0, status, "{path}");
    }
    assert_eq!(s.root("GET", &format!("kv/data/{}", "a".repeat(10_000)), Value::Null).await.0, 400);
    let elsewhere = Request::get("/v2/kv").header("x-vault-token", ROOT).body(Body::empty()).unwrap();
    assert_eq!(s.send(elsewhere).await.0, StatusCode::NOT_FOUND);
    assert_eq!(s.root("OPTIONS", "kv/data/a", Value::Null).await.0, 405);
}

#[tokio::test]
async fn policies_are_kept_and_decide() {
    let s = Server::new(vec![("web", vec![Capability::Read])]).await;
    assert_eq!(s.root("LIST", "sys/policies/acl", Value::Null).await.1["data"]["keys"], json!(["default", "root"]));
    let text = r#"path "kv/data/{{namespace}}/*" { capabilities = ["create", "update"] } path "kv/data/web/root" { capabilities = ["deny"] }"#;
    assert_eq!(s.root("PUT", "sys/policies/acl/Own", json!({ "policy": text })).await.0, 204);
    assert!(
        bad(&s, "PUT", "sys/policies/acl/x", json!({ "policy": "path \"a" }))
            .await
            .contains("failed to parse policy: line 1")
    );
    assert_eq!(
        bad(&s, "PUT", "sys/policies/acl/x", json!({})).await,
        r#"400 ["'policy' parameter not supplied or empty"]"#
    );
    assert_eq!(
        bad(&s, "PUT", "sys/policies/acl/root", json!({ "policy": "#" })).await,
        r#"400 ["cannot update \"root\" policy"]"#
    );
    assert_eq!(
        bad(&s, "DELETE", "sys/policies/acl/default", Value::Null).await,
        r#"400 ["cannot delete default policy"]"#
    );
    assert_eq!(s.root("GET", "sys/policies/acl/own", Value::Null).await.1["data"]["policy"], text);
    assert_eq!(s.root("GET", "sys/policy/own", Value::Null).await.1["rules"], text);
    assert_eq!(s.root("GET", "sys/policies/acl/none", Value::Null).await, (404, json!({ "errors": [] })));

    let role = json!({
        "audience": "homelab", "bound_service_account_names": "*", "bound_service_account_namespaces": "*",
        "token_policies": "own",
    });
    assert_eq!(s.root("POST", "auth/kubernetes/role/web", role).await.0, 204);
    s.root("POST", "kv/data/web/root", json!({ "data": {} })).await;
    let s = s.restarted();
    let login = json!({ "role": "web", "jwt": "web/default" });
    let (_, auth) = s.ask("", "POST", "auth/kubernetes/login", login).await;
    let token = auth["auth"]["client_token"].as_str().unwrap();
    assert_eq!(auth["auth"]["policies"], json!(["default", "own"]));
    assert_eq!(s.ask(token, "POST", "kv/data/web/a", json!({ "data": {} })).await.0, 200, "by the policy");
    assert_eq!(s.ask(token, "GET", "kv/data/web/a", Value::Null).await.0, 200, "by the account");
    assert_eq!(s.ask(token, "GET", "kv/data/web/root", Value::Null).await.0, 403, "deny wins");
    assert_eq!(s.ask(token, "POST", "kv/data/db/a", json!({ "data": {} })).await.0, 403);
    let paths = json!({ "paths": ["kv/data/web/a", "kv/data/web/root", "kv/metadata/web/a", "sys/mounts", "auth/token/lookup-self"] });
    let (_, truth) = s.ask(token, "POST", "sys/capabilities-self", paths).await;
    assert_eq!(
        truth["data"],
        json!({
            "kv/data/web/a": ["create", "read", "update"], "kv/data/web/root": ["deny"], "kv/metadata/web/a": ["read"],
            "sys/mounts": ["deny"], "auth/token/lookup-self": ["read"],
        })
    );
    let asked = json!({ "token": token, "paths": ["kv/data/web/a"] });
    assert_eq!(
        s.root("POST", "sys/capabilities", asked).await.1["data"]["capabilities"],
        json!(["create", "read", "update"])
    );
    assert_eq!(
        s.root("POST", "sys/capabilities-self", json!({ "path": "sys/mounts" })).await.1["capabilities"],
        json!(["root"])
    );
    assert_eq!(s.root("DELETE", "sys/policies/acl/own", Value::Null).await.0, 204);
    assert_eq!(s.ask(token, "POST", "kv/data/web/a", json!({ "data": {} })).await.0, 403, "at once");
}

#[tokio::test]
async fn nobody_asks_more_often_than_they_may() {
    let s = Server::new(vec![]).await;
    let rate = Some(Rate { per_second: 1, burst: 2 });
    let options = ServerOptions { rate, login_rate: rate, ..ServerOptions::default() };
    let s = Server::over(s.store.clone(), s.host.clone(), vec![], options);
    let get = async |token: &str| s.ask(token, "GET", "auth/token/lookup-self", Value::Null).await.0;
    assert_eq!([get(ROOT).await, get(ROOT).await, get(ROOT).await], [200, 200, 429]);
    let request = Request::get("/v1/auth/token/lookup-self").header("x-vault-token", ROOT).body(Body::empty()).unwrap();
    let response = s.router.clone().oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &HeaderValue::from(1)));
    s.host.advance(1);
    assert_eq!([get(ROOT).await, get(ROOT).await], [200, 429]);
    assert_eq!([get("wrong").await, get("wrong").await, get("wrong").await], [403, 403, 429], "guessing is slow");
}

#[tokio::test]
async fn a_sealed_server_opens_with_a_key_and_knows_its_tokens_again() {
    let host = Arc::new(FixedHost::default());
    let vault = Vault::new(Arc::new(Memory::default()), host.clone());
    let options = ServerOptions { vault: Some(vault.clone()), ..ServerOptions::default() };
    let s = Server::over(vault.handle(), host.clone(), vec![], options);
    assert_eq!(s.ask("", "GET", "sys/init", Value::Null).await.1, json!({ "initialized": false }));
    assert_eq!(s.ask("", "GET", "sys/health", Value::Null).await.0, 501);
    assert_eq!(s.ask("", "GET", "sys/health?uninitcode=200", Value::Null).await.0, 200);
    let words = zeroize::Zeroizing::new("correct horse battery".to_owned());
    let file = SlotKey::generate(&|buffer| host.random(buffer)).unwrap();
    vault.initialize(vec![Unlock::Passphrase(words.clone()), Unlock::KeyFile(file.clone())]).await.unwrap();
    s.root("POST", "kv/data/a", json!({ "data": { "k": "v" } })).await;
    let (_, made) = s.root("POST", "auth/token/create", json!({ "policies": ["root"] })).await;
    let held = made["auth"]["client_token"].as_str().unwrap().to_owned();

    assert_eq!(s.root("PUT", "sys/seal", Value::Null).await.0, 204);
    assert_eq!(s.root("GET", "kv/data/a", Value::Null).await, (503, json!({ "errors": ["Vault is sealed"] })));
    assert_eq!(s.ask("", "POST", "auth/kubernetes/login", json!({ "jwt": "web/web" })).await.0, 503);
    assert_eq!(s.ask("", "GET", "sys/health", Value::Null).await.0, 503);
    assert_eq!(s.ask("", "GET", "sys/health?sealedcode=299", Value::Null).await.0, 299);
    assert_eq!(s.ask("", "GET", "sys/seal-status", Value::Null).await.1["sealed"], true);
    for wrong in [json!({}), json!({ "key": "wrong words" }), json!({ "key": "homelab-key/1 x" })] {
        let (status, refused) = s.ask("", "PUT", "sys/unseal", wrong.clone()).await;
        assert!(status == 400 && !refused.to_string().contains("wrong words"), "{wrong}: {refused}");
    }
    for key in [words.as_str(), file.to_file().as_str()] {
        let (status, opened) = s.ask("", "PUT", "sys/unseal", json!({ "key": key })).await;
        assert_eq!((status, &opened["sealed"]), (200, &json!(false)), "{opened}");
        assert_eq!(s.ask(&held, "GET", "kv/data/a", Value::Null).await.0, 200);
        s.root("PUT", "sys/seal", Value::Null).await;
    }
}
