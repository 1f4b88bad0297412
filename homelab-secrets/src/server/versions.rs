//! `sys/homelab/versions`: which versions of secrets there are, for the daemon that rolls them out and runs elsewhere.
//!
//! - `resolve/NAMESPACE/ACCOUNT/PATH?version=N` (GET): a version as that ServiceAccount may see it, without its value;
//! - `pin/HOLDER` (POST `versions`): what a revision keeps from pruning;
//! - `gone` (POST `versions`): those whose values are gone for good;
//! - `show` (POST `account`, `gitsync`, `commit`, `files`): what the read-only mount of sealed files holds of a GitSync;
//! - `retain` (POST `gitsyncs`): all others go from it;
//! - `watch` (POST `known`, `wait`): waits up to so many seconds for any path to stand elsewhere than is known.
//!
//! No policy gives these paths: they decide in the name of others. They are for one ServiceAccount, that of
//! [`ServerOptions::daemon`](super::ServerOptions), logged in from a living pod by [`DAEMON_ROLE`] — not for people, not
//! for the root token. A watch has no place to lose: what is known comes with each request.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use homelab_core::class::Class;
use homelab_core::meta::Account;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::ServerState;
use super::answer::{Answer, Refused, done};
use super::audit::Version;
use super::fields::Fields;
use super::request::{Asked, Caller, Op};
use crate::Error;
use crate::policy::Identity;
use crate::sealed::GitCommit;
use crate::versions::{DAEMON_ROLE, Failure, Known, Moved};

/// Most versions in one request.
const MOST: usize = 10_000;
/// Longest that a watch waits. Listeners give up on requests that take longer than 30 s.
const LONGEST: u64 = 25;

/// What is below `sys/homelab/versions/`.
pub(super) async fn serve(state: &ServerState, caller: &Caller, asked: &mut Asked, rest: &str) -> Answer {
    state.allow_daemon(caller)?;
    let (verb, rest) = rest.split_once('/').unwrap_or((rest, ""));
    match (verb, rest, asked.op) {
        ("resolve", place, Op::Read) => resolve(state, asked, place).await,
        ("pin", holder, Op::Write) if !holder.is_empty() => {
            let versions = pairs(&asked.fields().await?, "versions")?;
            match state.0.store.pin(holder, &versions).await {
                Ok(()) => done(),
                Err(error) => Ok(failed(&error)),
            }
        }
        ("gone", "", Op::Write) => {
            let versions = pairs(&asked.fields().await?, "versions")?;
            told(state, state.0.store.gone(&versions).await.map(|gone| json!({ "gone": gone })))
        }
        ("show", "", Op::Write) => show(state, &asked.fields().await?).await,
        ("retain", "", Op::Write) => {
            let gitsyncs = parsed(&asked.fields().await?, "gitsyncs", "a list of NAMESPACE/NAME")?;
            match state.0.store.retain_mirrored(&gitsyncs).await {
                Ok(()) => done(),
                Err(error) => Ok(failed(&error)),
            }
        }
        ("watch", "", Op::Write) => {
            let fields = asked.fields().await?;
            let (known, wait) = (pairs(&fields, "known")?, fields.count("wait")?.unwrap_or(LONGEST).min(LONGEST));
            told(state, watch(state, &known, Duration::from_secs(wait)).await)
        }
        ("resolve" | "pin" | "gone" | "show" | "retain" | "watch", ..) => Err(Refused::unsupported()),
        _ => Err(Refused::no_path()),
    }
}

/// `NAMESPACE/ACCOUNT/MOUNT/PATH`
async fn resolve(state: &ServerState, asked: &Asked, place: &str) -> Answer {
    let mut parts = place.splitn(3, '/');
    let (Some(namespace), Some(name), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Refused::invalid("write resolve/NAMESPACE/SERVICEACCOUNT/MOUNT/PATH"));
    };
    let account = Account::new(namespace, name);
    match state.0.store.resolve_as(&state.0.policy, &account, path, asked.version()?).await {
        Ok(found) => Version(found.version).on(state.answer(found)),
        Err(error) => Ok(failed(&error)),
    }
}

async fn show(state: &ServerState, fields: &Fields) -> Answer {
    let (gitsync, commit) = (fields.need("gitsync")?, fields.need("commit")?);
    let account =
        Account::parse(&fields.need("account")?).ok_or_else(|| Refused::invalid("account is NAMESPACE/NAME"))?;
    let files: Vec<_> = parsed(fields, "files", "a list of pairs of a name and a text")?;
    let from = GitCommit { gitsync: &gitsync, commit: &commit, files: &files };
    told(state, state.0.store.mirror(&state.0.policy, &account, from).await.map(|new| json!({ "new": new })))
}

async fn watch(state: &ServerState, known: &[Known], wait: Duration) -> Result<Moved, Error> {
    match tokio::time::timeout(wait, state.0.store.watch(known)).await {
        Ok(moved) => moved,
        // Sealing is no change of a path: whoever watches has to hear of it.
        Err(_) if state.is_sealed() => Err(Error::Sealed),
        Err(_) => Ok(Moved::default()),
    }
}

fn parsed<T: DeserializeOwned>(fields: &Fields, name: &str, what: &str) -> Result<T, Refused> {
    let wrong = || Refused::invalid(format!("{name} is {what}"));
    serde_json::from_value(fields.value(name).ok_or_else(wrong)?.clone()).map_err(|_| wrong())
}

fn pairs(fields: &Fields, name: &str) -> Result<Vec<Known>, Refused> {
    let wrong = || Refused::invalid(format!("{name} is a list of at most {MOST} pairs of a path and a version"));
    let list = fields.value(name).ok_or_else(wrong)?;
    let pairs: Vec<Known> = serde_json::from_value(list.clone()).map_err(|_| wrong())?;
    if pairs.len() > MOST { Err(wrong()) } else { Ok(pairs) }
}

fn told<T: Serialize>(state: &ServerState, found: Result<T, Error>) -> Answer {
    match found {
        Ok(found) => state.answer(found),
        Err(error) => Ok(failed(&error)),
    }
}

/// A refusal that says its class: who asked has to tell a secret that an account may not read from a token that has ended.
fn failed(error: &Error) -> Response {
    let status = match error.class() {
        Class::NotFound => StatusCode::NOT_FOUND,
        Class::Denied => StatusCode::FORBIDDEN,
        Class::Invalid if !matches!(error, Error::Unsealed { .. }) => StatusCode::BAD_REQUEST,
        Class::Conflict => StatusCode::CONFLICT,
        Class::Retry => StatusCode::SERVICE_UNAVAILABLE,
        Class::Invalid | Class::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let Failure { class, error } = Failure::of(error);
    (status, Json(json!({ "errors": [error], "class": class }))).into_response()
}

impl ServerState {
    fn allow_daemon(&self, caller: &Caller) -> Result<(), Refused> {
        let session = &caller.session;
        let by_role = session.meta.get("role").is_some_and(|role| role == DAEMON_ROLE);
        match &session.identity {
            Identity::ServiceAccount { account, pod_uid: Some(_) }
                if by_role && self.0.options.daemon.as_ref() == Some(account) =>
            {
                Ok(())
            }
            who => {
                tracing::info!(%who, "denied: versions are told to the daemon only");
                Err(Refused::denied(Some(
                    "this path is for the daemon that rolls secrets out, and for nobody else".into(),
                )))
            }
        }
    }
}
