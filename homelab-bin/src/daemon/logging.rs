//! Logs: to stderr, as text or JSON lines; `RUST_LOG` chooses what, as everywhere in Rust.

use std::io::IsTerminal as _;
use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::metrics::{Metrics, ReconcileTimes};

const DEFAULT: &str = "info,kube_client=warn,kube_runtime=warn,hyper=warn,h2=warn,rustls=warn";
/// kube's span of a reconciliation has level INFO in this target; the metrics need it whatever the log shows.
const SPANS: &str = "kube_runtime=info";

/// Starts logging; a second call changes nothing.
pub(super) fn start(json: bool, metrics: Arc<Metrics>) {
    let filter = EnvFilter::builder().try_from_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match json {
        true => text.json().with_filter(filter).boxed(),
        false => text.with_target(false).with_filter(filter).boxed(),
    };
    let times = ReconcileTimes(metrics).with_filter(EnvFilter::new(SPANS));
    let _ = tracing_subscriber::registry().with(lines).with(times).try_init();
}
