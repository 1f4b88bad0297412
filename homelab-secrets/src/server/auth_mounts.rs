//! Which logins there are: `sys/auth…`. Each kind has its one path, `auth/KIND`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ServerState;
use super::answer::{Answer, Refused, done, object};
use super::request::{Asked, Caller, Op};
use super::route::AuthKind;
use super::tokens::MAX_TTL;
use crate::Error;
use crate::policy::{Access, Capability};

const KIND: &str = "auth";
const NAME: &str = "enabled";

/// Logins that are on, with what people say about them. Before anybody has said anything: Kubernetes, where there is one.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Enabled {
    kinds: BTreeMap<String, String>,
}

async fn enabled(state: &ServerState) -> Result<Enabled, Error> {
    if let Some(found) = state.document::<Enabled>(KIND, NAME).await? {
        return Ok(found);
    }
    let mut first = Enabled::default();
    if state.0.kubernetes.is_some() {
        first.kinds.insert(AuthKind::Kubernetes.as_str().into(), "tokens of ServiceAccounts".into());
    }
    Ok(first)
}

pub(super) async fn is_on(state: &ServerState, kind: AuthKind) -> Result<bool, Error> {
    Ok(kind == AuthKind::Token || enabled(state).await?.kinds.contains_key(kind.as_str()))
}

/// Whether the caller may see them.
pub(super) fn seen(state: &ServerState, caller: &Caller) -> bool {
    let access = Access { api: "sys/auth", needs: Capability::Read, sudo: false, secret: None };
    state.ruling(caller, &access).is_allowed()
}

/// `GET sys/auth`
pub(super) async fn all(state: &ServerState, caller: &Caller, asked: &Asked) -> Answer {
    state.allow_system(caller, asked, false)?;
    match asked.op {
        Op::Read => state.answer_sys(described(state).await?),
        _ => Err(Refused::unsupported()),
    }
}

/// `sys/auth/NAME`; turning one on or off needs `sudo`.
pub(super) async fn one(state: &ServerState, caller: &Caller, asked: &mut Asked, name: &str) -> Answer {
    state.allow_system(caller, asked, true)?;
    match asked.op {
        Op::Read => {
            let mut all = described(state).await?;
            let found = all.remove(&format!("{name}/")).map(object);
            state.answer_sys(found.ok_or_else(|| Refused::invalid(format!("No auth engine at {name}/")))?)
        }
        Op::Write => enable(state, asked, name).await,
        Op::Delete => {
            if name == AuthKind::Token.as_str() {
                return Err(Refused::invalid("token credential backend cannot be disabled"));
            }
            let mut now = enabled(state).await?;
            if now.kinds.remove(name).is_some() {
                state.put_document(KIND, NAME, &now).await?;
            }
            done()
        }
        _ => Err(Refused::unsupported()),
    }
}

async fn enable(state: &ServerState, asked: &mut Asked, name: &str) -> Answer {
    let fields = asked.fields().await?;
    let kind = fields.need("type").map_err(|_| Refused::invalid("backend type must be specified as a string"))?;
    match AuthKind::parse(&kind) {
        Some(AuthKind::Token) => return Err(Refused::invalid("token credential backend cannot be instantiated")),
        Some(_) if kind == name => {}
        Some(_) => {
            return Err(Refused::invalid(format!("{kind} has its one path here, auth/{kind}: leave -path out")));
        }
        None => {
            let known = "there are kubernetes, jwt and approle (and token, which is always on)";
            return Err(Refused::invalid(format!("plugin not found in the catalog: {kind}; {known}")));
        }
    }
    let mut now = enabled(state).await?;
    if now.kinds.insert(kind, fields.text("description")?.unwrap_or_default()).is_some() {
        return Err(Refused::invalid(format!("path is already in use at {name}/")));
    }
    state.put_document(KIND, NAME, &now).await?;
    done()
}

/// `sys/auth/NAME/tune`
pub(super) async fn tune(state: &ServerState, caller: &Caller, asked: &mut Asked, name: &str) -> Answer {
    state.allow_system(caller, asked, true)?;
    let mut now = enabled(state).await?;
    let known = now.kinds.get(name).cloned().or_else(|| (name == "token").then(|| "token based credentials".into()));
    let description = known.ok_or_else(|| Refused::invalid(format!("cannot fetch sysview for path \"{name}/\"")))?;
    match asked.op {
        Op::Read => state.answer_sys(object(json!({
            "description": description, "default_lease_ttl": MAX_TTL, "max_lease_ttl": MAX_TTL,
            "force_no_cache": false, "token_type": "default-service",
        }))),
        Op::Write => {
            let said = asked.fields().await?.text("description")?;
            if let (Some(said), Some(here)) = (said, now.kinds.get_mut(name)) {
                *here = said;
                state.put_document(KIND, NAME, &now).await?;
            }
            done()
        }
        _ => Err(Refused::unsupported()),
    }
}

pub(super) async fn described(state: &ServerState) -> Result<Map<String, Value>, Error> {
    let mut kinds = enabled(state).await?.kinds;
    kinds.insert("token".into(), "token based credentials".into());
    Ok(kinds.into_iter().map(|(kind, description)| (format!("{kind}/"), describe(&kind, &description))).collect())
}

fn describe(kind: &str, description: &str) -> Value {
    json!({
        "type": kind, "description": description, "accessor": format!("auth_{kind}"), "uuid": format!("auth-{kind}"),
        "local": false, "seal_wrap": false, "external_entropy_access": false,
        "options": if kind == "token" { Value::Null } else { json!({}) },
        "config": { "default_lease_ttl": 0, "max_lease_ttl": 0, "force_no_cache": false, "token_type": "default-service" },
    })
}
