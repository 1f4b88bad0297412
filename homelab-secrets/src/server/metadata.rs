//! `/v1/MOUNT/metadata/PATH`: history, settings, listing, and taking a path away.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::{HeaderMap, Method};
use serde_json::{Map, Value, json};

use super::ServerState;
use super::answer::{Answer, Refused, done, time};
use super::body::{self, Caller, Query};
use super::kv;
use crate::kv::{SettingsChange, State as PathState, duration};
use crate::policy::Capability;
use crate::store::{Folder, SecretPath};

/// The mount's own folder: it can only be listed.
pub(super) async fn root(
    State(state): State<ServerState>,
    caller: Caller,
    method: Method,
    Path(mount): Path<String>,
    UrlQuery(query): UrlQuery<Query>,
) -> Answer {
    if !is_list(&method, &query) {
        return Err(Refused::unsupported());
    }
    list(&state, &caller, &Folder::parse(&mount)?).await
}

pub(super) async fn one(
    State(state): State<ServerState>,
    caller: Caller,
    method: Method,
    Path((mount, path)): Path<(String, String)>,
    UrlQuery(query): UrlQuery<Query>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let full = format!("{mount}/{path}");
    if is_list(&method, &query) {
        return list(&state, &caller, &Folder::parse(&full)?).await;
    }
    let path = SecretPath::parse(&full)?;
    match method.as_str() {
        "GET" => {
            state.allow(&caller, path.as_str(), Capability::Read)?;
            state.answer(describe(&state.0.store.history(&path).await?.ok_or_else(Refused::not_found)?))
        }
        "POST" | "PUT" => {
            let exists = state.0.store.history(&path).await?.is_some();
            state.allow(&caller, path.as_str(), if exists { Capability::Update } else { Capability::Create })?;
            state.0.store.set(&path, change(&body::json(body)?, false)?, false).await?;
            done()
        }
        "PATCH" => {
            state.allow(&caller, path.as_str(), Capability::Patch)?;
            body::expect_merge_patch(&headers)?;
            state.0.store.set(&path, change(&body::json(body)?, true)?, true).await?;
            done()
        }
        "DELETE" => {
            state.allow(&caller, path.as_str(), Capability::Sudo)?;
            state.0.store.remove(&path).await?;
            done()
        }
        _ => Err(Refused::unsupported()),
    }
}

fn is_list(method: &Method, query: &Query) -> bool {
    method.as_str() == "LIST" || (method == Method::GET && query.wants_list())
}

async fn list(state: &ServerState, caller: &Caller, folder: &Folder) -> Answer {
    state.allow(caller, folder.as_str(), Capability::List)?;
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
            "max_versions" => change.max_versions = Some(body::number(value).ok_or_else(|| wrong(field))?),
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
