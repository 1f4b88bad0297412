//! The application that demo and tests roll out: it answers with its version and the secret it was started with.
//!
//! | variable | meaning |
//! |---|---|
//! | `VERSION` | what it says it is |
//! | `SECRET_DIR` | folder whose files are read once, at start; `/live` reads them each time |
//! | `SECRET_ENV` | prefix of variables that are told as well |
//! | `HEALTH_STATUS` | status of `/healthz`, 200 by default: a bad version that starts all the same |
//! | `PORT` | 8080 by default |

#![expect(clippy::disallowed_methods, reason = "a program reads its environment and its files")]
#![expect(clippy::print_stderr, reason = "a pod's log")]

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

/// Longest wait that `/slow` grants.
const SLOWEST: Duration = Duration::from_secs(60);

struct App {
    about: Value,
    health: StatusCode,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = env::var("PORT").ok().and_then(|p| p.parse::<u16>().ok()).unwrap_or(8080);
    let health = env::var("HEALTH_STATUS").ok().and_then(|s| s.parse().ok()).unwrap_or(StatusCode::OK);
    let app = Arc::new(App { about: about(), health });
    let listener = tokio::net::TcpListener::bind(("::", port)).await?;
    eprintln!("version {} listens on port {port}", app.about["version"]);
    // In-flight answers are finished with `Connection: close`, idle connections are closed, new ones refused.
    axum::serve(listener, router(app)).with_graceful_shutdown(stopped()).await
}

fn router(app: Arc<App>) -> Router {
    let answer = |State(app): State<Arc<App>>| async move { Json(app.about.clone()) };
    let healthz = |State(app): State<Arc<App>>| async move {
        let text = if app.health.is_success() { "ok" } else { "this version is told to be unwell (HEALTH_STATUS)" };
        (app.health, text)
    };
    let slow = |State(app): State<Arc<App>>, Query(query): Query<BTreeMap<String, u64>>| async move {
        let wait = Duration::from_millis(query.get("ms").copied().unwrap_or(0));
        tokio::time::sleep(wait.min(SLOWEST)).await;
        Json(app.about.clone())
    };
    Router::new()
        .route("/", get(answer))
        .route("/live", get(|| async { Json(about()) }))
        .route("/slow", get(slow))
        .route("/healthz", get(healthz))
        .route("/readyz", get(|| async { "ok" }))
        .with_state(app)
}

/// What `/` answers. Everything is read now: a running process never shows a newer secret.
fn about() -> Value {
    let prefix = env::var("SECRET_ENV").unwrap_or_default();
    let told = |name: &str| !prefix.is_empty() && name.starts_with(&prefix) && name != "SECRET_ENV";
    let variables: BTreeMap<String, String> = env::vars().filter(|(name, _)| told(name)).collect();
    json!({
        "version": env::var("VERSION").unwrap_or_else(|_| "unknown".into()),
        "colour": env::var("COLOUR").ok(),
        "secret": env::var("SECRET_DIR").map(|dir| files(Path::new(&dir))).unwrap_or_default(),
        "env": variables,
        "pod": env::var("HOSTNAME").unwrap_or_default(),
    })
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(dir).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let read = |entry: &std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path()).ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), text))
    };
    entries.iter().filter_map(read).collect()
}

async fn stopped() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
        }
        Err(error) => {
            eprintln!("can not listen for SIGTERM: {error}");
            std::future::pending::<()>().await;
        }
    }
}
