//! What Vault's clients ask of `sys` before they work, sealing, and what somebody may do.

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::{Map, Value, json};

use super::ServerState;
use super::answer::{Answer, Refused, done};
use super::request::{Asked, Caller, Op};
use super::route::Route;
use crate::policy::kv_paths::KvPath;
use crate::policy::{self, Holder};

/// What is answered without a token, sealed or not.
pub(super) async fn early(state: &ServerState, route: Route<'_>, asked: &mut Asked) -> Answer {
    match (route, asked.op) {
        (Route::Health, Op::Read) => health(state, asked).await,
        (Route::SealStatus, Op::Read) => Ok(Json(seal_status(state).await?).into_response()),
        (Route::Leader, Op::Read) => Ok(Json(json!({
            "ha_enabled": false, "is_self": false, "leader_address": "", "leader_cluster_address": "",
        }))
        .into_response()),
        // The store is made by the program before it listens.
        (Route::Init, Op::Read) => Ok(Json(json!({ "initialized": state.is_initialized().await? })).into_response()),
        (Route::Init, Op::Write) => Err(Refused::invalid(match state.is_initialized().await? {
            true => "Vault is already initialized",
            false => "the program that runs this server makes the store's keys, not a client",
        })),
        (Route::Unseal, Op::Write) => unseal(state, asked).await,
        _ => Err(Refused::unsupported()),
    }
}

/// `sys/health`: the status tells load balancers what the body tells people. 200 active, 501 without keys, 503 sealed;
/// 429 (standby), 472 and 473 (replication) do not occur, and their parameters are taken all the same. Ours: 500 while the
/// store is older than the copy of its head, and takes no writes (`rolledbackcode`).
async fn health(state: &ServerState, asked: &Asked) -> Answer {
    let (initialized, sealed) = (state.is_initialized().await?, state.is_sealed());
    let code = |name: &str, default: u16| match asked.query.get(name) {
        None => Ok(StatusCode::from_u16(default).unwrap_or(StatusCode::OK)),
        Some(text) => {
            let code = text.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok());
            code.ok_or_else(|| Refused::invalid(format!("Bad value for {name}: it has to be a status, as in 200")))
        }
    };
    for name in ["standbycode", "drsecondarycode", "performancestandbycode"] {
        code(name, 200)?;
    }
    let (none, closed, active) = (code("uninitcode", 501)?, code("sealedcode", 503)?, code("activecode", 200)?);
    let (back, rolled_back) = (code("rolledbackcode", 500)?, !sealed && state.0.store.witnessed().is_rolled_back());
    let status = match (initialized, sealed) {
        (false, _) => none,
        (true, true) => closed,
        (true, false) if rolled_back => back,
        (true, false) => active,
    };
    let mut body = json!({
        "initialized": initialized, "sealed": sealed, "standby": false, "performance_standby": false,
        "replication_performance_mode": "disabled", "replication_dr_mode": "disabled",
        "server_time_utc": state.0.host.now().as_second(), "version": env!("CARGO_PKG_VERSION"),
        "cluster_name": "homelab",
    });
    if rolled_back {
        body["rolled_back"] = true.into();
    }
    Ok((status, Json(body)).into_response())
}

async fn seal_status(state: &ServerState) -> Result<Value, Refused> {
    Ok(json!({
        "type": "static", "initialized": state.is_initialized().await?, "sealed": state.is_sealed(), "t": 1, "n": 1, "progress": 0, "nonce": "",
        "version": env!("CARGO_PKG_VERSION"), "migration": false, "recovery_seal": false, "storage_type": "homelab",
        "cluster_name": "homelab",
    }))
}

/// `sys/seal`, for root and sudo.
pub(super) async fn seal(state: &ServerState, caller: &Caller, asked: &Asked) -> Answer {
    state.allow_care(caller, asked)?;
    match asked.op {
        Op::Write => {
            state.seal()?;
            tracing::warn!(who = %caller.session.identity, "the store was sealed");
            done()
        }
        _ => Err(Refused::unsupported()),
    }
}

/// `sys/unseal` with a passphrase or the text of a key file as `key`.
async fn unseal(state: &ServerState, asked: &mut Asked) -> Answer {
    let fields = asked.fields().await?;
    let reset = fields.flag("reset")?.unwrap_or(false);
    if !reset && state.is_sealed() {
        let key = fields
            .need("key")
            .map(zeroize::Zeroizing::new)
            .map_err(|_| Refused::invalid("'key' must be specified in request body as JSON, or 'reset' set to true"))?;
        state.limit_address(asked)?;
        state.unseal(&key).await?;
        tracing::warn!("the store was unsealed");
    }
    Ok(Json(seal_status(state).await?).into_response())
}

/// Whose capabilities are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    Own,
    Token,
    Accessor,
}

/// `sys/capabilities…`: what somebody may do at some paths.
pub(super) async fn capabilities(state: &ServerState, caller: &Caller, asked: &mut Asked, whose: Whose) -> Answer {
    state.allow_system(caller, asked, false)?;
    if asked.op != Op::Write {
        return Err(Refused::unsupported());
    }
    let fields = asked.fields().await?;
    let paths = fields.texts("paths")?.or(fields.texts("path")?).filter(|paths| !paths.is_empty());
    let paths = paths.ok_or_else(|| Refused::invalid("paths must be supplied"))?;
    let session = match whose {
        Whose::Own => caller.session.clone(),
        Whose::Token => {
            let token = zeroize::Zeroizing::new(fields.need("token")?);
            let invalid = || Refused::invalid("invalid token");
            state.session_of(&token)?.map(|(_, session)| session).ok_or_else(invalid)?
        }
        Whose::Accessor => {
            let found = state.0.tokens.by_accessor(&fields.need("accessor")?, state.0.host.now());
            found.ok_or_else(|| Refused::invalid("invalid accessor"))?.1
        }
    };
    let mut data: Map<String, Value> = Map::new();
    for path in &paths {
        data.insert(path.clone(), truth(state, session.holder(), path).into());
    }
    if let [only] = paths.as_slice() {
        data.insert("capabilities".into(), data[only].clone());
    }
    state.answer_sys(data)
}

fn truth(state: &ServerState, holder: Holder<'_>, path: &str) -> Vec<String> {
    let path = path.trim_start_matches('/').trim_start_matches("v1/");
    let kv = KvPath::parse(path);
    policy::capabilities(&state.0.policy, holder, path, |needs| {
        let kv = kv.as_ref()?;
        Some((kv.secret(), kv.verb.on_secret(needs)?))
    })
}
