use std::fmt::Write as _;
use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use homelab_core::meta::Account;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::backend::memory::Memory;
use crate::keys::{SlotKey, Unlock};
use crate::policy::{Capability, Decision};
use crate::testing::FixedHost;

mod external_secrets;
mod git;
mod key_care;
mod local_check;
mod logins;
mod policy_test;
mod system;
mod token;
mod versions;

const ROOT: &str = "root-token-of-the-test";

/// Accounts may do what stands beside their namespace, below `kv/NAMESPACE/`.
struct Rights(Vec<(&'static str, Vec<Capability>)>);

impl Policy for Rights {
    fn decide(&self, who: &Identity, path: &str, capability: Capability) -> Decision {
        let allowed = match who {
            Identity::Root => true,
            Identity::ServiceAccount { account, .. } => self.0.iter().any(|(namespace, capabilities)| {
                *namespace == account.namespace
                    && path.starts_with(&format!("kv/{namespace}/"))
                    && capabilities.contains(&capability)
            }),
            Identity::User { .. } | Identity::AppRole { .. } | Identity::Token { .. } => false,
        };
        if allowed { Decision::Allow } else { Decision::Deny { why: format!("nobody lets {who} {capability} {path}") } }
    }
}

/// Takes `NAMESPACE/NAME#POD@AUDIENCE` for a token; says no to those that end with what is set, or is `away`.
struct Trusting(Arc<FixedHost>, Arc<Mutex<Option<&'static str>>>);

#[async_trait]
impl Authenticator for Trusting {
    async fn authenticate(&self, credential: &str, audience: &str) -> Result<Login, Error> {
        let (credential, made_for) = credential.split_once('@').unwrap_or((credential, "homelab"));
        if made_for != audience {
            return Err(Error::Denied("another audience".into()));
        }
        match *self.1.lock().unwrap() {
            Some("away") => return Err(Error::Backend("the API server is away".into())),
            Some(gone) if credential.ends_with(gone) => return Err(Error::Denied("its pod is gone".into())),
            _ => {}
        }
        let (credential, pod_uid) = match credential.split_once('#') {
            Some((credential, uid)) => (credential, Some(uid.to_owned())),
            None => (credential, None),
        };
        let account = Account::parse(credential).ok_or_else(|| Error::Denied("not a token".into()))?;
        let ends = self.0.now().checked_add(jiff::SignedDuration::from_mins(10)).ok();
        Ok(Login { identity: Identity::ServiceAccount { account, pod_uid }, ends })
    }
}

struct Server {
    router: Router,
    host: Arc<FixedHost>,
    store: SecretStore,
    rights: Vec<(&'static str, Vec<Capability>)>,
    gone: Arc<Mutex<Option<&'static str>>>,
}

impl Server {
    async fn new(rights: Vec<(&'static str, Vec<Capability>)>) -> Self {
        let host = Arc::new(FixedHost::default());
        let unlock = Unlock::KeyFile(SlotKey::generate(&|buffer| host.random(buffer)).unwrap());
        let store = SecretStore::open_or_init(Arc::new(Memory::default()), unlock, host.clone()).await.unwrap();
        Self::over(store, host, rights, ServerOptions::default())
    }

    fn over(
        store: SecretStore,
        host: Arc<FixedHost>,
        rights: Vec<(&'static str, Vec<Capability>)>,
        options: ServerOptions,
    ) -> Self {
        let gone = Arc::new(Mutex::new(None));
        let kubernetes: Option<Arc<dyn Authenticator>> = Some(Arc::new(Trusting(host.clone(), gone.clone())));
        let policy = Arc::new(Rights(rights.clone()));
        let config = ServerConfig { store: store.clone(), policy, host: host.clone(), kubernetes };
        let state = ServerState::with_options(config, Some(ROOT), options).unwrap();
        Self { router: router(state), host, store, rights, gone }
    }

    /// Another process on the same store.
    fn restarted(&self) -> Self {
        Self::over(self.store.clone(), self.host.clone(), self.rights.clone(), ServerOptions::default())
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(format!("/v1/{path}"));
        if !token.is_empty() {
            request = request.header("x-vault-token", token);
        }
        if method == "PATCH" {
            request = request.header("content-type", "application/merge-patch+json");
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let (status, answer) = self.send(request.body(body).unwrap()).await;
        (status.as_u16(), answer)
    }

    async fn root(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.ask(ROOT, method, path, body).await
    }

    async fn login(&self, account: &str) -> String {
        let (status, answer) =
            self.ask("", "POST", "auth/kubernetes/login", json!({ "role": "homelab-agent", "jwt": account })).await;
        assert_eq!(status, 200, "{answer}");
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_life_of_a_secret_over_http() {
    let s = Server::new(vec![]).await;
    let (status, put) = s.root("POST", "kv/data/web/db", json!({ "data": { "password": "one" } })).await;
    assert_eq!((status, &put["data"]["version"]), (200, &json!(1)));
    assert_eq!(
        s.root("PUT", "kv/data/web/db", json!({ "data": { "password": "two" }, "options": { "cas": "1" } })).await.0,
        200
    );
    let cas = s.root("POST", "kv/data/web/db", json!({ "data": { "password": "x" }, "options": { "cas": 1 } })).await;
    assert_eq!(cas, (400, json!({ "errors": ["check-and-set parameter did not match the current version"] })));
    assert_eq!(s.root("PATCH", "kv/data/web/db", json!({ "data": { "user": "me" } })).await.0, 200);

    let (_, mut read) = s.root("GET", "kv/data/web/db", Value::Null).await;
    read["request_id"] = "…".into();
    insta::assert_json_snapshot!(read, @r#"
    {
      "auth": null,
      "data": {
        "data": {
          "password": "two",
          "user": "me"
        },
        "metadata": {
          "created_time": "2027-01-15T08:00:00Z",
          "custom_metadata": null,
          "deletion_time": "",
          "destroyed": false,
          "version": 3
        }
      },
      "lease_duration": 0,
      "lease_id": "",
      "renewable": false,
      "request_id": "…",
      "warnings": null,
      "wrap_info": null
    }
    "#);
    assert_eq!(
        s.root("GET", "kv/data/web/db?version=1", Value::Null).await.1["data"]["data"],
        json!({ "password": "one" })
    );
    assert_eq!(s.root("GET", "kv/data/web/db?version=9", Value::Null).await, (404, json!({ "errors": [] })));

    assert_eq!(s.root("DELETE", "kv/data/web/db", Value::Null).await, (204, Value::Null));
    let (status, gone) = s.root("GET", "kv/data/web/db", Value::Null).await;
    assert_eq!((status, &gone["data"]["data"], &gone["data"]["metadata"]["version"]), (404, &Value::Null, &json!(3)));
    assert_eq!(s.root("POST", "kv/undelete/web/db", json!({ "versions": ["3"] })).await.0, 204);
    assert_eq!(s.root("GET", "kv/data/web/db", Value::Null).await.0, 200);
    assert_eq!(s.root("POST", "kv/delete/web/db", json!({ "versions": [2] })).await.0, 204);
    assert_eq!(s.root("PUT", "kv/destroy/web/db", json!({ "versions": [1] })).await.0, 204);
    assert_eq!(
        s.root("POST", "kv/destroy/web/db", json!({})).await,
        (400, json!({ "errors": ["no version number provided"] }))
    );

    assert_eq!(
        s.root("POST", "kv/metadata/web/db", json!({ "max_versions": 5, "custom_metadata": { "owner": "me" } }))
            .await
            .0,
        204
    );
    assert_eq!(
        s.root("PATCH", "kv/metadata/web/db", json!({ "delete_version_after": "1h", "cas_required": true })).await.0,
        204
    );
    let (_, metadata) = s.root("GET", "kv/metadata/web/db", Value::Null).await;
    insta::assert_json_snapshot!(metadata["data"], @r#"
    {
      "cas_required": true,
      "created_time": "2027-01-15T08:00:00Z",
      "current_version": 3,
      "custom_metadata": {
        "owner": "me"
      },
      "delete_version_after": "1h0m0s",
      "max_versions": 5,
      "oldest_version": 1,
      "updated_time": "2027-01-15T08:00:00Z",
      "versions": {
        "1": {
          "created_time": "2027-01-15T08:00:00Z",
          "deletion_time": "",
          "destroyed": true
        },
        "2": {
          "created_time": "2027-01-15T08:00:00Z",
          "deletion_time": "2027-01-15T08:00:00Z",
          "destroyed": false
        },
        "3": {
          "created_time": "2027-01-15T08:00:00Z",
          "deletion_time": "",
          "destroyed": false
        }
      }
    }
    "#);
    for list in
        [s.root("LIST", "kv/metadata", Value::Null).await, s.root("GET", "kv/metadata/?list=true", Value::Null).await]
    {
        assert_eq!((list.0, &list.1["data"]["keys"]), (200, &json!(["web/"])));
    }
    assert_eq!(s.root("LIST", "kv/metadata/web/", Value::Null).await.1["data"]["keys"], json!(["db"]));
    assert_eq!(s.root("LIST", "kv/metadata/none", Value::Null).await.0, 404);
    assert_eq!(s.root("DELETE", "kv/metadata/web/db", Value::Null).await.0, 204);
    assert_eq!(s.root("GET", "kv/metadata/web/db", Value::Null).await.0, 404);
}

#[tokio::test]
async fn every_path_of_data_is_decided_by_the_policy() {
    use Capability::{Create, Delete, List, Patch, Read, Sudo, Update};
    let requests = [
        ("GET", "kv/data/ns/a", Value::Null, Read),
        ("GET", "kv/metadata/ns/a", Value::Null, Read),
        ("LIST", "kv/metadata/ns/", Value::Null, List),
        ("GET", "kv/metadata/ns/?list=true", Value::Null, List),
        ("POST", "kv/data/ns/new", json!({ "data": {} }), Create),
        ("POST", "kv/data/ns/a", json!({ "data": {} }), Update),
        ("PATCH", "kv/data/ns/a", json!({ "data": {} }), Patch),
        ("POST", "kv/metadata/ns/newer", json!({}), Create),
        ("POST", "kv/metadata/ns/a", json!({}), Update),
        ("PATCH", "kv/metadata/ns/a", json!({}), Patch),
        ("DELETE", "kv/data/ns/a", Value::Null, Delete),
        ("POST", "kv/delete/ns/a", json!({ "versions": [1] }), Delete),
        ("POST", "kv/undelete/ns/a", json!({ "versions": [1, 2, 3, 4] }), Update),
        ("POST", "kv/destroy/ns/a", json!({ "versions": [1] }), Sudo),
        ("DELETE", "kv/metadata/ns/a", Value::Null, Sudo),
    ];
    let all = [Create, Read, Update, Patch, Delete, List, Sudo];
    for (method, path, body, needed) in requests {
        for (namespace, capabilities, status) in [
            ("none", vec![], 403),
            ("ns", all.into_iter().filter(|c| *c != needed).collect(), 403),
            ("ns", vec![needed], 0),
            ("other", all.to_vec(), 403),
        ] {
            let s = Server::new(vec![(namespace, capabilities)]).await;
            s.root("POST", "kv/data/ns/a", json!({ "data": { "k": "v" } })).await;
            let token = s.login(&format!("{namespace}/default")).await;
            let (got, answer) = s.ask(&token, method, path, body.clone()).await;
            match status {
                403 => {
                    let why = answer["errors"][0].as_str().unwrap();
                    assert!(
                        got == 403 && why.starts_with("permission denied: nobody lets"),
                        "{method} {path}: {got} {why}"
                    );
                }
                _ => assert!(matches!(got, 200 | 204), "{method} {path} with {needed}: {got} {answer}"),
            }
            assert_eq!(s.ask("", method, path, body.clone()).await.0, 403, "{method} {path} without a token");
        }
    }
}

#[tokio::test]
async fn tokens_begin_are_renewed_and_end_with_their_proof() {
    let s = Server::new(vec![("web", vec![Capability::Read])]).await;
    let token = s.login("web/default").await;
    let (_, about) = s.ask(&token, "GET", "auth/token/lookup-self", Value::Null).await;
    assert_eq!(
        (&about["data"]["ttl"], &about["data"]["meta"]["service_account_namespace"]),
        (&json!(600), &json!("web"))
    );
    s.host.advance(300);
    let (_, renewed) = s.ask(&token, "POST", "auth/token/renew-self", json!({})).await;
    assert_eq!(renewed["auth"]["lease_duration"], 300, "not beyond the pod's token");
    s.host.advance(300);
    assert_eq!(s.ask(&token, "GET", "auth/token/lookup-self", Value::Null).await.0, 403);

    let token = s.login("web/default").await;
    let bearer =
        Request::builder().uri("/v1/auth/token/lookup-self").header("authorization", format!("Bearer {token}"));
    assert_eq!(s.send(bearer.body(Body::empty()).unwrap()).await.0, StatusCode::OK);
    assert_eq!(s.ask(&token, "POST", "auth/token/revoke-self", Value::Null).await.0, 204);
    assert_eq!(s.ask(&token, "GET", "kv/data/web/a", Value::Null).await.0, 403);
    assert_eq!(s.ask("", "POST", "auth/kubernetes/login", json!({ "jwt": "nonsense" })).await.0, 403);
    assert_eq!(s.ask("", "POST", "auth/kubernetes/login", json!({ "role": "homelab-agent" })).await.0, 400);
    assert_eq!(s.root("GET", "auth/token/lookup-self", Value::Null).await.1["data"]["policies"], json!(["root"]));
}

#[tokio::test]
async fn clients_find_a_kv_mount_of_version_2() {
    let s = Server::new(vec![]).await;
    for path in ["sys/health", "sys/seal-status"] {
        let (status, answer) = s.ask("", "GET", path, Value::Null).await;
        assert_eq!((status, &answer["sealed"], &answer["initialized"]), (200, &json!(false), &json!(true)));
    }
    let (_, mount) = s.root("GET", "sys/internal/ui/mounts/kv/web/db", Value::Null).await;
    assert_eq!((&mount["data"]["path"], &mount["data"]["options"]["version"]), (&json!("kv/"), &json!("2")));
    assert_eq!(s.root("GET", "sys/mounts", Value::Null).await.1["data"]["kv/"]["type"], "kv");
    assert_eq!(s.ask("", "GET", "sys/mounts", Value::Null).await.0, 403);
    assert_eq!(s.root("GET", "sys/internal/ui/mounts/nope/x", Value::Null).await.0, 403);
    assert_eq!(s.root("GET", "something/else", Value::Null).await.0, 404);
}

#[tokio::test]
async fn bad_requests_are_refused_in_vaults_form() {
    let s = Server::new(vec![]).await;
    let bad = async |method, path, body| {
        let (status, answer) = s.root(method, path, body).await;
        format!("{status} {}", answer["errors"])
    };
    assert_eq!(bad("POST", "kv/data/a", json!({})).await, r#"400 ["no data provided"]"#);
    assert_eq!(
        bad("POST", "kv/data/a", json!({ "data": {}, "options": { "cas": "x" } })).await,
        r#"400 ["cas is not a number"]"#
    );
    assert_eq!(bad("GET", "kv/data/a?version=x", Value::Null).await, r#"400 ["version is not a number"]"#);
    assert_eq!(bad("GET", "kv/destroy/a", Value::Null).await, r#"405 ["unsupported operation"]"#);
    assert_eq!(
        bad("GET", "kv/data/a/../b", Value::Null).await,
        r#"400 ["the path has an empty part, `.` or `..`: relative paths are not supported"]"#
    );
    assert_eq!(
        bad("GET", "kv/data/a/%2e%2e/b", Value::Null).await,
        r#"400 ["the path has an empty part, `.` or `..`: relative paths are not supported"]"#
    );
    assert_eq!(
        bad("POST", "kv/metadata/a", json!({ "max_versions": "many" })).await,
        r#"400 ["max_versions has the wrong type"]"#
    );
    let large = Request::post("/v1/kv/data/a")
        .header("x-vault-token", ROOT)
        .body(Body::from(vec![b' '; MAX_BODY + 1]))
        .unwrap();
    assert_eq!(s.send(large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let plain = Request::patch("/v1/kv/data/a").header("x-vault-token", ROOT).body(Body::from("{}")).unwrap();
    assert_eq!(s.send(plain).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_planted_secret_reaches_log_error_or_debug() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    // With one subscriber alone, tests on other threads would switch its events off (tracing-core's `JustOne`).
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let _quiet = tracing::subscriber::set_default(subscriber);

    let s = Server::new(vec![("web", vec![Capability::Read])]).await;
    let mut shown = String::new();
    let planted = json!({ "data": { "k": "planted-value" } });
    s.root("POST", "kv/data/web/a", planted.clone()).await;
    let token = s.login("web/planted-jwt").await;
    for (who, method, path, body) in [
        (&*token, "POST", "kv/data/web/a", planted.clone()),
        (ROOT, "POST", "kv/data/web/a", json!({ "data": { "k": "planted-value" }, "options": { "cas": 9 } })),
        (ROOT, "POST", "kv/data/web/a", json!({ "data": "planted-value" })),
        (ROOT, "POST", "kv/data/web/a", json!({ "data": ["planted-value"], "options": "planted-value" })),
        (ROOT, "PATCH", "kv/data/web/none", planted.clone()),
        (ROOT, "POST", "kv/data/web/a", json!({ "data": { "k": "planted-value".repeat(60_000) } })),
        ("planted-token", "GET", "kv/data/web/a", Value::Null),
        ("", "POST", "auth/kubernetes/login", json!({ "jwt": "planted-bad-jwt" })),
        ("", "POST", "auth/kubernetes/login", json!({ "jwt": ["planted-bad-jwt"] })),
    ] {
        let (status, answer) = s.ask(who, method, path, body).await;
        assert!(status >= 400, "{method} {path}: {status}");
        write!(shown, "{answer} ").unwrap();
    }
    let raw = Request::post("/v1/kv/data/a")
        .header("x-vault-token", ROOT)
        .body(Body::from(r#"{"data":{"k":"planted-value"#))
        .unwrap();
    write!(shown, "{}", s.send(raw).await.1).unwrap();
    s.root("GET", "kv/data/web/a", Value::Null).await;

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("secrets request") && logged.contains("logged in"), "{logged}");
    // The account's name is not secret; here it is the credential, so the login line has it.
    let [shown, logged] = [shown, logged].map(|text| text.replace("serviceaccount web/planted-jwt", ""));
    for text in [&shown, &logged] {
        assert!(!text.contains("planted-") && !text.contains(ROOT) && !text.contains(&token), "{text}");
    }
}

#[tokio::test]
async fn who_takes_a_pinned_version_away_is_warned() {
    let s = Server::new(Vec::new()).await;
    for _ in 0..5 {
        assert_eq!(s.root("POST", "kv/data/web/db", json!({ "data": { "a": "b" } })).await.0, 200);
    }
    let pins: Vec<_> = [2, 3, 4, 5].map(|version| ("kv/web/db".to_owned(), version)).into();
    s.store.pin("App.homelab.dev web/web@1a2b", &pins).await.unwrap();
    for (method, path, body, expected) in [
        ("POST", "kv/delete/web/db", json!({ "versions": [1] }), None),
        (
            "DELETE",
            "kv/data/web/db",
            Value::Null,
            Some("version 5 of kv/web/db was in use by App.homelab.dev web/web@1a2b and was deleted"),
        ),
        ("POST", "kv/delete/web/db", json!({ "versions": [4] }), Some("version 4 of kv/web/db was in use")),
        ("PUT", "kv/destroy/web/db", json!({ "versions": [1, 3] }), Some("version 3 of kv/web/db was in use")),
        ("PUT", "kv/destroy/web/db", json!({ "versions": [3] }), None),
        ("DELETE", "kv/metadata/web/db", Value::Null, Some("versions 2, 4, 5 of kv/web/db were in use")),
    ] {
        let (status, answer) = s.root(method, path, body).await;
        match expected {
            None => assert_eq!(status, 204, "{path}: {answer}"),
            Some(words) => {
                assert_eq!(status, 200, "{path}");
                assert!(answer["warnings"][0].as_str().unwrap().starts_with(words), "{answer}");
            }
        }
    }
}
