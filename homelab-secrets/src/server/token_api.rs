//! `auth/token/…`: making, looking at, renewing and ending tokens.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::ServerState;
use super::answer::{Answer, Refused, done, time};
use super::fields::Fields;
use super::policies::tidy;
use super::proof::Proof;
use super::request::{Asked, Caller, Op};
use super::tokens::{Hash, MAX_TTL, Session, after};
use crate::policy::Identity;
use crate::policy::acl::{DEFAULT, ROOT};

const PREFIX: &str = "hls.";
const MAX_META: usize = 64;

pub(super) async fn serve(state: &ServerState, caller: &Caller, asked: &mut Asked, path: &str) -> Answer {
    // Root paths, as Vault has them.
    let sudo = matches!(path, "revoke-orphan" | "accessors");
    // Whoever has a token may look at it, renew it and end it: the default policy says so, too.
    let own =
        matches!((path, asked.op), ("lookup-self", Op::Read | Op::Write) | ("renew-self" | "revoke-self", Op::Write));
    if !own {
        state.allow_system(caller, asked, sudo)?;
    }
    match (path, asked.op) {
        ("lookup-self", Op::Read | Op::Write) => state.answer(about(state, &caller.session, Some(&caller.token))),
        ("create", Op::Write) => create(state, caller, asked, false).await,
        ("create-orphan", Op::Write) => create(state, caller, asked, true).await,
        ("lookup", Op::Read | Op::Write) => lookup(state, caller, asked).await,
        ("lookup-accessor", Op::Write) => {
            let (_, session) = by_accessor(state, asked).await?;
            state.answer(about(state, &session, None))
        }
        ("accessors", Op::List) => state.answer(json!({ "keys": state.0.tokens.accessors(state.0.host.now()) })),
        ("renew-self" | "renew" | "renew-accessor", Op::Write) => renew(state, caller, asked, path).await,
        ("revoke-self" | "revoke" | "revoke-accessor" | "revoke-orphan", Op::Write) => {
            revoke(state, caller, asked, path).await
        }
        (
            "create" | "create-orphan" | "lookup" | "lookup-accessor" | "accessors" | "renew-self" | "renew"
            | "renew-accessor" | "revoke-self" | "revoke" | "revoke-accessor" | "revoke-orphan" | "lookup-self",
            _,
        ) => Err(Refused::unsupported()),
        _ => Err(Refused::no_path()),
    }
}

/// What a new token is made of.
pub(super) struct NewToken {
    pub(super) identity: Identity,
    pub(super) policies: Vec<String>,
    pub(super) display_name: String,
    pub(super) path: &'static str,
    pub(super) meta: std::collections::BTreeMap<String, String>,
    /// Seconds; `None`: for ever.
    pub(super) ttl: Option<i64>,
    pub(super) explicit_max_ttl: i64,
    pub(super) period: i64,
    pub(super) renewable: bool,
    pub(super) num_uses: u64,
    /// Nothing lasts beyond this.
    pub(super) ends: Option<jiff::Timestamp>,
    pub(super) parent: Option<Hash>,
    pub(super) orphan: bool,
    pub(super) kept: bool,
    /// What it is given for, if that can end before it.
    pub(super) proof: Option<Arc<Proof>>,
}

impl ServerState {
    /// Makes a token. It is not stored anywhere: this is the only time that it is seen.
    pub(super) async fn issue(&self, new: NewToken) -> Result<(Zeroizing<String>, Arc<Session>), Refused> {
        let (host, now) = (&self.0.host, self.0.host.now());
        let (mut secret, mut accessor) = (Zeroizing::new([0; 32]), [0; 16]);
        host.random(&mut *secret)?;
        host.random(&mut accessor)?;
        let token = Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*secret)));
        let explicit = (new.explicit_max_ttl > 0).then(|| after(now, new.explicit_max_ttl));
        let ends = [new.ends, explicit].into_iter().flatten().min();
        let expires = [new.ttl.map(|ttl| after(now, ttl)), ends].into_iter().flatten().min();
        let creation_ttl = expires.map_or(0, |at| at.duration_since(now).as_secs());
        let session = Session {
            identity: new.identity,
            policies: new.policies,
            accessor: crate::hex::encode(&accessor),
            display_name: new.display_name,
            path: new.path,
            meta: new.meta,
            created: now,
            creation_ttl,
            expires,
            ends,
            explicit_max_ttl: new.explicit_max_ttl,
            period: new.period,
            renewable: new.renewable && expires.is_some(),
            num_uses: new.num_uses,
            parent: new.parent,
            orphan: new.orphan,
            kept: new.kept,
            proof: new.proof,
        };
        let hash = self.0.tokens.hash(&token)?;
        if session.kept {
            self.keep(&hash, &session).await?;
        }
        let swept = self.0.tokens.insert(hash, session.clone(), now)?;
        self.forget_ended(swept).await?;
        Ok((token, Arc::new(session)))
    }

    /// Vault's form of a token that was just made or renewed.
    pub(super) fn auth(&self, token: &str, session: &Session) -> Value {
        json!({
            "client_token": token, "accessor": session.accessor, "policies": session.policies,
            "token_policies": session.policies, "metadata": meta(session),
            "lease_duration": session.ttl(self.0.host.now()), "renewable": session.renewable, "entity_id": "",
            "token_type": "service", "orphan": session.orphan, "mfa_requirement": null, "num_uses": session.num_uses,
        })
    }
}

async fn create(state: &ServerState, caller: &Caller, asked: &mut Asked, orphan: bool) -> Answer {
    let fields = asked.fields().await?;
    let parent = &caller.session;
    let root = parent.holder().is_root();
    let sudo = root || state.is_sudo(caller, &asked.path);
    fields.refuse(&["id", "entity_alias", "role_name"])?;
    if fields.text("type")?.is_some_and(|kind| kind != "service") {
        return Err(Refused::invalid("there are service tokens only: leave type out"));
    }
    let privileged = |what: &str| match sudo {
        true => Ok(()),
        false => Err(Refused::invalid(format!("root or sudo privileges required to {what}"))),
    };
    let no_parent = fields.flag("no_parent")?.unwrap_or(false);
    if no_parent {
        privileged("create orphan token")?;
    }
    let orphan = orphan || no_parent;
    let period = fields.seconds("period")?.unwrap_or(0);
    if period > 0 {
        privileged("create periodic token")?;
    }
    if parent.num_uses > 0 {
        // As Vault: otherwise a limit would be none.
        return Err(Refused::invalid("restricted use token cannot generate child tokens"));
    }
    let (policies, inherited) = child_policies(&fields, parent, (root, sudo))?;
    let named = fields.text("display_name")?.unwrap_or_default();
    let display_name = display_name(&named);
    // What somebody is stays with them alone: an orphan, which may outlive the login, has named policies only.
    let identity = match (&parent.identity, inherited && !orphan) {
        (identity @ (Identity::ServiceAccount { .. } | Identity::User { .. }), true) => identity.clone(),
        _ => Identity::Token { name: display_name.clone() },
    };
    let meta = fields.words("meta")?.unwrap_or_default();
    if meta.len() > MAX_META || meta.iter().any(|(key, value)| key.len() + value.len() > 1024) {
        return Err(Refused::invalid(format!("meta may hold {MAX_META} keys of 1 KiB with their values")));
    }
    let (ttl, mut warnings) = life(&fields, &policies, period)?;
    warnings.extend(state.missing_policies(&policies));
    // The root token of the configuration is no parent: it does not end.
    let above = if orphan { None } else { caller.hash };
    let new = NewToken {
        identity,
        policies,
        display_name,
        path: "auth/token/create",
        meta,
        ttl,
        explicit_max_ttl: fields.seconds("explicit_max_ttl")?.unwrap_or(0),
        period,
        renewable: fields.flag("renewable")?.unwrap_or(true),
        num_uses: uses(&fields)?,
        ends: if orphan { None } else { parent.ends },
        parent: above,
        orphan,
        kept: above.is_none() || parent.kept,
        proof: if orphan { None } else { parent.proof.clone() },
    };
    let (token, session) = state.issue(new).await?;
    tracing::info!(by = %caller.session.identity, accessor = session.accessor, "made a token");
    state.answer_auth(state.auth(&token, &session), warnings)
}

fn uses(fields: &Fields) -> Result<u64, Refused> {
    fields
        .count("num_uses")
        .map(Option::unwrap_or_default)
        .map_err(|_| Refused::invalid("number of uses cannot be negative"))
}

/// Policies of a child, and whether they are its parent's because it named none.
fn child_policies(
    fields: &Fields,
    parent: &Session,
    (root, sudo): (bool, bool),
) -> Result<(Vec<String>, bool), Refused> {
    let named = tidy(fields.texts("policies")?.unwrap_or_default());
    if named.is_empty() {
        return Ok((parent.policies.clone(), true));
    }
    if named.iter().any(|name| name == ROOT) {
        if !root {
            return Err(Refused::invalid("root tokens may not be created without parent token being root"));
        }
        return Ok((vec![ROOT.into()], false));
    }
    let owned = |name: &String| name == DEFAULT || parent.policies.contains(name);
    if !sudo && !named.iter().all(owned) {
        return Err(Refused::invalid("child policies must be subset of parent"));
    }
    let mut policies = named;
    if !fields.flag("no_default_policy")?.unwrap_or(false) {
        policies.push(DEFAULT.into());
    }
    Ok((tidy(policies), false))
}

/// Seconds that it lasts at first (`None`: for ever, which only root tokens do), and what to warn of.
fn life(fields: &Fields, policies: &[String], period: i64) -> Result<(Option<i64>, Vec<String>), Refused> {
    let asked = fields.seconds("ttl")?.or(fields.seconds("lease")?).filter(|ttl| *ttl > 0);
    if period > 0 {
        return Ok((Some(period), Vec::new()));
    }
    match asked {
        None if policies.iter().any(|name| name == ROOT) => Ok((None, Vec::new())),
        None => Ok((Some(MAX_TTL), Vec::new())),
        Some(ttl) if ttl > MAX_TTL => {
            let warning = format!(
                "TTL of \"{}h\" exceeded the effective max_ttl of \"{}h\"; TTL value is capped accordingly",
                ttl / 3600,
                MAX_TTL / 3600
            );
            Ok((Some(MAX_TTL), vec![warning]))
        }
        Some(ttl) => Ok((Some(ttl), Vec::new())),
    }
}

/// `token-NAME`, of plain characters, as Vault makes it.
fn display_name(named: &str) -> String {
    let plain: String = named.chars().take(64).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "token".into() } else { format!("token-{plain}") }
}

async fn lookup(state: &ServerState, caller: &Caller, asked: &mut Asked) -> Answer {
    let named = if asked.op == Op::Write { asked.fields().await?.text("token")? } else { None };
    let Some(token) = named.map(Zeroizing::new).filter(|token| !token.is_empty()) else {
        return state.answer(about(state, &caller.session, Some(&caller.token)));
    };
    let found = state.session_of(&token)?;
    let (_, session) = found.ok_or_else(|| Refused::new(axum::http::StatusCode::FORBIDDEN, "bad token"))?;
    state.answer(about(state, &session, Some(&token)))
}

async fn by_accessor(state: &ServerState, asked: &mut Asked) -> Result<(Hash, Arc<Session>), Refused> {
    let accessor = asked.fields().await?.need("accessor")?;
    let found = state.0.tokens.by_accessor(&accessor, state.0.host.now());
    found.ok_or_else(|| Refused::invalid("invalid accessor"))
}

async fn renew(state: &ServerState, caller: &Caller, asked: &mut Asked, path: &str) -> Answer {
    let fields = asked.fields().await?;
    let (hash, session, token) = match path {
        "renew-self" => (caller.hash, caller.session.clone(), caller.token.clone()),
        "renew-accessor" => {
            let found = state.0.tokens.by_accessor(&fields.need("accessor")?, state.0.host.now());
            let (hash, session) = found.ok_or_else(|| Refused::invalid("invalid accessor"))?;
            (Some(hash), session, Zeroizing::default())
        }
        _ => {
            let token = Zeroizing::new(fields.need("token").map_err(|_| Refused::invalid("missing token ID"))?);
            let (hash, session) = state.session_of(&token)?.ok_or_else(|| Refused::invalid("token not found"))?;
            (hash, session, token)
        }
    };
    let fixed = || Refused::invalid("lease is not renewable");
    let hash = hash.filter(|_| session.renewable).ok_or_else(fixed)?;
    let increment = fields.seconds("increment")?;
    let renewed = state.0.tokens.renew(&hash, increment, state.0.host.now()).ok_or_else(|| Refused::denied(None))?;
    if renewed.kept {
        state.keep(&hash, &renewed).await?;
    }
    state.answer_auth(state.auth(&token, &renewed), Vec::new())
}

async fn revoke(state: &ServerState, caller: &Caller, asked: &mut Asked, path: &str) -> Answer {
    let hash = match path {
        "revoke-self" => caller.hash,
        "revoke-accessor" => {
            let accessor = asked.fields().await?.need("accessor")?;
            let Some((hash, _)) = state.0.tokens.by_accessor(&accessor, state.0.host.now()) else {
                return state.done_with(vec!["No token found with this accessor".into()]);
            };
            Some(hash)
        }
        _ => {
            let token = asked.fields().await?.need("token").map_err(|_| Refused::invalid("missing token ID"))?;
            match (state.session_of(&Zeroizing::new(token))?, path) {
                (Some((hash, _)), _) => hash,
                (None, "revoke-orphan") => return Err(Refused::invalid("token to revoke not found")),
                // What is not there is revoked.
                (None, _) => return done(),
            }
        }
    };
    let Some(hash) = hash else {
        return Err(Refused::invalid("the root token is the configuration's: take it out there"));
    };
    if path == "revoke-orphan" {
        let kept = state.0.tokens.peek(&hash, state.0.host.now()).is_some_and(|session| session.kept);
        for (orphan, session) in state.0.tokens.revoke_alone(&hash) {
            state.keep(&orphan, &session).await?;
        }
        state.forget(if kept { vec![hash] } else { Vec::new() }).await?;
        return done();
    }
    let gone = state.0.tokens.revoke(&hash);
    state.forget(gone).await?;
    done()
}

fn meta(session: &Session) -> Value {
    if session.meta.is_empty() { Value::Null } else { json!(session.meta) }
}

/// Everything about a token that is not secret, and, for who has it already, itself.
fn about(state: &ServerState, session: &Session, token: Option<&Zeroizing<String>>) -> Map<String, Value> {
    let mut data = super::answer::object(json!({
        "accessor": session.accessor, "id": token.map_or("", |token| token.as_str()),
        "display_name": session.display_name, "creation_time": session.created.as_second(),
        "creation_ttl": session.creation_ttl, "issue_time": time(Some(session.created)),
        "expire_time": session.expires.map(|at| at.to_string()), "ttl": session.ttl(state.0.host.now()),
        "explicit_max_ttl": session.explicit_max_ttl, "renewable": session.renewable, "num_uses": session.num_uses,
        "orphan": session.orphan, "type": "service", "entity_id": "", "path": session.path,
        "policies": session.policies, "meta": meta(session),
    }));
    if session.period > 0 {
        data.insert("period".into(), session.period.into());
    }
    data
}
