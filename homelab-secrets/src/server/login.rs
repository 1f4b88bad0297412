//! Logins: `auth/{kubernetes,approle,jwt}/{config,role/…,login}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ServerState;
use super::answer::{Answer, Refused, done, object};
use super::auth_mounts;
use super::fields::Fields;
use super::policies::tidy;
use super::proof::Proof;
use super::request::{Asked, Caller, Op};
use super::route::AuthKind;
use super::token_api::NewToken;
use super::tokens::{LOGIN_TTL, MAX_TTL, Session};
use crate::policy::Identity;
use crate::policy::acl::{DEFAULT, ROOT};

mod approle;
mod issuer;
mod jwt;
mod kubernetes;

pub(super) use issuer::Remembered;

const MAX_ROLE_NAME: usize = 128;

/// A login that worked.
pub(super) type LoggedIn = Result<(Response, Arc<Session>), Refused>;

/// `auth/KIND/login`, without a token.
pub(super) async fn login(state: &ServerState, kind: AuthKind, asked: &mut Asked) -> LoggedIn {
    if !auth_mounts::is_on(state, kind).await? {
        return Err(Refused::no_route(&asked.path));
    }
    if asked.op != Op::Write {
        return Err(Refused::unsupported());
    }
    let fields = asked.fields().await?;
    let passed = match kind {
        AuthKind::Kubernetes => kubernetes::login(state, &fields).await?,
        AuthKind::AppRole => approle::login(state, &fields, asked.remote).await?,
        AuthKind::Jwt => jwt::login(state, &fields).await?,
        AuthKind::Token => return Err(Refused::no_route(&asked.path)),
    };
    let Passed { new, mut warnings } = passed;
    warnings.extend(state.missing_policies(&new.policies));
    let (token, session) = state.issue(new).await?;
    tracing::info!(who = %session.identity, accessor = session.accessor, "logged in");
    let response = state.answer_auth(state.auth(&token, &session), warnings)?;
    Ok((response, session))
}

/// `auth/KIND/{config,role/…}`, by who may.
pub(super) async fn configure(
    state: &ServerState,
    caller: &Caller,
    asked: &mut Asked,
    (kind, rest): (AuthKind, &str),
) -> Answer {
    let role = rest.strip_prefix("role/").map(|name| name.split_once('/').unwrap_or((name, "")));
    let makes = match (role, asked.op) {
        (Some((name, "")), Op::Write) => !state.has_role(kind, name).await?,
        _ => false,
    };
    let needs = if makes { crate::policy::Capability::Create } else { asked.op.needs() };
    state.allow_entry(caller, asked, (needs, false))?;
    if !auth_mounts::is_on(state, kind).await? {
        return Err(Refused::no_route(&asked.path));
    }
    match (rest, role, asked.op) {
        ("role", _, Op::List) => {
            let names = state.names(role_kind(kind)).await?;
            if names.is_empty() { Err(Refused::not_found()) } else { state.answer(json!({ "keys": names })) }
        }
        ("role", ..) => Err(Refused::unsupported()),
        (_, Some((name, below)), _) => {
            check_role_name(name)?;
            match kind {
                AuthKind::Kubernetes if below.is_empty() => kubernetes::role(state, asked, name).await,
                AuthKind::Jwt if below.is_empty() => jwt::role(state, asked, name).await,
                AuthKind::AppRole => approle::role(state, asked, (name, below)).await,
                _ => Err(Refused::no_path()),
            }
        }
        ("config", ..) if kind == AuthKind::Jwt => jwt::config(state, asked).await,
        ("config", ..) if kind == AuthKind::Kubernetes => kubernetes::config(state, asked).await,
        _ => Err(Refused::no_path()),
    }
}

/// Kind of the documents that roles of this login are.
fn role_kind(kind: AuthKind) -> &'static str {
    match kind {
        AuthKind::Kubernetes => kubernetes::ROLE,
        AuthKind::AppRole => approle::ROLE,
        AuthKind::Jwt | AuthKind::Token => jwt::ROLE,
    }
}

/// The policies that a token of this role names; none if there is no such role.
pub(super) async fn policies_of(
    state: &ServerState,
    kind: AuthKind,
    name: &str,
) -> Result<Option<Vec<String>>, Refused> {
    #[derive(Deserialize)]
    struct Role {
        #[serde(default)]
        token: TokenParams,
    }
    check_role_name(name)?;
    if kind == AuthKind::Token {
        return Ok(None);
    }
    let role = state.document::<Role>(role_kind(kind), name).await?;
    Ok(role.map(|role| role.token.policies))
}

fn check_role_name(name: &str) -> Result<(), Refused> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=MAX_ROLE_NAME).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(Refused::invalid("a role is named by 1 to 128 letters, digits, `-`, `_` and `.`"))
}

impl ServerState {
    async fn has_role(&self, kind: AuthKind, name: &str) -> Result<bool, Refused> {
        if check_role_name(name).is_err() {
            return Ok(false);
        }
        Ok(self.document::<Value>(role_kind(kind), name).await?.is_some())
    }
}

/// Somebody who has proved who they are.
pub(super) struct Passed {
    new: NewToken,
    warnings: Vec<String>,
}

/// What tokens of a role are like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TokenParams {
    ttl: i64,
    max_ttl: i64,
    explicit_max_ttl: i64,
    period: i64,
    num_uses: u64,
    policies: Vec<String>,
    no_default_policy: bool,
}

impl TokenParams {
    /// Takes what a request says over what was; `token_ttl` and, as older clients have it, `ttl`.
    fn change(mut self, fields: &Fields) -> Result<Self, Refused> {
        fields.refuse(&["token_bound_cidrs", "bound_cidrs", "token_strictly_bind_ip"])?;
        if fields
            .text("token_type")?
            .is_some_and(|kind| !matches!(kind.as_str(), "" | "default" | "service" | "default-service"))
        {
            return Err(Refused::invalid("token_type: there are service tokens only"));
        }
        let seconds = |new: &str, old: &str| Ok::<_, Refused>(fields.seconds(new)?.or(fields.seconds(old)?));
        self.ttl = seconds("token_ttl", "ttl")?.unwrap_or(self.ttl);
        self.max_ttl = seconds("token_max_ttl", "max_ttl")?.unwrap_or(self.max_ttl);
        self.explicit_max_ttl = fields.seconds("token_explicit_max_ttl")?.unwrap_or(self.explicit_max_ttl);
        self.period = seconds("token_period", "period")?.unwrap_or(self.period);
        self.num_uses = fields.count("token_num_uses")?.or(fields.count("num_uses")?).unwrap_or(self.num_uses);
        if let Some(policies) = fields.texts("token_policies")?.or(fields.texts("policies")?) {
            self.policies = tidy(policies);
        }
        self.no_default_policy = fields.flag("token_no_default_policy")?.unwrap_or(self.no_default_policy);
        if self.policies.iter().any(|name| name == ROOT) {
            return Err(Refused::invalid("a role can not give the root policy"));
        }
        if self.max_ttl > 0 && self.ttl > self.max_ttl {
            return Err(Refused::invalid("'token_ttl' cannot be greater than 'token_max_ttl'"));
        }
        Ok(self)
    }

    fn describe(&self) -> Map<String, Value> {
        object(json!({
            "token_ttl": self.ttl, "token_max_ttl": self.max_ttl, "token_explicit_max_ttl": self.explicit_max_ttl,
            "token_period": self.period, "token_num_uses": self.num_uses, "token_policies": self.policies,
            "token_no_default_policy": self.no_default_policy, "token_type": "default", "token_bound_cidrs": [],
            "token_strictly_bind_ip": false,
        }))
    }

    /// A token for somebody; it does not outlast `ends`.
    fn token(&self, who: Who, now: Timestamp) -> NewToken {
        let Who { identity, display_name, path, meta, ends, proof } = who;
        let mut policies = self.policies.clone();
        if !self.no_default_policy {
            policies.push(DEFAULT.into());
        }
        let first = if self.ttl > 0 { self.ttl } else { LOGIN_TTL };
        let longest = if self.max_ttl > 0 { self.max_ttl.min(MAX_TTL) } else { MAX_TTL };
        let latest = (self.period == 0).then(|| super::tokens::after(now, longest));
        NewToken {
            identity,
            policies: tidy(policies),
            display_name,
            path,
            meta,
            ttl: Some(if self.period > 0 { self.period } else { first.min(longest) }),
            explicit_max_ttl: self.explicit_max_ttl,
            period: self.period,
            renewable: true,
            num_uses: self.num_uses,
            ends: [ends, latest].into_iter().flatten().min(),
            parent: None,
            orphan: true,
            kept: false,
            proof,
        }
    }
}

/// Who has proved themselves, and until when.
struct Who {
    identity: Identity,
    display_name: String,
    path: &'static str,
    meta: BTreeMap<String, String>,
    ends: Option<Timestamp>,
    proof: Option<Arc<Proof>>,
}

/// Reads, writes or removes a role that is one document.
async fn stored<R, D, C>(state: &ServerState, asked: &mut Asked, at: (&str, &str), show: D, change: C) -> Answer
where
    R: Serialize + DeserializeOwned + Send + Sync + Default,
    D: Fn(&R) -> Map<String, Value>,
    C: Fn(R, &Fields) -> Result<(R, Vec<String>), Refused>,
{
    let (kind, name) = at;
    let found = state.document::<R>(kind, name).await?;
    match asked.op {
        Op::Read => state.answer(show(&found.ok_or_else(Refused::not_found)?)),
        Op::Write | Op::Patch => {
            let fields = asked.fields().await?;
            let (role, warnings) = change(found.unwrap_or_default(), &fields)?;
            state.put_document(kind, name, &role).await?;
            state.done_with(warnings)
        }
        Op::Delete => {
            state.0.store.delete_document(kind, name).await?;
            done()
        }
        Op::List => Err(Refused::unsupported()),
    }
}
