//! Logging in, and what a token can ask about itself.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{Method, StatusCode};
use homelab_core::class::Class;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::ServerState;
use super::answer::{Answer, Refused, done, time};
use super::body::{self, Caller};
use super::tokens::{Session, TTL};
use crate::policy::Identity;

/// What Vault's clients send. Roles are not needed here: policies name accounts.
#[derive(Deserialize)]
struct LoginBody {
    jwt: Option<String>,
}

/// `POST auth/kubernetes/login`
pub(super) async fn kubernetes_login(
    State(state): State<ServerState>,
    method: Method,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    expect_write(&method)?;
    let Some(authenticator) = &state.0.kubernetes else {
        return Err(Refused::invalid("this server has no Kubernetes to ask: use a token"));
    };
    let body: LoginBody = body::json(body)?;
    let jwt =
        body.jwt.map(Zeroizing::new).filter(|jwt| !jwt.is_empty()).ok_or_else(|| Refused::invalid("missing jwt"))?;
    let busy = |_| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    let turn = state.0.logins.acquire().await.map_err(busy)?;
    let login = authenticator.authenticate(&jwt).await;
    drop(turn);
    let login = login.map_err(|error| {
        tracing::info!(%error, "a login with a ServiceAccount token was refused");
        match error.class() {
            Class::Retry => Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            _ => error.into(),
        }
    })?;
    let (token, session) = state.0.tokens.issue(login, &*state.0.host)?;
    tracing::info!(who = %session.identity, accessor = session.accessor, "logged in");
    auth_answer(&state, &token, &session)
}

/// `GET auth/token/lookup-self`
pub(super) async fn lookup_self(State(state): State<ServerState>, caller: Caller) -> Answer {
    let session = &caller.session;
    state.answer(json!({
        "accessor": session.accessor, "id": *caller.token, "display_name": session.identity.to_string(),
        "creation_time": session.created.as_second(), "creation_ttl": if session.expires.is_some() { TTL.as_secs() } else { 0 }, "issue_time": time(Some(session.created)),
        "expire_time": session.expires.map(|at| at.to_string()), "ttl": session.ttl(state.0.host.now()), "explicit_max_ttl": 0,
        "renewable": session.expires.is_some(), "num_uses": 0, "orphan": true, "type": "service", "entity_id": "",
        "path": path(session), "policies": policies(session), "meta": meta(session),
    }))
}

/// `POST auth/token/renew-self`
pub(super) async fn renew_self(State(state): State<ServerState>, method: Method, caller: Caller) -> Answer {
    expect_write(&method)?;
    let session = state.0.tokens.renew(&caller.token, state.0.host.now()).ok_or_else(|| Refused::denied(None))?;
    auth_answer(&state, &caller.token, &session)
}

/// `POST auth/token/revoke-self`
pub(super) async fn revoke_self(State(state): State<ServerState>, method: Method, caller: Caller) -> Answer {
    expect_write(&method)?;
    state.0.tokens.revoke(&caller.token);
    done()
}

fn auth_answer(state: &ServerState, token: &str, session: &Session) -> Answer {
    let auth = json!({
        "client_token": token, "accessor": session.accessor, "policies": policies(session), "token_policies": policies(session),
        "metadata": meta(session), "lease_duration": session.ttl(state.0.host.now()), "renewable": session.expires.is_some(),
        "entity_id": "", "token_type": "service", "orphan": true,
    });
    state.answer_with(StatusCode::OK, (), auth)
}

fn expect_write(method: &Method) -> Result<(), Refused> {
    if matches!(*method, Method::POST | Method::PUT) { Ok(()) } else { Err(Refused::unsupported()) }
}

fn policies(session: &Session) -> Value {
    if session.identity == Identity::Root { json!(["root"]) } else { json!(["default"]) }
}

fn path(session: &Session) -> &'static str {
    if session.identity == Identity::Root { "auth/token/root" } else { "auth/kubernetes/login" }
}

fn meta(session: &Session) -> Value {
    match &session.identity {
        Identity::ServiceAccount { account, pod_uid } => json!({
            "service_account_namespace": account.namespace, "service_account_name": account.name,
            "pod_uid": pod_uid.as_deref().unwrap_or_default(),
        }),
        Identity::User { name, .. } => json!({ "username": name }),
        Identity::AppRole { role } => json!({ "role_name": role }),
        Identity::Token { .. } | Identity::Root => Value::Null,
    }
}
