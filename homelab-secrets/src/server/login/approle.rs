//! `auth/approle`: for programs outside the cluster, with the id of a role and a secret id.
//!
//! A secret id is found by its keyed hash under the role's name and is nowhere else; each login counts a use of it in the
//! same write that looks at it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Passed, TokenParams, Who, stored};
use crate::Error;
use crate::policy::Identity;
use crate::server::answer::{Answer, Refused, done, object, time};
use crate::server::fields::Fields;
use crate::server::request::{Asked, Op};
use crate::server::tokens::after;
use crate::server::{Block, ServerState};

/// Kind of the documents that roles are.
pub(super) const ROLE: &str = "approle-role";
/// Kind of the documents that secret ids are.
const SECRET: &str = "approle-secret";
/// Secret ids of one role.
const MAX_SECRETS: usize = 1000;

/// A role as it lies in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Role {
    id: String,
    bind_secret_id: bool,
    secret_num_uses: u64,
    secret_ttl: i64,
    secret_cidrs: Vec<String>,
    token: TokenParams,
}

/// A secret id as it lies in the store.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretId {
    role: String,
    accessor: String,
    created: Timestamp,
    expires: Option<Timestamp>,
    ttl: i64,
    /// Uses that are left; none: as many as one likes.
    uses: Option<u64>,
    cidrs: Vec<String>,
    meta: BTreeMap<String, String>,
}

impl SecretId {
    fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|at| at > now) && self.uses != Some(0)
    }

    fn describe(&self) -> Value {
        json!({
            "secret_id_accessor": self.accessor, "secret_id_num_uses": self.uses.unwrap_or(0), "secret_id_ttl": self.ttl,
            "creation_time": time(Some(self.created)), "last_updated_time": time(Some(self.created)),
            "expiration_time": self.expires.map_or_else(|| "0001-01-01T00:00:00Z".into(), |at| at.to_string()),
            "cidr_list": self.cidrs, "token_bound_cidrs": [], "metadata": self.meta,
        })
    }
}

pub(super) async fn role(state: &ServerState, asked: &mut Asked, (name, below): (&str, &str)) -> Answer {
    match below {
        "" => {
            let fresh_id = state.uuid()?;
            let removes = asked.op == Op::Delete;
            let answer =
                stored(state, asked, (ROLE, name), describe, |role, fields| change(role, fields, &fresh_id)).await?;
            if removes {
                for (hash, _) in secrets_of(state, name).await? {
                    state.0.store.delete_document(SECRET, &hash).await?;
                }
            }
            Ok(answer)
        }
        "role-id" => role_id(state, asked, name).await,
        "secret-id" | "custom-secret-id" => {
            let custom = below == "custom-secret-id";
            match asked.op {
                Op::Write => make(state, asked, name, custom).await,
                Op::List if !custom => {
                    let now = state.0.host.now();
                    let live = secrets_of(state, name).await?.into_iter().filter(|(_, secret)| secret.is_live(now));
                    let keys: Vec<String> = live.map(|(_, secret)| secret.accessor).collect();
                    if keys.is_empty() { Err(Refused::not_found()) } else { state.answer(json!({ "keys": keys })) }
                }
                _ => Err(Refused::unsupported()),
            }
        }
        "secret-id/lookup" | "secret-id-accessor/lookup" | "secret-id/destroy" | "secret-id-accessor/destroy" => {
            if !matches!(asked.op, Op::Write | Op::Delete) {
                return Err(Refused::unsupported());
            }
            one_secret(state, asked, name, below).await
        }
        _ => Err(Refused::no_path()),
    }
}

fn describe(role: &Role) -> Map<String, Value> {
    let cidrs = if role.secret_cidrs.is_empty() { Value::Null } else { json!(role.secret_cidrs) };
    let mut data = role.token.describe();
    data.extend(object(json!({
        "bind_secret_id": role.bind_secret_id, "secret_id_num_uses": role.secret_num_uses,
        "secret_id_ttl": role.secret_ttl, "secret_id_bound_cidrs": cidrs, "local_secret_ids": false,
    })));
    data
}

fn change(role: Role, fields: &Fields, fresh_id: &str) -> Result<(Role, Vec<String>), Refused> {
    fields.refuse(&["local_secret_ids"])?;
    let fresh = role.id.is_empty();
    let bind = fields.flag("bind_secret_id")?.unwrap_or(fresh || role.bind_secret_id);
    if !bind {
        return Err(Refused::invalid("bind_secret_id has to be true: the id of a role alone is no secret"));
    }
    let cidrs = fields.texts("secret_id_bound_cidrs")?.unwrap_or(role.secret_cidrs);
    blocks(&cidrs)?;
    let id = fields.text("role_id")?.filter(|id| !id.is_empty());
    let changed = Role {
        id: id.unwrap_or_else(|| if fresh { fresh_id.to_owned() } else { role.id }),
        bind_secret_id: bind,
        secret_num_uses: fields.count("secret_id_num_uses")?.unwrap_or(role.secret_num_uses),
        secret_ttl: fields.seconds("secret_id_ttl")?.unwrap_or(role.secret_ttl),
        secret_cidrs: cidrs,
        token: role.token.change(fields)?,
    };
    Ok((changed, Vec::new()))
}

fn blocks(cidrs: &[String]) -> Result<Vec<Block>, Refused> {
    cidrs.iter().map(|text| Block::parse(text).map_err(Refused::from)).collect()
}

async fn known(state: &ServerState, name: &str) -> Result<Role, Refused> {
    let role = state.document::<Role>(ROLE, name).await?;
    role.ok_or_else(|| Refused::new(axum::http::StatusCode::NOT_FOUND, format!("role {name:?} does not exist")))
}

async fn role_id(state: &ServerState, asked: &mut Asked, name: &str) -> Answer {
    let mut role = known(state, name).await?;
    match asked.op {
        Op::Read => state.answer(json!({ "role_id": role.id })),
        Op::Write => {
            role.id = asked.fields().await?.need("role_id")?;
            for (other, found) in state.0.store.documents::<Role>(ROLE).await? {
                if other != name && found.id == role.id {
                    return Err(Refused::invalid("role_id is in use by another role"));
                }
            }
            state.put_document(ROLE, name, &role).await?;
            done()
        }
        _ => Err(Refused::unsupported()),
    }
}

async fn secrets_of(state: &ServerState, role: &str) -> Result<Vec<(String, SecretId)>, Error> {
    let mut all = state.0.store.documents::<SecretId>(SECRET).await?;
    all.retain(|(_, secret)| secret.role == role);
    Ok(all)
}

fn hash(state: &ServerState, role: &str, secret: &str) -> Result<String, Error> {
    state.0.store.hash("approle.secret-id", &[role.as_bytes(), secret.as_bytes()])
}

async fn make(state: &ServerState, asked: &mut Asked, name: &str, custom: bool) -> Answer {
    let role = known(state, name).await?;
    let fields = asked.fields().await?;
    fields.refuse(&["token_bound_cidrs"])?;
    let now = state.0.host.now();
    let mut live = 0;
    for (hash, secret) in secrets_of(state, name).await? {
        if secret.is_live(now) {
            live += 1;
        } else {
            state.0.store.delete_document(SECRET, &hash).await?;
        }
    }
    if live >= MAX_SECRETS {
        return Err(Refused::invalid(format!("role {name:?} has {MAX_SECRETS} secret ids: destroy some")));
    }
    let secret = match custom {
        true => Zeroizing::new(fields.need("secret_id")?),
        false => Zeroizing::new(state.uuid()?),
    };
    let cidrs = fields.texts("cidr_list")?.unwrap_or_else(|| role.secret_cidrs.clone());
    blocks(&cidrs)?;
    let ttl = match (fields.seconds("ttl")?, role.secret_ttl) {
        (Some(ttl), most) if most > 0 && (ttl == 0 || ttl > most) => {
            return Err(Refused::invalid("ttl cannot be longer than the role's secret_id_ttl"));
        }
        (asked, most) => asked.unwrap_or(most),
    };
    let uses = match (fields.count("num_uses")?, role.secret_num_uses) {
        (Some(uses), most) if most > 0 && (uses == 0 || uses > most) => {
            return Err(Refused::invalid("num_uses cannot be higher than the role's secret_id_num_uses"));
        }
        (asked, most) => asked.unwrap_or(most),
    };
    let made = SecretId {
        role: name.into(),
        accessor: state.uuid()?,
        created: now,
        expires: (ttl > 0).then(|| after(now, ttl)),
        ttl,
        uses: (uses > 0).then_some(uses),
        cidrs,
        meta: fields.words("metadata")?.unwrap_or_default(),
    };
    state.put_document(SECRET, &hash(state, name, &secret)?, &made).await?;
    state.answer(json!({
        "secret_id": *secret, "secret_id_accessor": made.accessor, "secret_id_ttl": ttl, "secret_id_num_uses": uses,
    }))
}

async fn one_secret(state: &ServerState, asked: &mut Asked, name: &str, below: &str) -> Answer {
    known(state, name).await?;
    let fields = asked.fields().await?;
    let found = if below.starts_with("secret-id-accessor") {
        let accessor = fields.need("secret_id_accessor")?;
        secrets_of(state, name).await?.into_iter().find(|(_, secret)| secret.accessor == accessor)
    } else {
        let at = hash(state, name, &Zeroizing::new(fields.need("secret_id")?))?;
        state.document::<SecretId>(SECRET, &at).await?.map(|secret| (at, secret))
    };
    if below.ends_with("lookup") {
        let (_, secret) = found.filter(|(_, s)| s.is_live(state.0.host.now())).ok_or_else(Refused::not_found)?;
        return state.answer(secret.describe());
    }
    if let Some((hash, _)) = found {
        state.0.store.delete_document(SECRET, &hash).await?;
    }
    done()
}

pub(super) async fn login(state: &ServerState, fields: &Fields, remote: Option<IpAddr>) -> Result<Passed, Refused> {
    // One answer for everything that is wrong with the pair: it does not say which half was right.
    let invalid = || Refused::invalid("invalid role or secret ID");
    let id = fields.need("role_id")?;
    let secret = Zeroizing::new(fields.need("secret_id")?);
    let roles = state.0.store.documents::<Role>(ROLE).await?;
    let role = roles.into_iter().find(|(_, role)| bool::from(role.id.as_bytes().ct_eq(id.as_bytes())));
    // An unknown role costs the same look-up.
    let name = role.as_ref().map_or("", |(name, _)| name);
    let at = hash(state, name, &secret)?;
    let found = state.document::<SecretId>(SECRET, &at).await?;
    let ((name, role), found) = role.zip(found).ok_or_else(invalid)?;
    let allowed = blocks(&found.cidrs)?;
    let inside = |address: IpAddr| allowed.iter().any(|block| block.contains(address));
    if !allowed.is_empty() && !remote.is_some_and(inside) {
        return Err(invalid());
    }
    let (now, mut spent) = (state.0.host.now(), false);
    let count = |secret: Option<SecretId>| {
        let Some(mut secret) = secret.filter(|secret| secret.is_live(now)) else {
            spent = true;
            return Ok(None);
        };
        spent = false;
        secret.uses = secret.uses.map(|uses| uses - 1);
        Ok((secret.uses != Some(0)).then_some(secret))
    };
    // Without a limit there is nothing to count, and nothing to write.
    if found.uses.is_some() || !found.is_live(now) {
        state.0.store.update_document(SECRET, &at, count).await?;
    }
    if spent {
        return Err(invalid());
    }
    let mut meta = found.meta;
    meta.insert("role_name".into(), name.clone());
    let who = Who {
        identity: Identity::AppRole { role: name },
        display_name: "approle".into(),
        path: "auth/approle/login",
        meta,
        ends: None,
        proof: None,
    };
    Ok(Passed { new: role.token.token(who, now), warnings: Vec::new() })
}
