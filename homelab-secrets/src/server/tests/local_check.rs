//! `auth/kubernetes` with `local_check`: ServiceAccounts by the API server's public keys.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::*;
use jwt::tests::Issuer;

const ISSUER: &str = "https://kubernetes.default.svc";

/// An API server's public documents; and how often its keys were asked for.
#[derive(Debug, Default)]
struct ApiServer(Mutex<BTreeMap<&'static str, String>>, AtomicUsize);

impl ApiServer {
    fn serve(&self, issuer: &Issuer) {
        let discovery = json!({ "issuer": ISSUER, "jwks_uri": "https://192.0.2.1/elsewhere" }).to_string();
        let keys = issuer.keys().to_string();
        *self.0.lock().unwrap() = [("/.well-known/openid-configuration", discovery), ("/openid/v1/jwks", keys)].into();
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Fetch for ApiServer {
    async fn get(&self, path: &str, _: Option<&str>) -> Result<Vec<u8>, Error> {
        self.1.fetch_add(usize::from(path == "/openid/v1/jwks"), Ordering::SeqCst);
        let found = self.0.lock().unwrap().get(path).cloned();
        found.map(String::into_bytes).ok_or_else(|| Error::Backend(format!("{path} of the API server: it is away")))
    }
}

/// What Kubernetes says in a token that it projects into a pod, with `more` in place of the same.
fn claims(more: Value) -> Value {
    let mut all = json!({
        "iss": ISSUER, "aud": ["homelab"], "sub": "system:serviceaccount:web:api",
        "exp": 1_800_000_600, "iat": 1_800_000_000, "nbf": 1_800_000_000,
        "kubernetes.io": {
            "namespace": "web", "serviceaccount": { "name": "api", "uid": "uid-0" },
            "pod": { "name": "api-1", "uid": "uid-1" }, "node": { "name": "n1", "uid": "uid-2" },
        },
    });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

async fn login(s: &Server, jwt: &str) -> (u16, Value) {
    s.ask("", "POST", "auth/kubernetes/login", json!({ "jwt": jwt })).await
}

/// A server beside this API server, with the local check on.
async fn beside(api_server: &Arc<ApiServer>) -> Server {
    let first = Server::new(vec![("web", vec![Capability::Read])]).await;
    let options = ServerOptions { api_server: Some(api_server.clone()), ..ServerOptions::default() };
    let s = Server::over(first.store, first.host, first.rights, options);
    let (status, warned) = s.root("POST", "auth/kubernetes/config", json!({ "local_check": true })).await;
    assert!(status == 200 && warned["warnings"][0].as_str().unwrap().contains("until it ends"), "{warned}");
    s
}

#[tokio::test]
async fn what_the_api_server_has_signed_for_us_logs_in() {
    let (api_server, issuer) = (Arc::new(ApiServer::default()), Issuer::new());
    api_server.serve(&issuer);
    let s = beside(&api_server).await;
    *s.gone.lock().unwrap() = Some("away");
    let (status, good) = login(&s, &issuer.token("ES256", &claims(json!({})))).await;
    assert_eq!(status, 200, "the API server is not asked about the token: {good}");
    assert_eq!(
        (&good["auth"]["metadata"]["pod_uid"], &good["auth"]["lease_duration"]),
        (&json!("uid-1"), &json!(600)),
        "bound to its pod, and no longer than the token"
    );
    let token = good["auth"]["client_token"].as_str().unwrap();
    s.root("POST", "kv/data/web/a", json!({ "data": {} })).await;
    assert_eq!(s.ask(token, "GET", "kv/data/web/a", Value::Null).await.0, 200);
    s.host.advance(600);
    assert_eq!(s.ask(token, "GET", "kv/data/web/a", Value::Null).await.0, 403, "it ended");
}

#[tokio::test]
async fn everything_else_is_refused_and_told_why() {
    let (api_server, issuer, stranger) = (Arc::new(ApiServer::default()), Issuer::new(), Issuer::new());
    api_server.serve(&issuer);
    let s = beside(&api_server).await;
    let signed = |more: Value| issuer.token("ES256", &claims(more));
    let good = signed(json!({}));
    let parts: Vec<_> = good.split('.').collect();
    let text = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let other = text(claims(json!({ "sub": "system:serviceaccount:kube-system:root" })));
    // The public key as a shared secret, in each form that somebody has it in.
    let keys = issuer.keys();
    let point = URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
    let confused = |secret: &[u8], key: &str| {
        let message = format!("{}.{}", text(json!({ "alg": "HS256", "typ": "JWT", "kid": key })), parts[1]);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let none = text(json!({ "alg": "none" }));
    let shared = "it is signed with a shared secret, which is not taken";
    let unknown = "no known key has signed it";
    let table = [
        (stranger.token("ES256", &claims(json!({}))), unknown),
        (stranger.token("EdDSA", &claims(json!({}))), unknown),
        (format!("{}.{other}.{}", parts[0], parts[2]), unknown),
        (format!("{}.{}.", parts[0], parts[1]), unknown),
        (format!("{none}.{}.", parts[1]), "it is no signed JWT"),
        (format!("{none}.{}.{}", parts[1], parts[2]), "it is no signed JWT"),
        (confused(&point, "ec"), shared),
        (confused(keys.to_string().as_bytes(), "ec"), shared),
        (confused(b"secret", "shared"), shared),
        (signed(json!({ "exp": 1_799_999_900 })), "it has ended"),
        (signed(json!({ "exp": null })), "a time in it is no number"),
        (signed(json!({ "nbf": 1_800_000_100 })), "it is not valid yet"),
        (signed(json!({ "aud": [ISSUER] })), "it is not made for the audience homelab"),
        (signed(json!({ "aud": [] })), "it is not made for the audience homelab"),
        (signed(json!({ "iss": "https://other" })), "it is of another issuer than https://kubernetes.default.svc"),
        (signed(json!({ "iss": null })), "it is of another issuer than https://kubernetes.default.svc"),
        (signed(json!({ "sub": "anna" })), "it is not one of a ServiceAccount"),
        (signed(json!({ "sub": "system:serviceaccount:web" })), "it is not one of a ServiceAccount"),
        ("a.b.c".into(), "it is no signed JWT"),
    ];
    for (token, why) in table {
        let refused = format!("the token is not accepted: {why}");
        let (status, answer) = login(&s, &token).await;
        let said = answer["errors"].to_string();
        assert!(status == 403 && said.contains(&refused), "{token}: {status} {said}, not {refused}");
        assert!(!said.contains(parts[2]), "{said}");
    }
}

#[tokio::test]
async fn a_role_can_ask_for_a_pod() {
    let (api_server, issuer) = (Arc::new(ApiServer::default()), Issuer::new());
    api_server.serve(&issuer);
    let s = beside(&api_server).await;
    let role = json!({
        "audience": "homelab", "bound_service_account_names": "api", "bound_service_account_namespaces": "web",
        "require_pod": true,
    });
    assert_eq!(s.root("POST", "auth/kubernetes/role/pods", role).await.0, 204);
    let as_role = async |more: Value| {
        let body = json!({ "role": "pods", "jwt": issuer.token("EdDSA", &claims(more)) });
        s.ask("", "POST", "auth/kubernetes/login", body).await.0
    };
    assert_eq!(as_role(json!({})).await, 200);
    assert_eq!(as_role(json!({ "kubernetes.io": { "namespace": "web" } })).await, 403);
    assert_eq!(as_role(json!({ "sub": "system:serviceaccount:db:api" })).await, 403);
}

#[tokio::test]
async fn the_api_servers_keys_are_remembered_and_asked_for_when_a_token_has_another() {
    let (api_server, old, new) = (Arc::new(ApiServer::default()), Issuer::named("old-"), Issuer::named("new-"));
    let s = beside(&api_server).await;
    let token = |issuer: &Issuer| issuer.token("ES256", &claims(json!({ "exp": 1_800_100_000 })));
    let enter = async |issuer: &Issuer| login(&s, &token(issuer)).await.0;
    let (status, away) = login(&s, &token(&old)).await;
    assert!(status == 503 && away["errors"].to_string().contains("of the API server"), "{away}");
    api_server.serve(&old);
    let before = api_server.asked();
    assert_eq!([enter(&old).await, enter(&old).await, enter(&new).await], [200, 200, 403]);
    assert_eq!(api_server.asked() - before, 1, "of unknown keys it is not asked at once");
    s.host.advance(10);
    assert_eq!([enter(&old).await, enter(&new).await, enter(&new).await], [200, 403, 403]);
    assert_eq!(api_server.asked() - before, 2, "and then once");
    api_server.serve(&new);
    assert_eq!(enter(&new).await, 403);
    s.host.advance(10);
    assert_eq!([enter(&new).await, enter(&old).await], [200, 403], "a new key is found, the old one is gone");
    api_server.0.lock().unwrap().clear();
    s.host.advance(3600);
    assert_eq!(enter(&new).await, 200, "known keys are used while the API server is away");
    assert_eq!(s.root("POST", "auth/kubernetes/config", json!({ "local_check": false })).await.0, 204);
    assert_eq!(enter(&new).await, 403, "the API server is asked about tokens again");
}

#[tokio::test]
async fn without_an_api_server_its_keys_have_to_be_given() {
    let (s, issuer) = (Server::new(vec![]).await, Issuer::new());
    let config = async |settings: Value| s.root("POST", "auth/kubernetes/config", settings).await;
    let (status, why) = config(json!({ "local_check": true })).await;
    assert!(status == 400 && why["errors"].to_string().contains("/openid/v1/jwks"), "{why}");
    assert_eq!(config(json!({ "local_check": true, "jwks": issuer.keys() })).await.0, 400, "no issuer");
    assert_eq!(config(json!({ "local_check": true, "jwks": { "keys": [] }, "issuer": ISSUER })).await.0, 400);
    assert_eq!(config(json!({ "local_check": true, "jwks": issuer.keys(), "issuer": ISSUER })).await.0, 200);
    assert_eq!(login(&s, &issuer.token("ES256", &claims(json!({})))).await.0, 200);
    let foreign = issuer.token("ES256", &claims(json!({ "iss": "https://other" })));
    assert_eq!(login(&s, &foreign).await.0, 403);
}

/// What Kubernetes makes, and what only the API server itself can know.
#[cfg(feature = "client")]
#[tokio::test]
#[ignore = "needs a cluster"]
async fn tokens_of_a_real_cluster_are_checked_without_asking_it_about_them() {
    use k8s_openapi::api::authentication::v1::TokenRequest;
    use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
    use kube::api::{DeleteParams, PostParams};
    use kube::{Api, Client};

    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.unwrap();
    let (namespaces, create): (Api<Namespace>, _) = (Api::all(client.clone()), PostParams::default());
    let namespace = serde_json::from_value(json!({ "metadata": { "generateName": "secrets-local-" } })).unwrap();
    let name = namespaces.create(&create, &namespace).await.unwrap().metadata.name.unwrap();
    let (accounts, pods) =
        (Api::<ServiceAccount>::namespaced(client.clone(), &name), Api::<Pod>::namespaced(client.clone(), &name));
    accounts.create(&create, &serde_json::from_value(json!({ "metadata": { "name": "web" } })).unwrap()).await.unwrap();
    // Nobody schedules it: that it exists is all that is needed.
    let pod = json!({
        "metadata": { "name": "web-1" },
        "spec": { "serviceAccountName": "web", "schedulerName": "nobody", "containers": [{ "name": "a", "image": "a" }] },
    });
    let uid = pods.create(&create, &serde_json::from_value(pod).unwrap()).await.unwrap().metadata.uid.unwrap();
    let token = async |audience: &str| {
        let bound = json!({ "apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": uid });
        let spec = json!({ "audiences": [audience], "expirationSeconds": 600, "boundObjectRef": bound });
        let request: TokenRequest = serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap();
        let given = accounts.create_token_request("web", &create, &request).await.unwrap();
        serde_json::to_value(given).unwrap()["status"]["token"].as_str().unwrap().to_owned()
    };
    let (ours, other) = (token("homelab").await, token("elsewhere").await);

    let host = Arc::new(crate::backend::System);
    let unlock = Unlock::KeyFile(SlotKey::generate(&|buffer| host.random(buffer)).unwrap());
    let store = SecretStore::open_or_init(Arc::new(Memory::default()), unlock, host.clone()).await.unwrap();
    let reviewer: Arc<dyn Authenticator> = Arc::new(kubernetes_auth::TokenReviewer::new(client.clone()));
    let config =
        ServerConfig { store: store.clone(), policy: Arc::new(Rights(vec![])), host, kubernetes: Some(reviewer) };
    let documents = Arc::new(kubernetes_auth::ApiServerDocuments::new(client));
    let options = ServerOptions { api_server: Some(documents), ..ServerOptions::default() };
    let router = router(ServerState::with_options(config, Some(ROOT), options).unwrap());
    let s = Server { router, store, host: Arc::default(), rights: vec![], gone: Arc::default() };

    assert_eq!(s.root("POST", "auth/kubernetes/config", json!({ "local_check": true })).await.0, 200);
    let (status, good) = login(&s, &ours).await;
    assert_eq!((status, &good["auth"]["metadata"]["pod_uid"]), (200, &json!(uid)), "{good}");
    let (status, refused) = login(&s, &other).await;
    assert!(status == 403 && refused["errors"].to_string().contains("the audience homelab"), "{refused}");
    let cut = &ours[..ours.len() - 8];
    assert_eq!(login(&s, cut).await.0, 403, "its signature is not whole");
    pods.delete("web-1", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await.unwrap();
    accounts.delete("web", &DeleteParams::default()).await.unwrap();
    assert_eq!(login(&s, &ours).await.0, 200, "what this check does not see");
    assert_eq!(s.root("POST", "auth/kubernetes/config", json!({ "local_check": false })).await.0, 204);
    assert_eq!(login(&s, &ours).await.0, 403, "what the API server does");
    namespaces.delete(&name, &DeleteParams::background()).await.unwrap();
}
