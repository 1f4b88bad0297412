//! Logs: to stderr, as text or JSON lines; `RUST_LOG` chooses what, as everywhere in Rust.

use std::io::IsTerminal as _;
use std::sync::Arc;

use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::metrics::{Metrics, RECONCILE_SPAN, ReconcileTimes};

const DEFAULT: &str = "info,kube_client=warn,kube_runtime=warn,hyper=warn,h2=warn,rustls=warn";

/// Starts logging; a second call changes nothing.
pub(crate) fn start(json: bool, metrics: Arc<Metrics>) {
    let filter = EnvFilter::builder().try_from_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    // These spans are for the metrics, whatever the log shows; lines of the log name their objects themselves.
    let filter = filter.and(filter_fn(|metadata| !is_reconciliation(metadata)));
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match json {
        true => text.json().with_filter(filter).boxed(),
        false => text.with_target(false).with_filter(filter).boxed(),
    };
    let times = ReconcileTimes(metrics).with_filter(filter_fn(is_reconciliation));
    let _ = tracing_subscriber::registry().with(lines).with(times).try_init();
}

fn is_reconciliation(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.is_span() && metadata.name() == RECONCILE_SPAN
}
