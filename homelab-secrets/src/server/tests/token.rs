//! `auth/token/…`

use super::*;

async fn create(s: &Server, by: &str, body: Value) -> (u16, Value) {
    let (status, answer) = s.ask(by, "POST", "auth/token/create", body).await;
    (status, if status == 200 { answer["auth"].clone() } else { answer["errors"].clone() })
}

fn token(auth: &Value) -> String {
    auth["client_token"].as_str().unwrap().to_owned()
}

async fn alive(s: &Server, token: &str) -> bool {
    s.ask(token, "GET", "auth/token/lookup-self", Value::Null).await.0 == 200
}

#[tokio::test]
async fn a_token_carries_what_it_was_made_with() {
    let s = Server::new(vec![]).await;
    let wish = json!({
        "policies": ["a"], "ttl": "1h", "explicit_max_ttl": "2h", "display_name": "b c", "meta": { "k": "v" }, "num_uses": 5,
    });
    let (status, auth) = create(&s, ROOT, wish).await;
    assert_eq!((status, &auth["policies"], &auth["lease_duration"]), (200, &json!(["a", "default"]), &json!(3600)));
    let held = token(&auth);
    let (_, looked) = s.root("POST", "auth/token/lookup", json!({ "token": held })).await;
    let mut data = looked["data"].clone();
    assert_eq!(data["id"], json!(held));
    for field in ["id", "accessor"] {
        data[field] = "…".into();
    }
    insta::assert_json_snapshot!(data, @r#"
    {
      "accessor": "…",
      "creation_time": 1800000000,
      "creation_ttl": 3600,
      "display_name": "token-b-c",
      "entity_id": "",
      "expire_time": "2027-01-15T09:00:00Z",
      "explicit_max_ttl": 7200,
      "id": "…",
      "issue_time": "2027-01-15T08:00:00Z",
      "meta": {
        "k": "v"
      },
      "num_uses": 5,
      "orphan": false,
      "path": "auth/token/create",
      "policies": [
        "a",
        "default"
      ],
      "renewable": true,
      "ttl": 3600,
      "type": "service"
    }
    "#);
    let accessor = json!({ "accessor": auth["accessor"] });
    assert_eq!(s.root("POST", "auth/token/lookup-accessor", accessor.clone()).await.1["data"]["id"], "");
    assert_eq!(s.root("POST", "auth/token/lookup", json!({ "token": "none" })).await.0, 403);
    assert_eq!(s.root("POST", "auth/token/lookup-accessor", json!({ "accessor": "none" })).await.0, 400);
    assert_eq!(s.root("LIST", "auth/token/accessors", Value::Null).await.1["data"]["keys"], json!([auth["accessor"]]));

    s.host.advance(3000);
    let (_, renewed) = s.root("POST", "auth/token/renew", json!({ "token": held, "increment": "30m" })).await;
    assert_eq!(renewed["auth"]["lease_duration"], 1800);
    s.host.advance(1700);
    let (_, renewed) = s.root("POST", "auth/token/renew-accessor", accessor.clone()).await;
    assert_eq!((&renewed["auth"]["lease_duration"], &renewed["auth"]["client_token"]), (&json!(2500), &json!("")));
    assert_eq!(s.root("POST", "auth/token/revoke-accessor", accessor.clone()).await.0, 204);
    assert!(!alive(&s, &held).await);
    assert!(s.root("POST", "auth/token/revoke-accessor", accessor).await.1["warnings"].is_array());
}

#[tokio::test]
async fn uses_are_counted_across_a_restart() {
    let s = Server::new(vec![]).await;
    let held = token(&create(&s, ROOT, json!({ "policies": ["a"], "num_uses": 3 })).await.1);
    assert!(alive(&s, &held).await);
    let s = s.restarted();
    let (_, about) = s.root("POST", "auth/token/lookup", json!({ "token": held })).await;
    assert_eq!(about["data"]["num_uses"], 2);
    assert!(alive(&s, &held).await && alive(&s, &held).await && !alive(&s, &held).await);
    assert!(!alive(&s.restarted(), &held).await);
    assert_eq!(s.root("POST", "auth/token/create", json!({ "num_uses": -1 })).await.0, 400);
}

#[tokio::test]
async fn children_end_with_their_parents_and_orphans_do_not() {
    let s = Server::new(vec![]).await;
    let text = r#"path "auth/token/*" { capabilities = ["create", "update"] }"#;
    s.root("PUT", "sys/policies/acl/maker", json!({ "policy": text })).await;
    let parent = token(&create(&s, ROOT, json!({ "policies": ["maker"], "ttl": "1h" })).await.1);
    let child = token(&create(&s, &parent, json!({})).await.1);
    let grandchild = token(&create(&s, &child, json!({})).await.1);
    let (_, orphan) = s.ask(&parent, "POST", "auth/token/create-orphan", json!({})).await;
    let orphan = token(&orphan["auth"]);
    let s = s.restarted();
    for held in [&parent, &child, &grandchild, &orphan] {
        assert!(alive(&s, held).await, "kept");
    }
    assert_eq!(s.root("POST", "auth/token/revoke", json!({ "token": parent })).await.0, 204);
    let after =
        [alive(&s, &parent).await, alive(&s, &child).await, alive(&s, &grandchild).await, alive(&s, &orphan).await];
    assert_eq!(after, [false, false, false, true]);
    assert!(alive(&s.restarted(), &orphan).await && !alive(&s.restarted(), &child).await);
    assert_eq!(s.store.documents::<Value>("token").await.unwrap().len(), 1, "nothing is left of the others");

    let parent = token(&create(&s, ROOT, json!({ "policies": ["maker"], "ttl": "1h" })).await.1);
    let child = token(&create(&s, &parent, json!({ "ttl": "10h" })).await.1);
    s.host.advance(3601);
    assert!(!alive(&s, &child).await, "its parent has ended");
    let parent = token(&create(&s, ROOT, json!({ "policies": ["maker"] })).await.1);
    let child = token(&create(&s, &parent, json!({})).await.1);
    assert_eq!(s.root("POST", "auth/token/revoke-orphan", json!({ "token": parent })).await.0, 204);
    assert!(!alive(&s, &parent).await && alive(&s, &child).await && alive(&s.restarted(), &child).await);
}

#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let s = Server::new(vec![("web", vec![Capability::Read])]).await;
    let text = r#"path "auth/token/create" { capabilities = ["update"] } path "auth/token/create-orphan" { capabilities = ["update"] }"#;
    s.root("PUT", "sys/policies/acl/maker", json!({ "policy": text })).await;
    s.root(
        "PUT",
        "sys/policies/acl/sudo",
        json!({ "policy": r#"path "auth/token/create" { capabilities = ["update", "sudo"] }"# }),
    )
    .await;
    let maker = token(&create(&s, ROOT, json!({ "policies": ["maker"] })).await.1);
    let why = async |by: &str, body: Value| create(&s, by, body).await.1[0].as_str().map(str::to_owned);
    assert_eq!(why(&maker, json!({ "policies": ["other"] })).await.unwrap(), "child policies must be subset of parent");
    assert_eq!(
        why(&maker, json!({ "no_parent": true })).await.unwrap(),
        "root or sudo privileges required to create orphan token"
    );
    assert_eq!(
        why(&maker, json!({ "period": "1h" })).await.unwrap(),
        "root or sudo privileges required to create periodic token"
    );
    assert!(why(&maker, json!({ "policies": ["root"] })).await.is_some());
    assert!(
        why(&maker, json!({ "id": "chosen" })).await.is_some() && why(&maker, json!({ "ttl": "x" })).await.is_some()
    );
    let sudo = token(&create(&s, ROOT, json!({ "policies": ["sudo"] })).await.1);
    assert_eq!(
        create(&s, &sudo, json!({ "policies": ["other"], "no_parent": true, "no_default_policy": true })).await.1["policies"],
        json!(["other"])
    );
    assert!(why(&sudo, json!({ "policies": ["root"] })).await.is_some(), "sudo is not root");
    let plain = token(&create(&s, ROOT, json!({ "policies": ["other"] })).await.1);
    assert_eq!(create(&s, &plain, json!({})).await.0, 403);

    // What an account may is the account's: a token with named policies has only those, an orphan too.
    s.root("POST", "kv/data/web/a", json!({ "data": {} })).await;
    let role = json!({ "audience": "homelab", "bound_service_account_names": "*", "bound_service_account_namespaces": "web", "policies": "maker" });
    s.root("POST", "auth/kubernetes/role/web", role).await;
    let (_, auth) = s.ask("", "POST", "auth/kubernetes/login", json!({ "role": "web", "jwt": "web/x" })).await;
    let login = token(&auth["auth"]);
    let reads = async |held: &str| s.ask(held, "GET", "kv/data/web/a", Value::Null).await.0;
    let same = token(&create(&s, &login, json!({})).await.1);
    let named = token(&create(&s, &login, json!({ "policies": ["maker"] })).await.1);
    let (_, orphan) = s.ask(&login, "POST", "auth/token/create-orphan", json!({})).await;
    assert_eq!(
        [reads(&login).await, reads(&same).await, reads(&named).await, reads(&token(&orphan["auth"])).await],
        [200, 200, 403, 403]
    );
    s.host.advance(601);
    assert!(!alive(&s, &same).await && !alive(&s, &named).await, "they end with the login");
}

#[tokio::test]
async fn root_tokens_last_and_periodic_ones_are_renewed_for_ever() {
    let s = Server::new(vec![]).await;
    let (_, auth) = create(&s, ROOT, json!({})).await;
    assert_eq!(
        (&auth["policies"], &auth["lease_duration"], &auth["renewable"]),
        (&json!(["root"]), &json!(0), &json!(false))
    );
    let root = token(&auth);
    let periodic = token(&create(&s, &root, json!({ "policies": ["a"], "period": "24h" })).await.1);
    for _ in 0..60 {
        s.host.advance(80_000);
        assert_eq!(
            s.ask(&periodic, "POST", "auth/token/renew-self", json!({})).await.1["auth"]["lease_duration"],
            86_400
        );
    }
    let (_, capped) = s.root("POST", "auth/token/create", json!({ "policies": ["a"], "ttl": "70000h" })).await;
    assert!(
        capped["auth"]["lease_duration"] == 768 * 3600 && capped["warnings"][0].as_str().unwrap().contains("capped")
    );
    assert!(alive(&s.restarted(), &root).await);
    let fixed = token(&create(&s, ROOT, json!({ "policies": ["a"], "renewable": false, "ttl": 60 })).await.1);
    assert_eq!(
        s.ask(&fixed, "POST", "auth/token/renew-self", json!({})).await.1["errors"],
        json!(["lease is not renewable"])
    );
    s.host.advance(60);
    assert!(!alive(&s, &fixed).await);
    assert_eq!(s.ask(ROOT, "POST", "auth/token/revoke-self", json!({})).await.0, 400);
}
