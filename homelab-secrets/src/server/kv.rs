//! `/v1/MOUNT/{data,subkeys,delete,undelete,destroy}/PATH`.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::ServerState;
use super::answer::{Answer, Refused, done, time};
use super::audit::Version;
use super::fields::Fields;
use super::request::{Asked, Caller, Op, number};
use super::{metadata, mounts};
use crate::kv::{Settings, State as PathState, VersionInfo, subkeys};
use crate::policy::kv_paths::Verb;
use crate::policy::{Access, Capability, Ruling};
use crate::sealed::GIT_MOUNT;
use crate::store::{Put, SecretData, SecretPath, Taken, warnings};

/// A version as it is read: Vault tells about deleted ones too, with status 404 and no value.
#[derive(Serialize)]
struct ReadData<'a> {
    data: Option<&'a SecretData>,
    metadata: Value,
}

/// One request, with everything that the handlers below look at.
struct One<'a> {
    state: &'a ServerState,
    caller: &'a Caller,
    asked: &'a mut Asked,
    path: SecretPath,
}

pub(super) async fn serve(
    state: &ServerState,
    caller: &Caller,
    asked: &mut Asked,
    (mount, verb, path): (&str, Verb, &str),
) -> Answer {
    if mount == GIT_MOUNT && !matches!(asked.op, Op::Read | Op::List) && !path.is_empty() {
        return Err(refuse_write(state, caller, asked, &SecretPath::parse(&format!("{mount}/{path}"))?).await);
    }
    if verb == Verb::Metadata {
        return metadata::serve(state, caller, asked, (mount, path)).await;
    }
    if path.is_empty() {
        state.allow_system(caller, asked, false)?;
        return if mounts::exists(state, mount) {
            state.hint("Non-listing operations on the root of a K/V v2 mount are not supported.")
        } else {
            Err(Refused::no_route(&asked.path))
        };
    }
    let path = SecretPath::parse(&format!("{mount}/{path}"))?;
    let op = asked.op;
    let mut one = One { state, caller, asked, path };
    match (verb, op) {
        (Verb::Data, Op::Read) => one.read().await,
        (Verb::Data, Op::Write) => one.put().await,
        (Verb::Data, Op::Patch) => one.patch().await,
        (Verb::Data, Op::Delete) => one.delete(&[]).await,
        (Verb::Subkeys, Op::Read) => one.subkeys().await,
        (Verb::Delete, Op::Write) => {
            one.allow(Capability::Update)?;
            let versions = versions(&one.asked.fields().await?)?;
            let hits = state.0.store.delete(&one.path, &versions).await?;
            state.done_with(warnings(&one.path, &hits, Taken::Deleted))
        }
        (Verb::Undelete, Op::Write) => {
            one.allow(Capability::Update)?;
            let versions = versions(&one.asked.fields().await?)?;
            state.0.store.undelete(&one.path, &versions).await?;
            done()
        }
        (Verb::Destroy, Op::Write) => {
            one.allow(Capability::Update)?;
            let versions = versions(&one.asked.fields().await?)?;
            let hits = state.0.store.destroy(&one.path, &versions).await?;
            state.done_with(warnings(&one.path, &hits, Taken::Destroyed))
        }
        _ => {
            state.allow_system(caller, one.asked, false)?;
            Err(Refused::unsupported())
        }
    }
}

/// Sealed files are changed in Git. Where, is said to who may read the secret.
async fn refuse_write(state: &ServerState, caller: &Caller, asked: &Asked, path: &SecretPath) -> Refused {
    let secret = Some((path.as_str(), Capability::Read));
    let access = Access { api: &asked.api(), needs: asked.op.needs(), sudo: false, secret };
    match state.allow(caller, &access) {
        Ok(()) => state.0.store.read_only(path).await.into(),
        Err(refused) => refused,
    }
}

impl One<'_> {
    fn allow(&self, needs: Capability) -> Result<(), Refused> {
        self.state.allow_kv(self.caller, self.asked, needs)
    }

    async fn read(&self) -> Answer {
        self.allow(Capability::Read)?;
        let version = self.asked.version()?;
        let found = self.state.0.store.find(&self.path, version).await?.ok_or_else(Refused::not_found)?;
        let mut meta = version_fields(found.version, &found.info);
        meta["custom_metadata"] = custom(&found.custom);
        let status = if found.secret.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let data = found.secret.as_ref().map(|secret| &secret.data);
        Version(found.version).on(self.state.answer_with(status, ReadData { data, metadata: meta }, Value::Null))
    }

    /// Names of keys, without their values.
    async fn subkeys(&self) -> Answer {
        self.allow(Capability::Read)?;
        let (version, depth) = (self.asked.version()?, self.asked.number("depth")?.unwrap_or(0));
        let found = self.state.0.store.find(&self.path, version).await?.ok_or_else(Refused::not_found)?;
        let mut meta = version_fields(found.version, &found.info);
        meta["custom_metadata"] = custom(&found.custom);
        let status = if found.secret.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let names = found.secret.as_ref().map(|secret| subkeys(secret.data.expose(), depth));
        self.state.answer_with(status, json!({ "metadata": meta, "subkeys": names }), Value::Null)
    }

    async fn put(&mut self) -> Answer {
        let must_be_new = self.allow_put().await?;
        let fields = self.asked.fields().await?;
        let mut how = self.how(&fields)?;
        if must_be_new && how.cas.is_none() {
            how.cas = Some(0);
        }
        let (version, state) = self.state.0.store.put(&self.path, data(fields)?, how).await?;
        self.written(version, &state)
    }

    /// Create for a path that has no version, update for one that has. Says whether it has to be new: who may only create
    /// writes with `cas` 0, so that a version made in between is not written over.
    async fn allow_put(&self) -> Result<bool, Refused> {
        let api = &self.asked.path;
        let ruling = |needs| {
            let access = Access { api, needs, sudo: false, secret: Some((self.path.as_str(), needs)) };
            self.state.ruling(self.caller, &access)
        };
        let (create, update) = (ruling(Capability::Create), ruling(Capability::Update));
        if let (Ruling::Allow(_), Ruling::Allow(_)) = (&create, &update) {
            return Ok(false);
        }
        let exists = self.state.0.store.history(&self.path).await?.is_some_and(|state| state.current > 0);
        self.allow(if exists { Capability::Update } else { Capability::Create })?;
        Ok(!exists)
    }

    async fn patch(&mut self) -> Answer {
        self.allow(Capability::Patch)?;
        self.asked.expect_merge_patch()?;
        let fields = self.asked.fields().await?;
        let how = self.how(&fields)?;
        let (version, state) = self.state.0.store.patch(&self.path, data(fields)?, how).await?;
        self.written(version, &state)
    }

    async fn delete(&self, versions: &[u64]) -> Answer {
        self.allow(Capability::Delete)?;
        let hits = self.state.0.store.delete(&self.path, versions).await?;
        self.state.done_with(warnings(&self.path, &hits, Taken::Deleted))
    }

    fn how(&self, fields: &Fields) -> Result<Put, Refused> {
        let cas = match fields.value("options").and_then(|options| options.get("cas")) {
            None | Some(Value::Null) => None,
            Some(cas) => Some(number(cas).ok_or_else(|| Refused::invalid("cas is not a number"))?),
        };
        Ok(Put { cas, writer: self.caller.session.identity.to_string() })
    }

    fn written(&self, version: u64, state: &PathState) -> Answer {
        let info = state.versions.get(&version).ok_or_else(Refused::not_found)?;
        let mut data = version_fields(version, info);
        data["custom_metadata"] = custom(&state.settings.custom);
        Version(version).on(self.state.answer(data))
    }
}

fn data(mut fields: Fields) -> Result<SecretData, Refused> {
    match fields.0.remove("data") {
        Some(Value::Object(map)) => Ok(SecretData::new(map)),
        None | Some(Value::Null) => Err(Refused::invalid("no data provided")),
        Some(_) => Err(Refused::invalid("error converting input for field \"data\": expected an object")),
    }
}

fn versions(fields: &Fields) -> Result<Vec<u64>, Refused> {
    let wrong = || Refused::invalid("versions holds what is not a number");
    let values = match fields.value("versions") {
        None => Vec::new(),
        Some(Value::Array(values)) => values.clone(),
        Some(Value::String(text)) => text.split(',').map(|text| text.trim().into()).collect(),
        Some(one) => vec![one.clone()],
    };
    if values.is_empty() {
        return Err(Refused::invalid("no version number provided"));
    }
    values.iter().map(|value| number(value).ok_or_else(wrong)).collect()
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
