//! `/v1/MOUNT/metadata/PATH`: history, settings, listing, and taking a path away.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ServerState;
use super::answer::{Answer, Refused, done, time};
use super::kv;
use super::request::{Asked, Caller, Op, number};
use crate::kv::{SettingsChange, State as PathState, duration};
use crate::policy::Capability;
use crate::store::{Folder, SecretPath, Taken, warnings};

pub(super) async fn serve(
    state: &ServerState,
    caller: &Caller,
    asked: &mut Asked,
    (mount, path): (&str, &str),
) -> Answer {
    let full = format!("{mount}/{path}");
    if asked.op == Op::List {
        return list(state, caller, asked, &Folder::parse(&full)?).await;
    }
    if path.is_empty() {
        state.allow_system(caller, asked, false)?;
        return Err(Refused::unsupported());
    }
    let (store, path) = (&state.0.store, SecretPath::parse(&full)?);
    match asked.op {
        Op::List => Err(Refused::unsupported()),
        Op::Read => {
            state.allow_kv(caller, asked, Capability::Read)?;
            state.answer(describe(&store.history(&path).await?.ok_or_else(Refused::not_found)?))
        }
        Op::Write => {
            let exists = store.history(&path).await?.is_some();
            state.allow_kv(caller, asked, if exists { Capability::Update } else { Capability::Create })?;
            store.set(&path, change(&asked.fields().await?.0, false)?, false).await?;
            done()
        }
        Op::Patch => {
            state.allow_kv(caller, asked, Capability::Patch)?;
            asked.expect_merge_patch()?;
            store.set(&path, change(&asked.fields().await?.0, true)?, true).await?;
            done()
        }
        Op::Delete => {
            state.allow_kv(caller, asked, Capability::Delete)?;
            let hits = store.remove(&path).await?;
            state.done_with(warnings(&path, &hits, Taken::Destroyed))
        }
    }
}

async fn list(state: &ServerState, caller: &Caller, asked: &Asked, folder: &Folder) -> Answer {
    state.allow_kv(caller, asked, Capability::List)?;
    let keys = state.0.store.list(folder).await?;
    if keys.is_empty() {
        return Err(Refused::not_found());
    }
    state.answer(json!({ "keys": keys }))
}

fn describe(state: &PathState) -> Value {
    let versions: Map<String, Value> =
        state.versions.iter().map(|(version, info)| (version.to_string(), kv::version_info(info))).collect();
    let mut data = kv::settings(&state.settings);
    data["created_time"] = time(Some(state.created));
    data["updated_time"] = time(Some(state.updated));
    data["current_version"] = state.current.into();
    data["oldest_version"] = state.oldest().into();
    data["versions"] = versions.into();
    data
}

/// Reads settings; in a patch `null` puts one back to its default.
fn change(body: &Map<String, Value>, patch: bool) -> Result<SettingsChange, Refused> {
    let wrong = |field: &str| Refused::invalid(format!("{field} has the wrong type"));
    let mut change = SettingsChange::default();
    for (field, value) in body.iter().filter(|(_, value)| patch || !value.is_null()) {
        match field.as_str() {
            "max_versions" if value.is_null() => change.max_versions = Some(0),
            "max_versions" => change.max_versions = Some(number(value).ok_or_else(|| wrong(field))?),
            "cas_required" if value.is_null() => change.cas_required = Some(false),
            "cas_required" => change.cas_required = Some(value.as_bool().ok_or_else(|| wrong(field))?),
            "delete_version_after" if value.is_null() => change.delete_version_after = Some(jiff::SignedDuration::ZERO),
            "delete_version_after" => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                change.delete_version_after = Some(duration::parse(&text).ok_or_else(|| wrong(field))?);
            }
            "custom_metadata" => change.custom = Some(words(value, patch).ok_or_else(|| wrong(field))?),
            // Vault ignores what it does not know; so its newer clients work.
            _ => {}
        }
    }
    Ok(change)
}

fn words(value: &Value, patch: bool) -> Option<BTreeMap<String, Option<String>>> {
    let word = |value: &Value| match value {
        Value::Null if patch => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        _ => None,
    };
    value.as_object()?.iter().map(|(key, value)| Some((key.clone(), word(value)?))).collect()
}
