//! Answers in Vault's form.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use homelab_core::class::Class;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::ServerState;
use crate::Error;

/// A refusal: `{"errors": […]}`.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    errors: Vec<String>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, errors: vec![error.into()] }
    }

    pub(super) fn invalid(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// Vault says no word about what is not there.
    pub(super) fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, errors: Vec::new() }
    }

    pub(super) fn denied(why: Option<String>) -> Self {
        // One text: `bao` prints several without a break between them.
        let error = why.map_or_else(|| "permission denied".into(), |why| format!("permission denied: {why}"));
        Self::new(StatusCode::FORBIDDEN, error)
    }

    pub(super) fn unsupported() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation")
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error.class() {
            Class::NotFound => Self::not_found(),
            Class::Denied => Self::denied(Some(error.to_string())),
            Class::Retry | Class::Bug => {
                tracing::error!(%error, "the secret server failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
            Class::Invalid if matches!(error, Error::Unsealed { .. }) => {
                tracing::error!(%error, "the secret server failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
            Class::Invalid | Class::Conflict => Self::invalid(error.to_string()),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "errors": self.errors }))).into_response()
    }
}

/// What a handler gives.
pub(super) type Answer = Result<Response, Refused>;

/// Vault's envelope around every answer with a body.
#[derive(Serialize)]
struct Envelope<T> {
    request_id: String,
    lease_id: &'static str,
    renewable: bool,
    lease_duration: u64,
    data: T,
    wrap_info: (),
    warnings: (),
    auth: Value,
}

impl ServerState {
    /// 200 with `data`.
    pub(super) fn answer<T: Serialize>(&self, data: T) -> Answer {
        self.answer_with(StatusCode::OK, data, Value::Null)
    }

    pub(super) fn answer_with<T: Serialize>(&self, status: StatusCode, data: T, auth: Value) -> Answer {
        let mut id = [0; 16];
        self.0.host.random(&mut id)?;
        let request_id = crate::hex::uuid(&id);
        let (lease_id, lease_duration, renewable) = ("", 0, false);
        let body =
            Envelope { request_id, lease_id, renewable, lease_duration, data, wrap_info: (), warnings: (), auth };
        Ok((status, Json(body)).into_response())
    }
}

/// 204.
pub(super) fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A time as Vault writes it; empty where there is none.
pub(super) fn time(at: Option<Timestamp>) -> Value {
    at.map_or_else(String::new, |at| at.to_string()).into()
}

/// Any path that is not served.
pub(super) async fn nothing_here(State(_): State<ServerState>) -> Refused {
    Refused::new(
        StatusCode::NOT_FOUND,
        "no handler for this path: this server has KV v2, auth/kubernetes and auth/token",
    )
}
