//! `auth/{kubernetes,approle}`

use super::*;

async fn login(s: &Server, kind: &str, body: Value) -> (u16, Value) {
    let (status, answer) = s.ask("", "POST", &format!("auth/{kind}/login"), body).await;
    (status, answer)
}

#[tokio::test]
async fn a_role_admits_its_accounts_with_its_audience() {
    let s = Server::new(vec![]).await;
    let role = json!({
        "audience": "vault", "bound_service_account_names": ["web-*"], "bound_service_account_namespaces": ["web"],
        "token_policies": ["a"], "token_ttl": "5m", "token_num_uses": 2,
    });
    assert_eq!(s.root("POST", "auth/kubernetes/role/web", role).await.0, 204);
    let (_, read) = s.root("GET", "auth/kubernetes/role/web", Value::Null).await;
    assert_eq!((&read["data"]["audience"], &read["data"]["token_ttl"]), (&json!("vault"), &json!(300)));
    assert_eq!(s.root("LIST", "auth/kubernetes/role", Value::Null).await.1["data"]["keys"], json!(["web"]));
    let (status, good) = login(&s, "kubernetes", json!({ "role": "web", "jwt": "web/web-1@vault" })).await;
    assert_eq!((status, &good["auth"]["lease_duration"], &good["auth"]["num_uses"]), (200, &json!(300), &json!(2)));
    assert_eq!(good["auth"]["metadata"]["role"], "web");
    for (jwt, role) in
        [("web/web-1", "web"), ("web/other@vault", "web"), ("db/web-1@vault", "web"), ("web/web-1@vault", "")]
    {
        assert_eq!(login(&s, "kubernetes", json!({ "role": role, "jwt": jwt })).await.0, 403, "{jwt} as {role}");
    }
    assert_eq!(login(&s, "kubernetes", json!({ "role": "none", "jwt": "web/web-1@vault" })).await.0, 400);
    assert_eq!(login(&s, "kubernetes", json!({ "role": "web" })).await.0, 400);
    let own = json!({
        "audience": "https://kubernetes.default.svc.cluster.local", "bound_service_account_names": "*",
        "bound_service_account_namespaces": "*",
    });
    let (status, warned) = s.root("POST", "auth/kubernetes/role/eso", own).await;
    assert!(status == 200 && warned["warnings"][0].as_str().unwrap().contains("API server's own"));
    let jwt = "eso/eso@https://kubernetes.default.svc.cluster.local";
    let (status, warned) = login(&s, "kubernetes", json!({ "role": "eso", "jwt": jwt })).await;
    assert!(status == 200 && warned["warnings"][0].as_str().unwrap().contains("API server's own"));
    let missing = json!({ "bound_service_account_names": "*", "bound_service_account_namespaces": "*" });
    assert!(
        s.root("POST", "auth/kubernetes/role/x", missing).await.1["errors"][0]
            .as_str()
            .unwrap()
            .contains("audience is required")
    );
    assert_eq!(s.root("DELETE", "auth/kubernetes/role/web", Value::Null).await.0, 204);
    assert_eq!(s.root("GET", "auth/kubernetes/role/web", Value::Null).await.0, 404);
}

#[tokio::test]
async fn logins_are_turned_on_and_off() {
    let s = Server::new(vec![]).await;
    let (_, all) = s.root("GET", "sys/auth", Value::Null).await;
    let kinds: Vec<_> = all["data"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(kinds, ["kubernetes/", "token/"]);
    assert_eq!(s.root("POST", "sys/auth/approle", json!({ "type": "approle" })).await.0, 204);
    for (name, kind) in
        [("approle", "approle"), ("other", "approle"), ("ldap", "ldap"), ("token", "token"), ("approle", "")]
    {
        assert_eq!(s.root("POST", &format!("sys/auth/{name}"), json!({ "type": kind })).await.0, 400, "{name} {kind}");
    }
    assert_eq!(s.root("GET", "sys/auth/approle", Value::Null).await.1["data"]["type"], "approle");
    assert_eq!(s.root("DELETE", "sys/auth/kubernetes", Value::Null).await.0, 204);
    assert_eq!(s.root("DELETE", "sys/auth/token", Value::Null).await.0, 400);
    let s = s.restarted();
    assert_eq!(login(&s, "kubernetes", json!({ "jwt": "web/web" })).await.0, 404);
    assert_eq!(login(&s, "approle", json!({})).await, (400, json!({ "errors": ["missing role_id"] })));
}

#[tokio::test]
async fn programs_log_in_with_a_role_and_a_secret_id() {
    let s = Server::new(vec![]).await;
    s.root("POST", "sys/auth/approle", json!({ "type": "approle" })).await;
    let role = json!({ "token_policies": "ci", "token_ttl": "20m", "secret_id_num_uses": 2, "secret_id_ttl": "10m" });
    assert_eq!(s.root("POST", "auth/approle/role/ci", role).await.0, 204);
    let (_, id) = s.root("GET", "auth/approle/role/ci/role-id", Value::Null).await;
    let id = id["data"]["role_id"].as_str().unwrap().to_owned();
    let secret = async |wish: Value| {
        let (status, made) = s.root("POST", "auth/approle/role/ci/secret-id", wish).await;
        assert_eq!(status, 200, "{made}");
        (made["data"]["secret_id"].as_str().unwrap().to_owned(), made["data"]["secret_id_accessor"].clone())
    };
    let enter =
        async |role: &str, secret: &str| login(&s, "approle", json!({ "role_id": role, "secret_id": secret })).await;
    let (first, accessor) = secret(json!({ "metadata": r#"{"who":"me"}"# })).await;
    let (status, good) = enter(&id, &first).await;
    assert_eq!(
        (status, &good["auth"]["lease_duration"], &good["auth"]["policies"]),
        (200, &json!(1200), &json!(["ci", "default"]))
    );
    assert_eq!(good["auth"]["metadata"], json!({ "role_name": "ci", "who": "me" }));
    let (_, about) = s.root("POST", "auth/approle/role/ci/secret-id/lookup", json!({ "secret_id": first })).await;
    assert_eq!((&about["data"]["secret_id_num_uses"], &about["data"]["secret_id_accessor"]), (&json!(1), &accessor));
    assert_eq!(enter(&id, &first).await.0, 200);
    let invalid = (400, json!({ "errors": ["invalid role or secret ID"] }));
    assert_eq!(enter(&id, &first).await, invalid, "used up");
    let (second, accessor) = secret(json!({ "num_uses": 1 })).await;
    assert_eq!(enter("other", &second).await, invalid);
    assert_eq!(enter(&id, "other").await, invalid);
    assert_eq!(
        s.root("LIST", "auth/approle/role/ci/secret-id", Value::Null).await.1["data"]["keys"],
        json!([accessor])
    );
    s.host.advance(600);
    assert_eq!(enter(&id, &second).await, invalid, "its time is over");
    assert_eq!(s.root("POST", "auth/approle/role/ci/secret-id", json!({ "ttl": "1h" })).await.0, 400);
    assert_eq!(s.root("POST", "auth/approle/role/ci/secret-id", json!({ "num_uses": 3 })).await.0, 400);

    let (bound, accessor) = secret(json!({ "cidr_list": "10.0.0.0/8" })).await;
    assert_eq!(enter(&id, &bound).await, invalid, "from nowhere");
    let from = |address: &str| {
        let body = json!({ "role_id": id, "secret_id": bound }).to_string();
        let mut request = Request::post("/v1/auth/approle/login").body(Body::from(body)).unwrap();
        let peer: SocketAddr = address.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    };
    assert_eq!(s.send(from("192.0.2.1:9")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(s.send(from("10.1.2.3:9")).await.0, StatusCode::OK);
    let destroy = json!({ "secret_id_accessor": accessor });
    assert_eq!(s.root("POST", "auth/approle/role/ci/secret-id-accessor/destroy", destroy).await.0, 204);
    assert_eq!(s.send(from("10.1.2.3:9")).await.0, StatusCode::BAD_REQUEST);

    let (last, _) = secret(json!({})).await;
    assert_eq!(s.root("DELETE", "auth/approle/role/ci", Value::Null).await.0, 204);
    assert_eq!(enter(&id, &last).await, invalid);
    assert!(s.store.documents::<Value>("approle-secret").await.unwrap().is_empty());
    assert_eq!(s.root("POST", "auth/approle/role/ci/secret-id", json!({})).await.0, 404);
    assert_eq!(s.root("POST", "auth/approle/role/x", json!({ "bind_secret_id": false })).await.0, 400);
}

#[tokio::test]
async fn an_answer_says_who_it_was_for() {
    let s = Server::new(vec![("web", vec![Capability::Read])]).await;
    let deed = async |request: Request<Body>| {
        let response = s.router.clone().oneshot(request).await.unwrap();
        response.extensions().get::<Deed>().cloned().unwrap()
    };
    let body = json!({ "jwt": "web/web" }).to_string();
    let entered = deed(Request::post("/v1/auth/kubernetes/login").body(Body::from(body)).unwrap()).await;
    assert_eq!((entered.who.unwrap().to_string(), entered.operation), ("serviceaccount web/web".into(), "update"));
    let read = Request::get("/v1/kv/data/web/a").header("x-vault-token", ROOT).body(Body::empty()).unwrap();
    let read = deed(read).await;
    assert_eq!((read.who, read.path.as_str(), read.operation), (Some(Identity::Root), "kv/data/web/a", "read"));
    let stranger = deed(Request::get("/v1/kv/data/web/a").body(Body::empty()).unwrap()).await;
    assert_eq!((stranger.who, stranger.accessor), (None, None));
}
