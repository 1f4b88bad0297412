//! `/v1/MOUNT/{data,delete,undelete,destroy}/PATH`.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ServerState;
use super::answer::{Answer, Refused, done, time};
use super::body::{self, Caller, Query};
use crate::kv::{Settings, State as PathState, VersionInfo};
use crate::policy::{Capability, Decision};
use crate::store::{Put, SecretData, SecretPath};

#[derive(Deserialize)]
struct WriteBody {
    data: Option<SecretData>,
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    cas: Option<Value>,
}

#[derive(Deserialize)]
struct VersionsBody {
    #[serde(default)]
    versions: Vec<Value>,
}

/// A version as it is read: Vault tells about deleted ones too, with status 404 and no value.
#[derive(Serialize)]
struct ReadData<'a> {
    data: Option<&'a SecretData>,
    metadata: Value,
}

/// One request, with everything that the handlers below look at.
struct Asked<'a> {
    state: &'a ServerState,
    caller: &'a Caller,
    path: SecretPath,
}

pub(super) async fn data(
    State(state): State<ServerState>,
    caller: Caller,
    method: Method,
    Path((mount, verb, path)): Path<(String, String, String)>,
    UrlQuery(query): UrlQuery<Query>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let path = SecretPath::parse(&format!("{mount}/{path}"))?;
    let asked = Asked { state: &state, caller: &caller, path };
    match (verb.as_str(), method.as_str()) {
        ("data", "GET") => asked.read(query.version()?).await,
        ("data", "POST" | "PUT") => asked.put(body::json(body)?).await,
        ("data", "PATCH") => {
            body::expect_merge_patch(&headers)?;
            asked.patch(body::json(body)?).await
        }
        ("data", "DELETE") => asked.delete(&[]).await,
        ("delete", "POST" | "PUT") => asked.delete(&versions(&body::json(body)?)?).await,
        ("undelete", "POST" | "PUT") => asked.undelete(&versions(&body::json(body)?)?).await,
        ("destroy", "POST" | "PUT") => asked.destroy(&body::json(body)?).await,
        ("data" | "delete" | "undelete" | "destroy", _) => Err(Refused::unsupported()),
        _ => Err(Refused::not_found()),
    }
}

impl Asked<'_> {
    fn allow(&self, capability: Capability) -> Result<(), Refused> {
        self.state.allow(self.caller, self.path.as_str(), capability)
    }

    async fn read(&self, version: Option<u64>) -> Answer {
        self.allow(Capability::Read)?;
        let found = self.state.0.store.find(&self.path, version).await?.ok_or_else(Refused::not_found)?;
        let mut meta = version_fields(found.version, &found.info);
        meta["custom_metadata"] = custom(&found.custom);
        let status = if found.secret.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let data = found.secret.as_ref().map(|secret| &secret.data);
        self.state.answer_with(status, ReadData { data, metadata: meta }, Value::Null)
    }

    async fn put(&self, body: WriteBody) -> Answer {
        let mut how = self.how(body.options)?;
        self.allow_put(&mut how).await?;
        let data = body.data.ok_or_else(|| Refused::invalid("no data provided"))?;
        let (version, state) = self.state.0.store.put(&self.path, data, how).await?;
        self.written(version, &state)
    }

    /// Create for a path that has no version, update for one that has. Who may only create writes with `cas` 0, so that
    /// a version made in between is not written over.
    async fn allow_put(&self, how: &mut Put) -> Result<(), Refused> {
        let may = |capability| {
            let decided = self.state.0.policy.decide(&self.caller.session.identity, self.path.as_str(), capability);
            decided == Decision::Allow
        };
        if may(Capability::Create) && may(Capability::Update) {
            return Ok(());
        }
        let exists = self.state.0.store.history(&self.path).await?.is_some_and(|state| state.current > 0);
        self.allow(if exists { Capability::Update } else { Capability::Create })?;
        if !exists && how.cas.is_none() {
            how.cas = Some(0);
        }
        Ok(())
    }

    async fn patch(&self, body: WriteBody) -> Answer {
        self.allow(Capability::Patch)?;
        let how = self.how(body.options)?;
        let data = body.data.ok_or_else(|| Refused::invalid("no data provided"))?;
        let (version, state) = self.state.0.store.patch(&self.path, data, how).await?;
        self.written(version, &state)
    }

    async fn delete(&self, versions: &[u64]) -> Answer {
        self.allow(Capability::Delete)?;
        self.state.0.store.delete(&self.path, versions).await?;
        done()
    }

    async fn undelete(&self, versions: &[u64]) -> Answer {
        self.allow(Capability::Update)?;
        self.state.0.store.undelete(&self.path, versions).await?;
        done()
    }

    async fn destroy(&self, body: &VersionsBody) -> Answer {
        self.allow(Capability::Sudo)?;
        self.state.0.store.destroy(&self.path, &versions(body)?).await?;
        done()
    }

    fn how(&self, options: Option<Options>) -> Result<Put, Refused> {
        let cas = match options.and_then(|options| options.cas) {
            None | Some(Value::Null) => None,
            Some(cas) => Some(body::number(&cas).ok_or_else(|| Refused::invalid("cas is not a number"))?),
        };
        Ok(Put { cas, writer: self.caller.session.identity.to_string() })
    }

    fn written(&self, version: u64, state: &PathState) -> Answer {
        let info = state.versions.get(&version).ok_or_else(Refused::not_found)?;
        let mut data = version_fields(version, info);
        data["custom_metadata"] = custom(&state.settings.custom);
        self.state.answer(data)
    }
}

fn versions(body: &VersionsBody) -> Result<Vec<u64>, Refused> {
    if body.versions.is_empty() {
        return Err(Refused::invalid("no version number provided"));
    }
    let number = |value| body::number(value).ok_or_else(|| Refused::invalid("versions holds what is not a number"));
    body.versions.iter().map(number).collect()
}

fn version_fields(version: u64, info: &VersionInfo) -> Value {
    let mut fields = version_info(info);
    fields["version"] = version.into();
    fields
}

/// One version as in the list of metadata.
pub(super) fn version_info(info: &VersionInfo) -> Value {
    json!({ "created_time": time(Some(info.created)), "deletion_time": time(info.deleted), "destroyed": info.destroyed })
}

/// Vault says `null` for no words.
pub(super) fn custom(words: &std::collections::BTreeMap<String, String>) -> Value {
    if words.is_empty() { Value::Null } else { json!(words) }
}

/// Settings as Vault names them.
pub(super) fn settings(settings: &Settings) -> Value {
    json!({
        "max_versions": settings.max_versions, "cas_required": settings.cas_required,
        "delete_version_after": crate::kv::duration::format(settings.delete_version_after),
        "custom_metadata": custom(&settings.custom),
    })
}
