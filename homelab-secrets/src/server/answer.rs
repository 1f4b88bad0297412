//! Answers in Vault's form.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use homelab_core::class::Class;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ServerState;
use crate::Error;
use crate::audit::shown_path;

/// A refusal: `{"errors": […]}`.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    errors: Vec<String>,
    /// Seconds after which the same may work.
    retry: Option<u64>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, errors: vec![error.into()], retry: None }
    }

    pub(super) fn invalid(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// Vault says no word about what is not there.
    pub(super) fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, errors: Vec::new(), retry: None }
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.errors.is_empty()
    }

    pub(super) fn denied(why: Option<String>) -> Self {
        // One text: `bao` prints several without a break between them.
        let error = why.map_or_else(|| "permission denied".into(), |why| format!("permission denied: {why}"));
        Self::new(StatusCode::FORBIDDEN, error)
    }

    pub(super) fn unsupported() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation")
    }

    /// No such path below `sys/` or a login.
    pub(super) fn no_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unsupported path")
    }

    /// Nothing is mounted there.
    pub(super) fn no_route(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no handler for route {:?}. route entry not found.", shown_path(path)))
    }

    pub(super) fn sealed() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed")
    }

    pub(super) fn too_many(seconds: u64) -> Self {
        let error = format!("too many requests: try again in {seconds} s");
        Self { retry: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, error) }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error.class() {
            _ if matches!(error, Error::Sealed) => Self::sealed(),
            // It waits for a person, not for a repair of ours.
            _ if matches!(error, Error::RolledBack(_)) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            _ if matches!(error, Error::ReadOnly(_)) => Self::new(StatusCode::METHOD_NOT_ALLOWED, error.to_string()),
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
        let mut response = (self.status, Json(json!({ "errors": self.errors }))).into_response();
        if let Some(seconds) = self.retry {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// What a handler gives.
pub(super) type Answer = Result<Response, Refused>;

/// Vault's envelope around every answer with a body.
#[derive(Serialize)]
struct Envelope<T> {
    #[serde(flatten, skip_serializing_if = "Map::is_empty")]
    top: Map<String, Value>,
    request_id: String,
    lease_id: &'static str,
    renewable: bool,
    lease_duration: u64,
    data: T,
    wrap_info: (),
    warnings: Option<Vec<String>>,
    auth: Value,
}

impl ServerState {
    /// 200 with `data`.
    pub(super) fn answer<T: Serialize>(&self, data: T) -> Answer {
        self.full(StatusCode::OK, data, Value::Null, Vec::new(), Map::new())
    }

    pub(super) fn answer_with<T: Serialize>(&self, status: StatusCode, data: T, auth: Value) -> Answer {
        self.full(status, data, auth, Vec::new(), Map::new())
    }

    /// 200 with `data` at the top, too: what Vault's system paths do for clients of old.
    pub(super) fn answer_sys(&self, data: Map<String, Value>) -> Answer {
        self.full(StatusCode::OK, data.clone(), Value::Null, Vec::new(), data)
    }

    /// 200 with a token, or with words of warning.
    pub(super) fn answer_auth(&self, auth: Value, warnings: Vec<String>) -> Answer {
        self.full(StatusCode::OK, (), auth, warnings, Map::new())
    }

    /// 204, or 200 if there is something to say about it.
    pub(super) fn done_with(&self, warnings: Vec<String>) -> Answer {
        if warnings.is_empty() { done() } else { self.answer_auth(Value::Null, warnings) }
    }

    /// 404 with a hint, as Vault answers below a mount where no path is.
    pub(super) fn hint(&self, warning: &str) -> Answer {
        self.full(StatusCode::NOT_FOUND, (), Value::Null, vec![warning.into()], Map::new())
    }

    fn full<T: Serialize>(
        &self,
        status: StatusCode,
        data: T,
        auth: Value,
        warnings: Vec<String>,
        top: Map<String, Value>,
    ) -> Answer {
        let request_id = self.uuid()?;
        let (lease_id, lease_duration, renewable) = ("", 0, false);
        let warnings = (!warnings.is_empty()).then_some(warnings);
        let body =
            Envelope { top, request_id, lease_id, renewable, lease_duration, data, wrap_info: (), warnings, auth };
        Ok((status, Json(body)).into_response())
    }

    pub(super) fn uuid(&self) -> Result<String, Error> {
        let mut id = [0; 16];
        self.0.host.random(&mut id)?;
        Ok(crate::hex::uuid(&id))
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

/// The fields of an object.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
