//! `sys/homelab/policy/test`.

use super::*;

const PATH: &str = "sys/homelab/policy/test";

async fn told(s: &Server, body: Value) -> String {
    let (status, answer) = s.root("POST", PATH, body).await;
    assert_eq!(status, 200, "{answer}");
    let data = &answer["data"];
    let mut lines = vec![format!("{} with {} at {}", data["who"], data["policies"], data["path"])];
    for one in data["results"].as_array().unwrap() {
        let secret = match &one["secret"] {
            Value::Null => "no secret".to_owned(),
            secret => format!("{} {}", secret["capability"], secret["path"]),
        };
        let (yes, capability, needs) = (&one["allowed"], &one["capability"], &one["needs"]);
        lines.push(format!("{capability} {yes}: {needs} {} ({secret}): {}", one["api_path"], one["why"]));
    }
    lines.join("\n").replace("\\\"", "'").replace('"', "")
}

async fn with_policies() -> Server {
    let s = Server::new(vec![("web", vec![Capability::Read])]).await;
    let text = r#"path "kv/data/{{namespace}}/*" { capabilities = ["update"] } path "kv/data/web/root" { capabilities = ["deny"] } path "sys/rotate" { capabilities = ["update"] }"#;
    assert_eq!(s.root("PUT", "sys/policies/acl/own", json!({ "policy": text })).await.0, 204);
    let role = json!({
        "audience": "homelab", "bound_service_account_names": "*", "bound_service_account_namespaces": "*",
        "token_policies": "own",
    });
    assert_eq!(s.root("POST", "auth/kubernetes/role/web", role).await.0, 204);
    s
}

#[tokio::test]
async fn it_says_who_may_do_what_and_why_by_both_sorts_of_policies_and_paths() {
    let s = with_policies().await;
    let who = |path: &str, capabilities: Value| json!({ "service_account": "web/api", "role": "kubernetes/web", "path": path, "capabilities": capabilities });
    let asked = [
        told(&s, who("kv/web/db", json!(["read", "update", "sudo", "list"]))).await,
        told(&s, who("/v1/kv/data/web/root", json!("read"))).await,
        told(&s, who("kv/metadata/web/db", json!(["delete"]))).await,
        told(&s, who("sys/rotate", json!(["update"]))).await,
        told(&s, json!({ "user": "anna", "groups": ["g"], "path": "kv/web/db", "capabilities": "read" })).await,
        told(&s, json!({ "token": "t", "policies": "root", "path": "kv/web/db", "capabilities": "sudo" })).await,
        told(&s, json!({ "path": "kv/data/a", "form": "logical", "capabilities": "read" })).await,
    ];
    insta::assert_snapshot!(asked.join("\n"));
    let (_, all) = s.root("POST", PATH, json!({ "path": "kv/web/db" })).await;
    assert_eq!(all["data"]["results"].as_array().unwrap().len(), Capability::ALL.len());
    let (_, missing) = s.root("POST", PATH, json!({ "token": "t", "policies": ["gone"], "path": "kv/a" })).await;
    assert_eq!(missing["data"]["missing_policies"], json!([r#"Policy "gone" does not exist"#]));
}

#[tokio::test]
async fn what_it_says_is_what_happens() {
    let s = with_policies().await;
    s.root("POST", "kv/data/web/db", json!({ "data": {} })).await;
    let login = json!({ "role": "web", "jwt": "web/api" });
    let (_, auth) = s.ask("", "POST", "auth/kubernetes/login", login).await;
    let (token, accessor) = (auth["auth"]["client_token"].as_str().unwrap(), auth["auth"]["accessor"].clone());
    for (method, path, capability) in [
        ("GET", "kv/data/web/db", "read"),
        ("POST", "kv/data/web/db", "update"),
        ("GET", "kv/data/web/root", "read"),
        ("GET", "kv/data/other/db", "read"),
        ("DELETE", "kv/metadata/web/db", "delete"),
        ("GET", "sys/mounts", "read"),
        ("PUT", "sys/seal", "update"),
        ("GET", "auth/token/lookup-self", "read"),
    ] {
        let body = if method == "POST" { json!({ "data": {} }) } else { Value::Null };
        let may = s.ask(token, method, path, body).await.0 != 403;
        let asked = json!({ "accessor": accessor, "path": path, "capabilities": capability });
        let (_, said) = s.root("POST", PATH, asked).await;
        assert_eq!(said["data"]["results"][0]["allowed"], may, "{method} {path}: {said}");
    }
}

#[tokio::test]
async fn it_is_for_who_may_care_for_the_store_only() {
    let s = with_policies().await;
    let body = json!({ "path": "kv/web/db" });
    let token = s.login("web/default").await;
    assert_eq!(s.ask(&token, "POST", PATH, body.clone()).await.0, 403);
    assert_eq!(s.ask("", "POST", PATH, body.clone()).await.0, 403);
    assert_eq!(s.root("GET", PATH, Value::Null).await.0, 405);
    for (path, policy) in [(PATH, r#""update""#), (PATH, r#""update", "sudo""#)] {
        let text = format!(r#"path "{path}" {{ capabilities = [{policy}] }}"#);
        s.root("PUT", "sys/policies/acl/tester", json!({ "policy": text })).await;
        let (_, made) = s.root("POST", "auth/token/create", json!({ "policies": ["tester"] })).await;
        let tester = made["auth"]["client_token"].as_str().unwrap();
        let expected = if policy.contains("sudo") { 200 } else { 403 };
        assert_eq!(s.ask(tester, "POST", PATH, body.clone()).await.0, expected, "{policy}");
    }
}

#[tokio::test]
async fn bad_questions_say_what_is_wrong() {
    let s = with_policies().await;
    let mut lines = Vec::new();
    for body in [
        json!({}),
        json!({ "path": "kv/../a" }),
        json!({ "path": "kv/a\u{0}" }),
        json!({ "path": "a".repeat(10_000) }),
        json!({ "path": "kv/a", "form": "url" }),
        json!({ "path": "kv/a", "capabilities": ["write"] }),
        json!({ "path": "kv/a", "capabilities": 7 }),
        json!({ "path": "kv/a", "user": "anna", "approle": "ci" }),
        json!({ "path": "kv/a", "service_account": "web" }),
        json!({ "path": "kv/a", "groups": ["g"] }),
        json!({ "path": "kv/a", "accessor": "none" }),
        json!({ "path": "kv/a", "policies": ["own"] }),
        json!({ "path": "kv/a", "user": "anna", "role": "web" }),
        json!({ "path": "kv/a", "user": "anna", "role": "kubernetes/none" }),
        json!({ "path": "kv/a", "user": "anna", "role": "token/x" }),
    ] {
        let (status, answer) = s.root("POST", PATH, body).await;
        lines.push(format!("{status} {}", answer["errors"][0].as_str().unwrap_or_default()));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn a_sealed_server_answers_nothing() {
    let host = Arc::new(FixedHost::default());
    let vault = Vault::new(Arc::new(Memory::default()), host.clone());
    let unlock = Unlock::KeyFile(SlotKey::generate(&|buffer| host.random(buffer)).unwrap());
    vault.initialize(vec![unlock]).await.unwrap();
    let options = ServerOptions { vault: Some(vault.clone()), ..ServerOptions::default() };
    let s = Server::over(vault.handle(), host, vec![], options);
    vault.seal();
    assert_eq!(s.root("POST", PATH, json!({ "path": "kv/a" })).await.0, 503);
}
