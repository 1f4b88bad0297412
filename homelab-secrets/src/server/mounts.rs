//! Mounts of secrets: `sys/mounts…`, `MOUNT/config`, and what `bao kv` asks before it works.

use serde_json::{Map, Value, json};

use super::ServerState;
use super::answer::{Answer, Refused, done, object};
use super::auth_mounts;
use super::fields::Fields;
use super::request::{Asked, Caller, Op};
use super::tokens::MAX_TTL;
use crate::Error;
use crate::kv::duration;
use crate::store::{Mount, MountChange};

pub(super) fn exists(state: &ServerState, name: &str) -> bool {
    find(state, name).is_some()
}

fn find(state: &ServerState, name: &str) -> Option<Mount> {
    state.0.store.mounts().into_iter().find(|mount| mount.name == name)
}

/// `GET sys/mounts`
pub(super) fn all(state: &ServerState, caller: &Caller, asked: &Asked) -> Answer {
    state.allow_system(caller, asked, false)?;
    match asked.op {
        Op::Read => state.answer_sys(described(state)),
        _ => Err(Refused::unsupported()),
    }
}

/// `sys/mounts/NAME`
pub(super) async fn one(state: &ServerState, caller: &Caller, asked: &mut Asked, name: &str) -> Answer {
    state.allow_system(caller, asked, false)?;
    match asked.op {
        Op::Read => {
            let mount = find(state, name);
            let mount = mount.ok_or_else(|| Refused::invalid(format!("No secret engine mount at {name}/")))?;
            state.answer_sys(describe(&mount))
        }
        Op::Write => {
            let fields = asked.fields().await?;
            let kind =
                fields.need("type").map_err(|_| Refused::invalid("backend type must be specified as a string"))?;
            let version = fields.value("options").and_then(|options| options.get("version"));
            let version =
                version.map_or_else(|| "2".into(), |v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
            match (kind.as_str(), version.as_str()) {
                ("kv" | "kv-v2", "2") => {}
                ("kv" | "generic" | "kv-v1", _) => {
                    return Err(Refused::invalid("this server has KV version 2 only: add -version=2, or leave it out"));
                }
                (other, _) => {
                    return Err(Refused::invalid(format!("plugin not found in the catalog: {other}; there is kv")));
                }
            }
            if exists(state, name) {
                return Err(Refused::invalid(format!("path is already in use at {name}/")));
            }
            let description = fields.text("description")?.unwrap_or_default();
            state.0.store.add_mount(name, &description).await?;
            done()
        }
        Op::Delete => match state.0.store.remove_mount(name).await {
            // What is not there is gone, as in Vault.
            Ok(_) | Err(Error::NotFound(_)) => done(),
            Err(error) => Err(error.into()),
        },
        _ => Err(Refused::unsupported()),
    }
}

/// `sys/mounts/NAME/tune`. Leases are of no use for KV; their settings are read and left as they are.
pub(super) async fn tune(state: &ServerState, caller: &Caller, asked: &mut Asked, name: &str) -> Answer {
    state.allow_system(caller, asked, false)?;
    let missing = || Refused::invalid(format!("cannot fetch sysview for path \"{name}/\""));
    match asked.op {
        Op::Read => {
            let mount = find(state, name).ok_or_else(missing)?;
            state.answer_sys(object(json!({
                "description": mount.description, "default_lease_ttl": MAX_TTL, "max_lease_ttl": MAX_TTL,
                "force_no_cache": false, "options": { "version": "2" },
            })))
        }
        Op::Write => {
            if !exists(state, name) {
                return Err(missing());
            }
            let fields = asked.fields().await?;
            let change = MountChange { description: fields.text("description")?, ..MountChange::default() };
            state.0.store.tune_mount(name, change).await?;
            done()
        }
        _ => Err(Refused::unsupported()),
    }
}

/// `MOUNT/config`
pub(super) async fn config(state: &ServerState, caller: &Caller, asked: &mut Asked, name: &str) -> Answer {
    state.allow_system(caller, asked, false)?;
    let Some(mount) = find(state, name) else { return Err(Refused::no_route(&asked.path)) };
    match asked.op {
        Op::Read => {
            let settings = mount.settings;
            state.answer(json!({
                "max_versions": settings.max_versions, "cas_required": settings.cas_required,
                "delete_version_after": duration::format(settings.delete_version_after),
            }))
        }
        Op::Write => {
            state.0.store.tune_mount(name, settings(&asked.fields().await?)?).await?;
            done()
        }
        _ => Err(Refused::unsupported()),
    }
}

fn settings(fields: &Fields) -> Result<MountChange, Refused> {
    let after = fields.seconds("delete_version_after")?.map(jiff::SignedDuration::from_secs);
    Ok(MountChange {
        description: None,
        max_versions: fields.count("max_versions")?,
        cas_required: fields.flag("cas_required")?,
        delete_version_after: after,
    })
}

/// `GET sys/internal/ui/mounts`: what the caller has anything to do with. Whoever has a token may ask.
pub(super) async fn ui_all(state: &ServerState, caller: &Caller, asked: &Asked) -> Answer {
    if asked.op != Op::Read {
        return Err(Refused::unsupported());
    }
    let auth = match auth_mounts::seen(state, caller) {
        true => auth_mounts::described(state).await?,
        false => Map::new(),
    };
    state.answer(json!({ "secret": described(state), "auth": auth }))
}

/// `GET sys/internal/ui/mounts/PATH`: `bao kv` asks here which version of KV a path has.
pub(super) fn ui_one(state: &ServerState, _: &Caller, asked: &Asked, path: &str) -> Answer {
    if asked.op != Op::Read {
        return Err(Refused::unsupported());
    }
    let name = path.split('/').next().unwrap_or_default();
    let missing = || {
        Refused::new(
            axum::http::StatusCode::FORBIDDEN,
            format!(
                "preflight capability check returned 403, please ensure client's policies grant access to path \"{path}/\": there is no mount {name}"
            ),
        )
    };
    let mut data = describe(&find(state, name).ok_or_else(missing)?);
    data.insert("path".into(), format!("{name}/").into());
    state.answer(data)
}

fn described(state: &ServerState) -> Map<String, Value> {
    state.0.store.mounts().iter().map(|mount| (format!("{}/", mount.name), describe(mount).into())).collect()
}

fn describe(mount: &Mount) -> Map<String, Value> {
    object(json!({
        "type": "kv", "options": { "version": "2" }, "description": mount.description, "uuid": mount.uuid(),
        "accessor": format!("kv_{}", &mount.uuid()[..8]), "local": false, "seal_wrap": false,
        "external_entropy_access": false,
        "config": { "default_lease_ttl": 0, "max_lease_ttl": 0, "force_no_cache": false },
    }))
}
