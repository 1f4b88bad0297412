//! What the audit log costs: reads of machines through all of the server but the socket, 16 at a time, with and without
//! it, and reads of which each waits for the disk.
//!
//! ```sh
//! cargo run --release -p homelab-secrets --example audit_cost --features server,embedded -- DIRECTORY SECONDS
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to whoever tries it")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use homelab_core::meta::Account;
use homelab_secrets::Error;
use homelab_secrets::audit::{AuditKey, Mode};
use homelab_secrets::backend::audit_file::{FileAudit, FileConfig, check};
use homelab_secrets::backend::embedded::Embedded;
use homelab_secrets::backend::{System, key_file};
use homelab_secrets::policy::{Capability, Decision, Identity, Policy};
use homelab_secrets::server::audit::{Audit, audited};
use homelab_secrets::server::{Authenticator, Login, ServerConfig, ServerState, router};
use homelab_secrets::store::{Put, SecretPath, SecretStore};
use tower::ServiceExt as _;

const TASKS: usize = 16;
type Any = Box<dyn std::error::Error + Send + Sync>;

/// Whoever is logged in may do everything.
struct Everybody;

impl Policy for Everybody {
    fn decide(&self, _: &Identity, _: &str, _: Capability) -> Decision {
        Decision::Allow
    }
}

/// Takes `NAMESPACE/NAME` for the token of that account.
struct Trusting;

#[async_trait::async_trait]
impl Authenticator for Trusting {
    async fn authenticate(&self, credential: &str, _: &str) -> Result<Login, Error> {
        let account = Account::parse(credential).ok_or_else(|| Error::Denied("no account".into()))?;
        Ok(Login { identity: Identity::account(account), ends: None })
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Any> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, seconds] = &arguments[..] else { return Err("usage: audit_cost DIRECTORY SECONDS".into()) };
    let (folder, time) = (Path::new(folder), Duration::from_secs(seconds.parse()?));
    std::fs::create_dir_all(folder)?;
    let store = folder.join("store.redb");
    let unlock = key_file(&folder.join("store.key"), !store.exists(), &System)?;
    let store = SecretStore::open_or_init(Arc::new(Embedded::open(&store)?), unlock, Arc::new(System)).await?;
    let data = serde_json::from_str(r#"{"user": "web", "password": "correct horse battery staple"}"#)?;
    store.put(&SecretPath::parse("kv/web/db")?, data, Put::default()).await?;
    let key = Arc::new(AuditKey::new(&*store.derived_key(AuditKey::PURPOSE)?)?);
    let kubernetes: Option<Arc<dyn Authenticator>> = Some(Arc::new(Trusting));
    let config = ServerConfig { store, policy: Arc::new(Everybody), host: Arc::new(System), kubernetes };
    let bare = router(ServerState::new(config, Some("root"))?);

    for round in 1..=3 {
        let plain = measure(&bare, time).await?;
        let mut line = format!("round {round}: without audit {plain}");
        for (name, mode) in [("machines' reads", Mode::People), ("each synced", Mode::Always)] {
            let files = FileConfig::new(folder.join("audit"));
            let sink = Arc::new(FileAudit::open(&files, key.clone(), Arc::new(System), None)?);
            let app = audited(bare.clone(), Audit::new(sink.clone(), key.clone(), mode));
            line += &format!(" · audit, {name} {}", measure(&app, time).await?);
        }
        println!("{line}");
    }
    let started = Instant::now();
    let report = check(&folder.join("audit"), &key)?;
    let rate = report.records as f64 / started.elapsed().as_secs_f64();
    println!("checked {} records, {rate:.0}/s, intact: {}", report.records, report.is_intact());
    Ok(())
}

/// Reads for this time; says how many a second, and how long they took.
async fn measure(app: &Router, time: Duration) -> Result<String, Any> {
    let body = r#"{"role": "homelab-agent", "jwt": "web/web"}"#;
    let login = Request::post("/v1/auth/kubernetes/login").body(Body::from(body))?;
    let answer = to_bytes(app.clone().oneshot(login).await?.into_body(), usize::MAX).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let token = answer["auth"]["client_token"].as_str().ok_or_else(|| format!("no login: {answer}"))?.to_owned();
    let until = Instant::now() + time;
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(read_until(app.clone(), token.clone(), until))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    all.sort_unstable();
    let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize].as_micros();
    let rate = all.len() as f64 / time.as_secs_f64();
    Ok(format!("{rate:.0}/s (p50 {} µs, p99 {} µs)", at(0.5), at(0.99)))
}

async fn read_until(app: Router, token: String, until: Instant) -> Result<Vec<Duration>, Any> {
    let mut all = Vec::new();
    while Instant::now() < until {
        let started = Instant::now();
        let request = Request::get("/v1/kv/data/web/db").header("x-vault-token", &token).body(Body::empty())?;
        let response = app.clone().oneshot(request).await?;
        if response.status() != 200 {
            return Err(format!("a read was answered {}", response.status()).into());
        }
        to_bytes(response.into_body(), usize::MAX).await?;
        all.push(started.elapsed());
    }
    Ok(all)
}
