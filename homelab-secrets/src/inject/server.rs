//! The admission webhook: AdmissionReview v1 in, JSON patch out.
//!
//! A pod is admitted with its secrets at exact versions or denied with a message that says what to fix; the message
//! reaches the user as an event of the ReplicaSet or Job. Whoever reaches the port can learn names of keys and numbers
//! of versions (never values): keep it to the API server by a NetworkPolicy.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use homelab_core::class::Class;
use homelab_core::meta::{Account, annotation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::webhook::PATH;
use super::{
    InjectConfig, InjectedSecret, Refresh, SecretTarget, Wanted, format_annotation, inject_refreshed, parse_annotation,
};
use crate::Error;
use crate::kv::duration;

/// Largest AdmissionReview: a pod is at most 1.5 MiB in etcd.
const LARGEST: usize = 4 << 20;
/// Least time between two looks at the store, seconds.
const LEAST_REFRESH: u32 = 10;

/// What a path stands at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The version.
    pub version: u64,
    /// Names of its keys.
    pub keys: Vec<String>,
}

/// Looks secrets up as an account; values stay where they are.
#[async_trait]
pub trait SecretLookup: Send + Sync {
    /// The newest live version of `path`, or `version`, if `account` may read it. Class `NotFound` or `Denied`: the
    /// message names path, account and what to do. Idempotent.
    async fn look_up(&self, account: &Account, path: &str, version: Option<u64>) -> Result<Resolved, Error>;
}

/// What the webhook needs.
#[derive(Clone)]
pub struct AdmissionState {
    /// Finds versions and keys.
    pub lookup: Arc<dyn SecretLookup>,
    /// What every injected pod needs to know.
    pub config: Arc<InjectConfig>,
}

/// The webhook, at `POST /mutate/pods`.
pub fn admission_router(state: AdmissionState) -> Router {
    Router::new().route(PATH, post(mutate)).layer(DefaultBodyLimit::max(LARGEST)).with_state(state)
}

#[derive(Deserialize)]
struct Review {
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
    #[serde(default)]
    namespace: String,
    object: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

async fn mutate(State(state): State<AdmissionState>, Json(review): Json<Review>) -> Json<Value> {
    let Request { uid, namespace, object } = review.request;
    let answer = match injected(&state, &namespace, &object).await {
        Ok(after) => {
            let patch = json!(patch(&object, &after)).to_string();
            let patch = base64::engine::general_purpose::STANDARD.encode(patch);
            Answer { uid, allowed: true, status: None, patch_type: Some("JSONPatch"), patch: Some(patch) }
        }
        Err(error) => {
            tracing::info!(namespace, pod = name_of(&object), %error, "pod denied");
            let status = json!({"code": code(error.class()), "message": format!("homelab: {error}")});
            Answer { uid, allowed: false, status: Some(status), patch_type: None, patch: None }
        }
    };
    Json(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}))
}

/// The pod with its secrets.
async fn injected(state: &AdmissionState, namespace: &str, pod: &Value) -> Result<Value, Error> {
    let text = pod.get("metadata").and_then(|m| m.get("annotations")).and_then(|a| a.get(annotation::SECRETS));
    let Some(text) = text.and_then(Value::as_str) else {
        return Err(Error::Invalid(format!(
            "the pod asks for secrets (label homelab.dev/inject) but annotation {} is missing; write it, as in \
             kv/{namespace}/db=files:/run/secrets/db",
            annotation::SECRETS
        )));
    };
    let wanted = parse_annotation(text)
        .map_err(|error| Error::Invalid(format!("annotation {}: {error}", annotation::SECRETS)))?;
    let name = pod.pointer("/spec/serviceAccountName").and_then(Value::as_str).filter(|name| !name.is_empty());
    let account = Account::new(namespace, name.unwrap_or("default"));
    let refresh = refresh(pod, &wanted)?;
    let mut secrets = Vec::with_capacity(wanted.len());
    for Wanted { path, version, target } in wanted {
        let Resolved { version, keys } = state.lookup.look_up(&account, &path, version).await?;
        secrets.push(InjectedSecret { path, version, keys, target });
    }
    let mut after = pod.clone();
    inject_refreshed(&mut after, &secrets, refresh.as_ref(), &state.config)?;
    // What follows the store has no version that could be told here.
    if refresh.is_none()
        && let Some(annotations) = after.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.insert(annotation::SECRETS.into(), format_annotation(&secrets).into());
    }
    Ok(after)
}

/// What is to follow the store: files that name no exact version.
fn refresh(pod: &Value, wanted: &[Wanted]) -> Result<Option<Refresh>, Error> {
    let text = pod.get("metadata").and_then(|m| m.get("annotations")).and_then(|a| a.get(annotation::REFRESH));
    let Some(text) = text.and_then(Value::as_str) else { return Ok(None) };
    let wrong = |why: &str| Error::Invalid(format!("annotation {}: {text:?} {why}", annotation::REFRESH));
    let every = duration::parse(text).and_then(|every| u32::try_from(every.as_secs()).ok());
    let every = every.filter(|every| *every >= LEAST_REFRESH);
    let every = every.ok_or_else(|| wrong("is no time of at least 10s, as in 30s or 5m"))?;
    let follows = |wanted: &&Wanted| wanted.version.is_none() && matches!(wanted.target, SecretTarget::Files(_));
    let paths: Vec<_> = wanted.iter().filter(follows).map(|wanted| wanted.path.clone()).collect();
    if paths.is_empty() {
        return Err(wrong(
            "has nothing to refresh: variables never change while a process runs, and an exact version is exact; take a \
             secret as files, without @VERSION",
        ));
    }
    Ok(Some(Refresh { every, paths }))
}

/// The lists that [`inject_refreshed`] touches, each added whole where it differs.
fn patch(before: &Value, after: &Value) -> Vec<Value> {
    let mut patch = Vec::new();
    let mut compare = |pointer: String| match (before.pointer(&pointer), after.pointer(&pointer)) {
        (a, b) if a == b => {}
        (_, Some(value)) => patch.push(json!({"op": "add", "path": pointer, "value": value})),
        (Some(_), None) => patch.push(json!({"op": "remove", "path": pointer})),
        (None, None) => {}
    };
    compare(format!("/metadata/annotations/{}", annotation::SECRETS.replace('/', "~1")));
    compare("/spec/volumes".into());
    compare("/spec/initContainers".into());
    let containers = after.pointer("/spec/containers").and_then(Value::as_array).map_or(0, Vec::len);
    for index in 0..containers {
        for list in ["volumeMounts", "env"] {
            compare(format!("/spec/containers/{index}/{list}"));
        }
    }
    patch
}

fn name_of(pod: &Value) -> &str {
    let text = |pointer| pod.pointer(pointer).and_then(Value::as_str);
    text("/metadata/name").or_else(|| text("/metadata/generateName")).unwrap_or("?")
}

fn code(class: Class) -> u16 {
    match class {
        Class::Denied => 403,
        Class::NotFound => 404,
        Class::Invalid => 400,
        Class::Conflict => 409,
        Class::Retry => 503,
        Class::Bug => 500,
    }
}
