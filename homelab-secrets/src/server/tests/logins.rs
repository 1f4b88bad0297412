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

/// An issuer that serves its documents.
#[derive(Debug, Default)]
struct Documents(Mutex<std::collections::BTreeMap<String, String>>, std::sync::atomic::AtomicUsize);

#[async_trait]
impl Fetch for Documents {
    async fn get(&self, url: &str, _: Option<&str>) -> Result<Vec<u8>, Error> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let found = self.0.lock().unwrap().get(url).cloned();
        found.map(String::into_bytes).ok_or_else(|| Error::Backend(format!("{url}: it can not be reached")))
    }
}

fn claims(more: Value) -> Value {
    let mut all = json!({
        "iss": "https://id.home", "aud": "homelab", "sub": "7", "name": "anna", "exp": 1_800_000_300,
        "groups": ["family", "system:masters"],
    });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

#[tokio::test]
async fn people_log_in_with_what_their_issuer_signed() {
    let s = Server::new(vec![]).await;
    let issuer = jwt::tests::Issuer::new();
    s.root("POST", "sys/auth/jwt", json!({ "type": "jwt" })).await;
    assert_eq!(login(&s, "jwt", json!({ "role": "person", "jwt": "x" })).await.0, 400);
    assert_eq!(s.root("POST", "auth/jwt/config", json!({ "jwks": issuer.keys(), "jwks_url": "x" })).await.0, 400);
    assert_eq!(s.root("POST", "auth/jwt/config", json!({ "jwt_validation_pubkeys": ["x"] })).await.0, 400);
    let config = json!({ "jwks": issuer.keys(), "bound_issuer": "https://id.home", "default_role": "person" });
    assert_eq!(s.root("POST", "auth/jwt/config", config).await.0, 204);
    let role = json!({
        "user_claim": "name", "groups_claim": "groups", "bound_audiences": "homelab", "bound_claims": { "groups": "fam*" },
        "bound_claims_type": "glob", "claim_mappings": { "sub": "id" }, "token_policies": "a", "token_ttl": "15m",
    });
    assert_eq!(s.root("POST", "auth/jwt/role/person", role.clone()).await.0, 204);
    for (field, value) in [("user_claim", ""), ("role_type", "oidc")] {
        let mut bad = role.clone();
        bad[field] = value.into();
        assert_eq!(s.root("POST", "auth/jwt/role/bad", bad).await.0, 400, "{field}");
    }
    assert_eq!(s.root("POST", "auth/jwt/role/bad", json!({ "user_claim": "sub" })).await.0, 400, "no bound");
    let enter = async |token: String| login(&s, "jwt", json!({ "jwt": token })).await;
    let (status, good) = enter(issuer.token("ES256", &claims(json!({})))).await;
    assert_eq!((status, &good["auth"]["lease_duration"]), (200, &json!(900)), "{good}");
    assert_eq!(good["auth"]["metadata"], json!({ "role": "person", "id": "7" }));
    for wrong in [
        json!({ "aud": "other" }),
        json!({ "iss": "https://other" }),
        json!({ "exp": 1_799_999_000 }),
        json!({ "groups": ["x"] }),
        json!({ "name": "system:admin" }),
        json!({ "name": null }),
    ] {
        assert_eq!(enter(issuer.token("ES256", &claims(wrong.clone()))).await.0, 400, "{wrong}");
    }
    let stranger = jwt::tests::Issuer::new();
    let (_, refused) = enter(stranger.token("ES256", &claims(json!({})))).await;
    assert_eq!(refused["errors"], json!(["error validating token: no known key has signed it"]));
    assert_eq!(login(&s, "jwt", json!({ "role": "none", "jwt": "x" })).await.0, 400);
}

#[tokio::test]
async fn an_issuers_keys_are_fetched_and_fetched_again_when_they_change() {
    let first = Server::new(vec![]).await;
    let (old, new) = (jwt::tests::Issuer::new(), jwt::tests::Issuer::new());
    let documents = Arc::new(Documents::default());
    let serve = |keys: Value| {
        let discovery = json!({ "issuer": "https://id.home", "jwks_uri": "https://id.home/keys" });
        let mut all = documents.0.lock().unwrap();
        all.insert("https://id.home/.well-known/openid-configuration".into(), discovery.to_string());
        all.insert("https://id.home/keys".into(), keys.to_string());
    };
    let options = ServerOptions { fetch: Some(documents.clone()), ..ServerOptions::default() };
    let s = Server::over(first.store.clone(), first.host.clone(), vec![], options);
    s.root("POST", "sys/auth/jwt", json!({ "type": "jwt" })).await;
    let config = json!({ "oidc_discovery_url": "https://id.home", "default_role": "p" });
    assert_eq!(s.root("POST", "auth/jwt/config", config.clone()).await.0, 400, "the issuer is away");
    serve(old.keys());
    assert_eq!(s.root("POST", "auth/jwt/config", json!({ "oidc_discovery_url": "https://id.home/x" })).await.0, 400);
    assert_eq!(s.root("POST", "auth/jwt/config", config).await.0, 204);
    s.root("POST", "auth/jwt/role/p", json!({ "user_claim": "name", "bound_audiences": "homelab" })).await;
    let enter = async |issuer: &jwt::tests::Issuer| {
        login(&s, "jwt", json!({ "jwt": issuer.token("EdDSA", &claims(json!({}))) })).await.0
    };
    let fetched = || documents.1.load(std::sync::atomic::Ordering::SeqCst);
    let before = fetched();
    assert_eq!([enter(&old).await, enter(&old).await, enter(&new).await], [200, 200, 400]);
    assert_eq!(fetched(), before, "remembered");
    serve(new.keys());
    s.host.advance(3601);
    let late = claims(json!({ "exp": 1_800_010_000 }));
    let body = json!({ "jwt": new.token("EdDSA", &late) });
    assert_eq!(login(&s, "jwt", body.clone()).await.0, 200, "fetched again");
    documents.0.lock().unwrap().clear();
    s.host.advance(3601);
    assert_eq!(login(&s, "jwt", body).await.0, 200, "old keys while the issuer is away");
    assert_eq!(first.root("POST", "auth/jwt/config", json!({ "jwks_url": "https://id.home/keys" })).await.0, 400);
}

#[tokio::test]
async fn a_pods_token_ends_with_the_pod() {
    let s = Server::new(vec![("web", vec![Capability::Read])]).await;
    s.root("POST", "kv/data/web/a", json!({ "data": {} })).await;
    let (pod, other, account) =
        (s.login("web/api#pod-1").await, s.login("web/api#pod-2").await, s.login("web/api").await);
    let reads = async |token: &str| s.ask(token, "GET", "kv/data/web/a", Value::Null).await.0;
    *s.gone.lock().unwrap() = Some("pod-1");
    assert_eq!(reads(&pod).await, 200, "asked a moment ago");
    s.host.advance(61);
    assert_eq!(
        [reads(&pod).await, reads(&pod).await, reads(&other).await, reads(&account).await],
        [403, 403, 200, 200]
    );
    *s.gone.lock().unwrap() = Some("away");
    s.host.advance(61);
    assert_eq!(reads(&other).await, 200, "an API server that restarts takes no secrets away");
    s.host.advance(400);
    assert_eq!(reads(&other).await, 200);
    *s.gone.lock().unwrap() = None;
    assert_eq!(reads(&other).await, 200);
}

/// Rights by the objects of the cluster, as the chart gives them to its administrator.
struct Administrator;

impl Policy for Administrator {
    fn decide(&self, who: &Identity, path: &str, capability: Capability) -> Decision {
        let admin = matches!(who, Identity::ServiceAccount { account, .. } if account.name == "admin");
        let looker = matches!(who, Identity::ServiceAccount { account, .. } if account.name == "looker");
        let inside = ["sys/", "auth/"].iter().any(|start| path.starts_with(start));
        match inside && (admin || (looker && capability == Capability::Read)) {
            true => Decision::Allow,
            false => Decision::Deny { why: "no rule".into() },
        }
    }
}

#[tokio::test]
async fn logins_and_policies_can_be_given_by_the_objects_of_the_cluster() {
    let first = Server::new(vec![]).await;
    let kubernetes: Option<Arc<dyn Authenticator>> = Some(Arc::new(Trusting(first.host.clone(), first.gone.clone())));
    let config = ServerConfig {
        store: first.store.clone(),
        policy: Arc::new(Administrator),
        host: first.host.clone(),
        kubernetes,
    };
    let s = Server { router: router(ServerState::new(config, None).unwrap()), ..first };
    let (admin, looker, other) =
        (s.login("homelab/admin").await, s.login("homelab/looker").await, s.login("web/web").await);
    let role = json!({
        "audience": "vault", "bound_service_account_names": "eso", "bound_service_account_namespaces": "eso",
        "token_policies": "eso",
    });
    let policy = json!({ "policy": r#"path "kv/data/eso/*" { capabilities = ["read"] }"# });
    for (method, path, body, done) in [
        ("PUT", "sys/policies/acl/eso", policy, 204),
        ("POST", "sys/auth/approle", json!({ "type": "approle" }), 204),
        ("POST", "auth/kubernetes/role/eso", role, 204),
        ("POST", "auth/approle/role/ci", json!({ "token_policies": "eso" }), 204),
        ("GET", "auth/kubernetes/role/eso", Value::Null, 200),
        ("GET", "sys/policies/acl/eso", Value::Null, 200),
        ("LIST", "auth/approle/role", Value::Null, 200),
        ("POST", "auth/approle/role/ci/secret-id", json!({}), 200),
        ("DELETE", "auth/approle/role/ci", Value::Null, 204),
    ] {
        assert_eq!(s.ask(&other, method, path, body.clone()).await.0, 403, "{method} {path}");
        let looks = matches!(method, "GET" | "LIST");
        assert_eq!(s.ask(&looker, method, path, body.clone()).await.0 == 403, !looks, "{method} {path}");
        let (status, answer) = s.ask(&admin, method, path, body).await;
        assert_eq!(status, done, "{method} {path}: {answer}");
    }
    assert_eq!(s.ask(&admin, "POST", "auth/token/create", json!({})).await.0, 403, "tokens are another matter");
    let login = json!({ "role": "eso", "jwt": "eso/eso@vault" });
    assert_eq!(s.ask("", "POST", "auth/kubernetes/login", login).await.0, 200);
}
