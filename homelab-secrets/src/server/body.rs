//! Requests: bodies that are never quoted, and who sends them.

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::ServerState;
use super::answer::Refused;
use super::tokens::Session;
use crate::policy::{Capability, Decision};

/// Somebody with a valid token.
pub(super) struct Caller {
    pub(super) token: Zeroizing<String>,
    pub(super) session: Session,
}

impl FromRequestParts<ServerState> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &ServerState) -> Result<Self, Refused> {
        let token = token(&parts.headers)
            .ok_or_else(|| Refused::denied(Some("the request has no token: log in first".into())))?;
        let session = state.0.tokens.find(&token, state.0.host.now());
        let session = session
            .ok_or_else(|| Refused::denied(Some("the token is not known, or has ended: log in again".into())))?;
        Ok(Self { token, session })
    }
}

/// `X-Vault-Token`, or `Authorization: Bearer`.
fn token(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let text = match headers.get("x-vault-token") {
        Some(value) => value.to_str().ok()?,
        None => headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?,
    };
    (!text.is_empty()).then(|| Zeroizing::new(text.to_owned()))
}

impl ServerState {
    /// Nothing is done for a caller without this.
    pub(super) fn allow(&self, caller: &Caller, path: &str, capability: Capability) -> Result<(), Refused> {
        match self.0.policy.decide(&caller.session.identity, path, capability) {
            Decision::Allow => Ok(()),
            Decision::Deny { why } => {
                tracing::info!(who = %caller.session.identity, path, %capability, why, "denied");
                Err(Refused::denied(Some(why)))
            }
        }
    }
}

/// Parses a body. serde's words may quote it, so they are dropped.
pub(super) fn json<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refused> {
    let body =
        body.map_err(|e| Refused::new(e.status(), "the request's body could not be read, or is larger than 1 MiB"))?;
    serde_json::from_slice(&body).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        Refused::invalid(format!("failed to parse JSON input, or it has another shape (line {line}, column {column})"))
    })
}

/// A PATCH has to say that it is a merge patch.
pub(super) fn expect_merge_patch(headers: &HeaderMap) -> Result<(), Refused> {
    let sent = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if sent.split(';').next().map(str::trim) == Some("application/merge-patch+json") {
        return Ok(());
    }
    Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "PATCH requires Content-Type of application/merge-patch+json"))
}

/// Query of the data and metadata paths.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Query {
    pub(super) version: Option<String>,
    pub(super) list: Option<String>,
}

impl Query {
    pub(super) fn version(&self) -> Result<Option<u64>, Refused> {
        let number = |text: &String| text.parse().map_err(|_| Refused::invalid("version is not a number"));
        self.version.as_ref().filter(|text| !text.is_empty()).map(number).transpose()
    }

    pub(super) fn wants_list(&self) -> bool {
        self.list.as_deref() == Some("true")
    }
}

/// A number, also as text: Vault takes both.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
