//! `/healthz`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use super::metrics::Metrics;

/// Which parts are ready; each part is named before it starts and ready when it says so.
#[derive(Debug, Default)]
pub struct Health {
    parts: Mutex<BTreeMap<&'static str, bool>>,
}

impl Health {
    /// A part that has to be ready before the process is.
    pub fn expect(&self, part: &'static str) {
        self.set(part, false);
    }

    /// That part is ready, or no longer.
    pub fn set(&self, part: &'static str, ready: bool) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(part, ready);
    }

    /// The parts that are not ready.
    pub fn waiting(&self) -> Vec<&'static str> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(_, ready)| !**ready).map(|(part, _)| *part).collect()
    }
}

/// The routes of the metrics listener.
pub fn router(health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(health)
        .merge(Router::new().route("/metrics", get(text)).with_state(metrics))
}

async fn ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    match health.waiting().as_slice() {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        waiting => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", waiting.join(", "))),
    }
}

async fn text(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_part_is() {
        let health = Health::default();
        health.expect("store");
        health.expect("secrets");
        health.set("store", true);
        assert_eq!(health.waiting(), ["secrets"]);
        health.set("secrets", true);
        assert!(health.waiting().is_empty());
    }
}
