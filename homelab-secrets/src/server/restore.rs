//! `sys/homelab/restore` (POST): puts a backup ([`backup`](crate::backup)) where no store is yet.
//!
//! It is served only by who waits for one, beside the seal. There are no policies yet to say who may, so one account may: it
//! proves itself by a token of its own for our audience, as it would to log in. The store is sealed afterwards; whoever has
//! a key of it opens it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::post;
use axum::{Json, Router};
use homelab_core::meta::{Account, TOKEN_AUDIENCE};
use serde_json::json;

use super::Authenticator;
use super::answer::{Answer, Refused};
use crate::backup::Decoder;
use crate::policy::Identity;
use crate::store::Vault;

/// Largest backup that is taken: it is held in memory.
pub const MAX_BACKUP: usize = 128 * 1024 * 1024;

/// Who waits for a backup, and from whom.
#[derive(Clone)]
pub struct Awaited {
    /// The store that is to be; it has no keys.
    pub vault: Vault,
    /// Proves who sends it.
    pub accounts: Arc<dyn Authenticator>,
    /// Who may.
    pub owner: Account,
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Awaited(from {})", self.owner)
    }
}

/// The one route.
pub fn restore_router(awaited: Awaited) -> Router {
    let route = post(async |state, headers: HeaderMap, body| take(state, &headers, body).await);
    Router::new().route("/v1/sys/homelab/restore", route).layer(DefaultBodyLimit::max(MAX_BACKUP)).with_state(awaited)
}

async fn take(State(awaited): State<Awaited>, headers: &HeaderMap, body: Bytes) -> Answer {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(token) = token else {
        let error = format!("say who you are: Authorization: Bearer, with a token of ServiceAccount {}", awaited.owner);
        return Err(Refused::new(StatusCode::UNAUTHORIZED, error));
    };
    let login = awaited.accounts.authenticate(token, TOKEN_AUDIENCE).await?;
    if !matches!(&login.identity, Identity::ServiceAccount { account, .. } if *account == awaited.owner) {
        let why = format!("{} may not put a backup back, only ServiceAccount {}", login.identity, awaited.owner);
        return Err(Refused::denied(Some(why)));
    }
    let (header, mut decoder) = Decoder::begin(&body[..])?;
    let records = awaited.vault.restore(&mut decoder).await?;
    tracing::warn!(who = %login.identity, store = header.store, made = %header.made, records, "a backup was put back");
    Ok(Json(json!({ "data": { "records": records, "store": header.store, "made": header.made } })).into_response())
}

#[cfg(test)]
mod tests;
