//! The debug listener: what the planner last saw of an App, as a test case of it. On a loopback address only; who may
//! port-forward to the daemon's pod may ask.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use homelab_rollout::controller::Cases;

/// `GET /cases/NAMESPACE/NAME`.
pub(super) fn router(cases: Cases) -> Router {
    Router::new().route("/cases/{namespace}/{name}", get(case)).with_state(cases)
}

async fn case(State(cases): State<Cases>, Path((namespace, name)): Path<(String, String)>) -> Response {
    match cases.get(&namespace, &name) {
        Some(case) => axum::Json(case).into_response(),
        None => {
            (StatusCode::NOT_FOUND, format!("this daemon has not looked at App {namespace}/{name}\n")).into_response()
        }
    }
}
