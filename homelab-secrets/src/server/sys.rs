//! What Vault's clients ask of `sys` before they work.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::ServerState;
use super::answer::{Answer, Refused};
use super::body::Caller;
use crate::store::Mount;

/// A server that answers has an open store: it is opened before the listener is.
pub(super) async fn health(State(state): State<ServerState>) -> Json<Value> {
    Json(json!({
        "initialized": true, "sealed": false, "standby": false, "performance_standby": false,
        "server_time_utc": state.0.host.now().as_second(), "version": env!("CARGO_PKG_VERSION"),
        "cluster_name": "homelab",
    }))
}

pub(super) async fn seal_status() -> Json<Value> {
    Json(json!({
        "type": "static", "initialized": true, "sealed": false, "t": 1, "n": 1, "progress": 0, "nonce": "",
        "version": env!("CARGO_PKG_VERSION"), "migration": false, "recovery_seal": false, "storage_type": "homelab",
    }))
}

/// `bao status` asks for this too.
pub(super) async fn leader() -> Json<Value> {
    Json(json!({ "ha_enabled": false, "is_self": false, "leader_address": "", "leader_cluster_address": "" }))
}

/// Names of mounts are no secret to who has a token.
pub(super) async fn mounts(State(state): State<ServerState>, _: Caller) -> Answer {
    state.answer(all(&state))
}

pub(super) async fn ui_mounts(State(state): State<ServerState>, _: Caller) -> Answer {
    state.answer(json!({ "secret": all(&state), "auth": {} }))
}

/// `bao kv` asks here which version of KV a path has.
pub(super) async fn ui_mount(State(state): State<ServerState>, _: Caller, Path(path): Path<String>) -> Answer {
    let name = path.split('/').next().unwrap_or_default();
    let mount = state.0.store.mounts().into_iter().find(|mount| mount.name == name);
    let mount = mount.ok_or_else(|| Refused::denied(Some(format!("there is no mount {name}"))))?;
    let mut data = describe(&mount);
    data["path"] = format!("{name}/").into();
    state.answer(data)
}

fn all(state: &ServerState) -> Value {
    state.0.store.mounts().iter().map(|mount| (format!("{}/", mount.name), describe(mount))).collect()
}

fn describe(mount: &Mount) -> Value {
    json!({
        "type": "kv", "options": { "version": "2" }, "description": mount.description, "uuid": mount.uuid(),
        "accessor": format!("kv_{}", &mount.uuid()[..8]), "local": false, "seal_wrap": false,
        "config": { "default_lease_ttl": 0, "max_lease_ttl": 0, "force_no_cache": false },
    })
}
