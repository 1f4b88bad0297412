//! The HTTP API: KV v2 as Vault serves it, login, and the few `sys` paths that Vault's clients ask for.
//!
//! [`router`] is all there is; listener, TLS and timeouts are the program's. Every access to data is decided by the
//! [`Policy`] that the state was given. Answers are never cached, bodies are bounded, and a body that does not parse is
//! answered without quoting it.
//!
//! Paths of data come as `/v1/MOUNT/{data,metadata,delete,undelete,destroy}/PATH`; the policy sees `MOUNT/PATH` and:
//! `data` GET and `metadata` GET: read · LIST: list · `data` POST: create or update · PATCH: patch · delete: delete ·
//! undelete: update · destroy and `metadata` DELETE, which nothing brings back: sudo.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::middleware::{Next, map_response};
use axum::response::Response;
use axum::routing::{any, get};
use jiff::Timestamp;

use crate::Error;
use crate::backend::Host;
use crate::policy::{Identity, Policy};
use crate::store::SecretStore;

mod answer;
mod auth;
mod body;
#[cfg(feature = "client")]
pub mod kubernetes_auth;
mod kv;
mod metadata;
mod sys;
mod tokens;

use tokens::Tokens;

/// Largest request: a value at its limit, with room for its envelope and escapes.
const MAX_BODY: usize = 1024 * 1024;
/// Logins that are checked at the same time.
const LOGINS: usize = 16;

/// A proved identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who it is.
    pub identity: Identity,
    /// When the proof itself ends; what is given for it ends then at the latest.
    pub ends: Option<Timestamp>,
}

/// Proves who somebody is.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// Checks a credential. Class `Denied` if it proves nothing; the message may be shown to who sent it and never
    /// holds the credential.
    async fn authenticate(&self, credential: &str) -> Result<Login, Error>;
}

/// What the handlers share. Clones share it.
#[derive(Clone)]
pub struct ServerState(Arc<Shared>);

struct Shared {
    store: SecretStore,
    policy: Arc<dyn Policy>,
    host: Arc<dyn Host>,
    tokens: Tokens,
    kubernetes: Option<Arc<dyn Authenticator>>,
    logins: tokio::sync::Semaphore,
}

impl std::fmt::Debug for ServerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerState(…)")
    }
}

/// What a server is made of.
#[derive(Clone)]
pub struct ServerConfig {
    /// The open store.
    pub store: SecretStore,
    /// Who may do what.
    pub policy: Arc<dyn Policy>,
    /// Clock and randomness.
    pub host: Arc<dyn Host>,
    /// Login with a token of a ServiceAccount; none: not offered.
    pub kubernetes: Option<Arc<dyn Authenticator>>,
}

impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerConfig(…)")
    }
}

impl ServerState {
    /// A server of `config`. `root_token`, if given, may do everything; only a keyed hash of it is kept.
    pub fn new(config: ServerConfig, root_token: Option<&str>) -> Result<Self, Error> {
        let ServerConfig { store, policy, host, kubernetes } = config;
        let tokens = Tokens::new(&*host, root_token)?;
        let logins = tokio::sync::Semaphore::new(LOGINS);
        Ok(Self(Arc::new(Shared { store, policy, host, tokens, kubernetes, logins })))
    }
}

/// All routes, under `/v1`.
pub fn router(state: ServerState) -> Router {
    Router::new()
        .route("/v1/sys/health", get(sys::health))
        .route("/v1/sys/seal-status", get(sys::seal_status))
        .route("/v1/sys/leader", get(sys::leader))
        .route("/v1/sys/mounts", get(sys::mounts))
        .route("/v1/sys/internal/ui/mounts", get(sys::ui_mounts))
        .route("/v1/sys/internal/ui/mounts/{*path}", get(sys::ui_mount))
        .route("/v1/auth/kubernetes/login", any(auth::kubernetes_login))
        .route("/v1/auth/token/lookup-self", any(auth::lookup_self))
        .route("/v1/auth/token/renew-self", any(auth::renew_self))
        .route("/v1/auth/token/revoke-self", any(auth::revoke_self))
        .route("/v1/{mount}/metadata", any(metadata::root))
        .route("/v1/{mount}/metadata/", any(metadata::root))
        .route("/v1/{mount}/metadata/{*path}", any(metadata::one))
        .route("/v1/{mount}/{verb}/{*path}", any(kv::data))
        .fallback(answer::nothing_here)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(map_response(never_cached))
        .layer(axum::middleware::from_fn(logged))
        .with_state(state)
}

async fn never_cached(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// One line a request: method, path and status. No header, no query, no body.
async fn logged(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    tracing::debug!(%method, path, status = response.status().as_u16(), "secrets request");
    response
}

#[cfg(test)]
mod tests;
