//! Webhooks of forges. A hook says "go and look", never what there is; who can sign one can cause a poll, and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

use crate::source::Owner;

mod signature;

/// Largest body of a hook; forges send the whole list of commits.
const MAX_BODY: usize = 2 << 20;

/// What the listener needs of the cluster.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// The key that hooks of this GitSync are signed with; none if it does not exist, has none, or its key can not be read.
    async fn key(&self, owner: &Owner) -> Option<Vec<u8>>;
    /// Asks for a poll of this GitSync. False if it could not be asked.
    async fn poll(&self, owner: &Owner) -> bool;
}

/// `POST /hooks/{namespace}/{gitsync}`.
///
/// Answers 202 to a well-signed hook, 401 to every other one and to a GitSync that does not exist, so that nobody learns
/// which there are, 413 to a body that is too large, 503 if the poll could not be asked for.
pub fn hooks_router(hooks: Arc<dyn Hooks>) -> Router {
    Router::new()
        .route("/hooks/{namespace}/{gitsync}", post(receive))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(hooks)
}

async fn receive(
    State(hooks): State<Arc<dyn Hooks>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let owner = Owner { namespace, name };
    // Without a signature there is nothing to check, and no reason to ask the cluster.
    let Some(claim) = signature::claim(&headers).filter(|_| is_name(&owner.namespace) && is_name(&owner.name)) else {
        return StatusCode::UNAUTHORIZED;
    };
    match hooks.key(&owner).await {
        Some(key) if claim.holds(&key, &body) => {
            tracing::debug!(gitsync = %owner, "webhook");
            if hooks.poll(&owner).await { StatusCode::ACCEPTED } else { StatusCode::SERVICE_UNAVAILABLE }
        }
        _ => StatusCode::UNAUTHORIZED,
    }
}

fn is_name(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (1..=253).contains(&text.len()) && text.bytes().all(is_allowed) && !text.starts_with('.')
}

#[cfg(test)]
mod tests;
