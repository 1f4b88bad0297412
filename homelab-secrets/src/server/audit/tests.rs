use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::body::to_bytes;
use serde_json::json;
use tower::ServiceExt as _;

use super::super::{Authenticator, Login, ServerConfig, ServerState, router};
use super::*;
use crate::audit::{Expectations, Line, verify};
use crate::backend::audit::{AuditBlocked, MemoryAudit};
use crate::backend::memory::Memory;
use crate::keys::{SlotKey, Unlock};
use crate::policy::PolicySet;
use crate::store::SecretStore;
use crate::testing::FixedHost;

const ROOT: &str = "planted-root-token-of-the-test";

/// Takes nothing for a token.
struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _: &str, _: &str) -> Result<Login, Error> {
        Err(Error::Denied("not a token".into()))
    }
}

struct Server {
    router: Router,
    log: Arc<MemoryAudit>,
    key: Arc<AuditKey>,
}

/// The server's own routes.
async fn bare() -> Router {
    let host = Arc::new(FixedHost::default());
    let unlock = Unlock::KeyFile(SlotKey::generate(&|buffer| crate::backend::Host::random(&*host, buffer)).unwrap());
    let store = SecretStore::open_or_init(Arc::new(Memory::default()), unlock, host.clone()).await.unwrap();
    let policy = Arc::new(PolicySet::default());
    let config = ServerConfig { store, policy, host, kubernetes: Some(Arc::new(Nobody)) };
    router(ServerState::new(config, Some(ROOT)).unwrap())
}

impl Server {
    async fn new() -> Self {
        let key = Arc::new(AuditKey::new(&[3; 32]).unwrap());
        let log = Arc::new(MemoryAudit::new(key.clone(), Arc::new(FixedHost::default())).unwrap());
        let router = audited(bare().await, Audit::new(log.clone(), key.clone(), Mode::People));
        Self { router, log, key }
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        ask(&self.router, token, method, path, body).await
    }

    async fn root(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(ROOT, method, path, &body).await
    }

    /// The records since the start of the log, without what each has.
    fn records(&self) -> Vec<Value> {
        let text = self.log.text();
        assert!(verify(Line::all("log", &text), &self.key, &Expectations::default()).is_clean());
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).skip(1);
        let plain = |line| {
            let mut record: Value = serde_json::from_slice(line).unwrap();
            ["v", "time", "mac"].iter().for_each(|name| drop(record.as_object_mut().unwrap().remove(*name)));
            record
        };
        lines.map(plain).collect()
    }

    fn said(&self) -> String {
        self.records().iter().map(|record| format!("{record}\n")).collect()
    }
}

async fn ask(router: &Router, token: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(format!("/v1/{path}"));
    if !token.is_empty() {
        request = request.header("x-vault-token", token);
    }
    if method == "PATCH" {
        request = request.header("content-type", "application/merge-patch+json");
    }
    let mut request = request.body(axum::body::Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 7], 5000))));
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn each_request_leaves_its_record() {
    let s = Server::new().await;
    let put = json!({ "data": { "password": "swordfish", "pin": 1234 }, "options": { "cas": 0 } });
    assert_eq!(s.root("POST", "kv/data/web/db", put).await.0, 200);
    assert_eq!(s.root("GET", "kv/data/web/db?version=1&token=x", Value::Null).await.0, 200);
    assert_eq!(s.root("LIST", "kv/metadata/web", Value::Null).await.0, 200);
    assert_eq!(s.root("DELETE", "kv/data/web/db", Value::Null).await.0, 204);
    assert_eq!(s.ask("", "GET", "kv/data/web/db", "").await.0, 403);
    assert_eq!(s.ask("unknown", "POST", "kv/data/web/db", "{}").await.0, 403);
    assert_eq!(s.root("GET", "nowhere/at/all", Value::Null).await.0, 404);
    insta::assert_snapshot!(s.said(), @r#"
    {"accessor":"hmac:8ecc89a52dbee068b981af9fdf1dd12d","body":{"data":{"password":"hmac:eb5ae741096c1376347355dd290807f4","pin":"hmac:2be8b449f74dd2e805b99772fc25b059"},"options":{"cas":0}},"op":"update","path":"kv/data/web/db","remote":"10.0.0.7:5000","seq":2,"type":"request","who":"root"}
    {"accessor":"hmac:8ecc89a52dbee068b981af9fdf1dd12d","op":"update","path":"kv/data/web/db","remote":"10.0.0.7:5000","request":2,"seq":3,"status":200,"type":"answer","version":1,"who":"root"}
    {"accessor":"hmac:8ecc89a52dbee068b981af9fdf1dd12d","op":"read","path":"kv/data/web/db","query":"version=1","remote":"10.0.0.7:5000","seq":4,"status":200,"type":"answer","version":1,"who":"root"}
    {"accessor":"hmac:8ecc89a52dbee068b981af9fdf1dd12d","op":"list","path":"kv/metadata/web","remote":"10.0.0.7:5000","seq":5,"status":200,"type":"answer","who":"root"}
    {"accessor":"hmac:8ecc89a52dbee068b981af9fdf1dd12d","op":"delete","path":"kv/data/web/db","remote":"10.0.0.7:5000","seq":6,"type":"request","who":"root"}
    {"accessor":"hmac:8ecc89a52dbee068b981af9fdf1dd12d","op":"delete","path":"kv/data/web/db","remote":"10.0.0.7:5000","request":6,"seq":7,"status":204,"type":"answer","who":"root"}
    {"error":"denied","op":"read","path":"kv/data/web/db","remote":"10.0.0.7:5000","seq":8,"status":403,"type":"answer"}
    {"error":"denied","op":"update","path":"kv/data/web/db","remote":"10.0.0.7:5000","seq":9,"status":403,"type":"answer"}
    {"accessor":"hmac:8ecc89a52dbee068b981af9fdf1dd12d","error":"notFound","op":"read","path":"nowhere/at/all","remote":"10.0.0.7:5000","seq":10,"status":404,"type":"answer","who":"root"}
    "#);
}

#[tokio::test]
async fn equal_values_can_be_proved_equal() {
    let s = Server::new().await;
    s.root("POST", "kv/data/a", json!({ "data": { "k": "one" } })).await;
    let written = &s.records()[0];
    assert_eq!(written["body"]["data"]["k"], s.key.digest(b"one"));
    assert_eq!(written["accessor"], s.records()[1]["accessor"]);
}

#[tokio::test]
async fn what_watches_the_server_leaves_no_record() {
    let s = Server::new().await;
    for path in UNAUDITED {
        s.ask("", "GET", path, "").await;
        s.ask("", "GET", &format!("{path}/"), "").await;
    }
    assert_eq!(s.records().len(), 0);
}

#[tokio::test]
async fn while_no_record_can_be_made_nothing_is_done_or_answered() {
    let s = Server::new().await;
    s.root("POST", "kv/data/a", json!({ "data": { "k": "planted-old" } })).await;
    assert_eq!(s.ask("", "GET", "sys/health", "").await.0, 200);
    s.log.set_trouble(Some("no space is left"));
    let (status, answer) = s.ask("", "GET", "sys/health", "").await;
    assert!(status == 500 && answer.contains("no space is left"), "{status} {answer}");
    assert_eq!(s.ask("", "GET", "sys/seal-status", "").await.0, 200);
    for (method, body) in [("GET", Value::Null), ("POST", json!({ "data": { "k": "new" } })), ("DELETE", Value::Null)] {
        let (status, answer) = s.root(method, "kv/data/a", body).await;
        assert!(status == 503 && answer.contains("nothing is answered without one: no space is left"), "{answer}");
    }
    s.log.set_trouble(None);
    let (status, answer) = s.root("GET", "kv/data/a", Value::Null).await;
    assert!(status == 200 && answer.contains("planted-old") && answer.contains(r#""version":1"#), "{answer}");
}

/// Takes so many records, then none; says nothing before.
struct Failing(AtomicUsize, watch::Sender<Trouble>);

#[async_trait]
impl AuditSink for Failing {
    async fn append(&self, _: Entry, _: Durability) -> Result<u64, AuditBlocked> {
        let left = self.0.load(Ordering::SeqCst).checked_sub(1).ok_or_else(|| AuditBlocked("it broke".into()))?;
        self.0.store(left, Ordering::SeqCst);
        Ok(1)
    }
    fn trouble(&self) -> watch::Receiver<Trouble> {
        self.1.subscribe()
    }
}

#[tokio::test]
async fn an_answer_without_its_record_does_not_leave() {
    let key = Arc::new(AuditKey::new(&[3; 32]).unwrap());
    let sink = Arc::new(Failing(AtomicUsize::new(2), watch::channel(None).0));
    let router = audited(bare().await, Audit::new(sink.clone(), key, Mode::People));
    let value = r#"{"data":{"k":"planted"}}"#;
    assert_eq!(ask(&router, ROOT, "POST", "kv/data/a", value).await.0, 200);
    let (status, answer) = ask(&router, ROOT, "GET", "kv/data/a", "").await;
    assert!(status == 503 && !answer.contains("planted") && answer.contains("it broke"), "{answer}");
    // A change is refused before it is made.
    assert_eq!(ask(&router, ROOT, "DELETE", "kv/data/a", "").await.0, 503);
    assert_eq!(ask(&router, ROOT, "POST", "kv/data/a", value).await.0, 503);
    sink.0.store(10, Ordering::SeqCst);
    let (status, answer) = ask(&router, ROOT, "GET", "kv/data/a", "").await;
    assert!(status == 200 && answer.contains(r#""version":1"#), "{answer}");
}

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
async fn no_planted_secret_reaches_the_audit_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _quiet = tracing::subscriber::set_default(subscriber);

    let s = Server::new().await;
    let mut refused = String::new();
    let value = json!({ "data": { "k": "planted-value", "n": 987_654_321_u64, "deep": [{ "x": "planted-value" }] } });
    let token = "hls.planted-token-in-a-path-or-header";
    for (who, method, path, body) in [
        (ROOT, "POST", "kv/data/a".to_owned(), value.to_string()),
        (ROOT, "PUT", "kv/data/a".to_owned(), value.to_string()),
        (ROOT, "PATCH", "kv/data/a".to_owned(), value.to_string()),
        (ROOT, "POST", "kv/metadata/a".to_owned(), json!({ "custom_metadata": { "k": "planted-value" } }).to_string()),
        (ROOT, "POST", "kv/data/a".to_owned(), r#"{"data":{"k":"planted-value"#.to_owned()),
        (
            ROOT,
            "POST",
            "kv/data/a".to_owned(),
            json!({ "data": "planted-value", "options": "planted-value" }).to_string(),
        ),
        (ROOT, "POST", "kv/data/a".to_owned(), json!(["planted-value"]).to_string()),
        (ROOT, "POST", "kv/data/a".to_owned(), format!(r#"{{"data":{{"k":"{}"}}}}"#, "planted-value".repeat(90_000))),
        (ROOT, "POST", "kv/destroy/a".to_owned(), json!({ "versions": ["planted-value", 1] }).to_string()),
        (ROOT, "GET", "kv/data/a?version=planted-value&token=planted-value".to_owned(), String::new()),
        (ROOT, "GET", format!("auth/token/lookup/{token}"), String::new()),
        (ROOT, "POST", "auth/token/lookup".to_owned(), json!({ "token": token }).to_string()),
        (ROOT, "POST", "auth/token/create".to_owned(), json!({ "meta": { "k": "planted-value" } }).to_string()),
        (token, "GET", "kv/data/a".to_owned(), String::new()),
        (token, "POST", "kv/data/a".to_owned(), value.to_string()),
        ("", "POST", "auth/kubernetes/login".to_owned(), json!({ "role": "r", "jwt": "planted-jwt" }).to_string()),
        ("", "POST", "auth/kubernetes/login".to_owned(), json!({ "role": "r", "jwt": ["planted-jwt"] }).to_string()),
        ("", "POST", "auth/approle/login".to_owned(), json!({ "role_id": "r", "secret_id": "planted-id" }).to_string()),
        (ROOT, "POST", "nowhere".to_owned(), value.to_string()),
    ] {
        let before = s.records().len();
        let (status, answer) = s.ask(who, method, &path, &body).await;
        assert!(s.records().len() > before, "{method} {path} left no record");
        if status >= 400 {
            write!(refused, "{answer} ").unwrap();
        }
    }
    let (_, created) = s.root("POST", "auth/token/create", json!({})).await;
    let created: Value = serde_json::from_str(&created).unwrap();
    let created = created["auth"]["client_token"].as_str().unwrap();
    s.ask(created, "GET", "kv/data/a", "").await;

    let audit = String::from_utf8(s.log.text()).unwrap();
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("secrets request"), "{logged}");
    for (what, text) in [("audit", &audit), ("log", &logged), ("errors", &refused)] {
        for secret in ["planted-", "987654321", created] {
            assert!(!text.contains(secret), "{what}: {text}");
        }
    }
}
