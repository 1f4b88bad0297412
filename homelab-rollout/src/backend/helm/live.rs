//! The live side of a release: health, drift and repair, as the slot's account.

use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use homelab_core::apply::{ApplyError, ApplyOptions, api_for, apply};
use homelab_core::class::Class;
use homelab_core::client::{Kind, Kinds, KindsError, classify, explain};
use homelab_core::health::{Health, health};
use homelab_core::meta::{ObjectRef, label, manager};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::record::Record;
use super::{MANAGER, namespace};
use crate::deployer::{SlotRef, SlotState};
use crate::error::Error;
use crate::{preflight, stamp};

mod drift;

/// Requests at once for one release.
const AT_ONCE: usize = 8;

/// One object of a record, beside what the cluster holds.
struct Pair {
    reference: ObjectRef,
    kind: Option<Kind>,
    wanted: Value,
    live: Value,
}

/// Objects of a record as Helm applied them: with namespace and with its own label and annotations, which are not in
/// the manifest and would otherwise be given up by a second apply.
async fn objects(kinds: &Kinds, slot: &SlotRef, record: &Record) -> Result<Vec<Value>, Error> {
    let mut objects = stamp::stream::objects(&record.manifest)?;
    for object in &mut objects {
        complete(object, slot, kinds).await?;
        object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("Helm");
        object["metadata"]["annotations"]["meta.helm.sh/release-name"] = json!(slot.release);
        object["metadata"]["annotations"]["meta.helm.sh/release-namespace"] = json!(namespace(slot));
    }
    Ok(objects)
}

/// Gives a namespaced object the release's namespace, as Helm does.
pub(super) async fn complete(object: &mut Value, slot: &SlotRef, kinds: &Kinds) -> Result<(), Error> {
    let namespaced = kind_of(kinds, object).await?.is_none_or(|k| k.namespaced);
    if namespaced && object.pointer("/metadata/namespace").is_none_or(Value::is_null) && object.is_object() {
        object["metadata"]["namespace"] = json!(namespace(slot));
    }
    Ok(())
}

/// None: the cluster does not serve it.
async fn kind_of(kinds: &Kinds, object: &Value) -> Result<Option<Kind>, Error> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    match kinds.resolve(text("apiVersion"), text("kind")).await {
        Ok(kind) => Ok(Some(kind)),
        Err(KindsError::Unknown { .. }) => Ok(None),
        Err(error) => Err(Error::Api {
            action: format!("look up {}", text("kind")),
            message: error.to_string(),
            class: error.class(),
        }),
    }
}

async fn pair(client: &Client, kinds: &Kinds, wanted: Value) -> Result<Option<Pair>, Error> {
    let Some(reference) = ObjectRef::of(&wanted) else { return Ok(None) };
    let Some(kind) = kind_of(kinds, &wanted).await? else {
        return Ok(Some(Pair { reference, kind: None, wanted, live: Value::Null }));
    };
    let failed = |message, class| Error::Api { action: format!("read {reference}"), message, class };
    let api =
        api_for(client, &kind.resource, kind.namespaced, &reference).map_err(|e| failed(e.to_string(), e.class()))?;
    let live = api.get_opt(&reference.name).await.map_err(|e| failed(explain(&e), classify(&e)))?;
    let live = serde_json::to_value(live).map_err(|e| failed(e.to_string(), Class::Bug))?;
    Ok(Some(Pair { reference, kind: Some(kind), wanted, live }))
}

async fn pairs(client: &Client, kinds: &Kinds, slot: &SlotRef, record: &Record) -> Result<Vec<Pair>, Error> {
    let objects = objects(kinds, slot, record).await?;
    let reads = stream::iter(objects).map(|wanted| pair(client, kinds, wanted)).buffered(AT_ONCE);
    Ok(reads.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}

/// Everything about the objects of `record`; the release itself is left to the caller.
pub(super) async fn observe(
    client: &Client,
    kinds: &Kinds,
    slot: &SlotRef,
    record: &Record,
) -> Result<SlotState, Error> {
    let pairs = pairs(client, kinds, slot, record).await?;
    let mut state = SlotState::default();
    for pair in &pairs {
        state.drift.extend(drift::of(client, pair).await?);
    }
    let wanted: Vec<Value> = pairs.iter().map(|p| p.wanted.clone()).collect();
    state.services = preflight::services(&wanted);
    state.secrets = stamp::carried(&wanted);
    for Pair { reference, wanted, live, .. } in &pairs {
        let said = |message: &str| format!("{} {}: {message}", reference.kind, reference.name);
        match health(live) {
            Health::Current => {}
            Health::Failed(message) => state.failed.push(said(&message)),
            other => state.waiting.push(said(other.message())),
        }
        if let Some(count) = live.pointer("/spec/replicas").and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok())
            && stamp::template_pointer(live["apiVersion"].as_str().unwrap_or_default(), &reference.kind).is_some()
        {
            let key = stamp::replica_key(&reference.kind, &reference.name, &slot.release);
            if wanted.pointer("/spec/replicas").and_then(Value::as_i64) != Some(count.into())
                || autoscaled(&pairs, reference)
            {
                state.scaled.insert(key.clone(), count);
            }
            state.replicas.insert(key, count);
        }
    }
    Ok(state)
}

/// An autoscaler of the same release (of Kubernetes or KEDA) has the last word on this workload's replicas.
fn autoscaled(pairs: &[Pair], workload: &ObjectRef) -> bool {
    pairs.iter().filter_map(|pair| pair.wanted.pointer("/spec/scaleTargetRef")).any(|target| {
        let kind = target.get("kind").and_then(Value::as_str).unwrap_or("Deployment");
        kind == workload.kind && target.get("name").and_then(Value::as_str) == Some(&workload.name)
    })
}

/// Pods of a revision that can not start, with the reason: a Deployment only says that it waits.
pub(super) async fn failed_pods(client: &Client, slot: &SlotRef, revision: &str) -> Result<Vec<String>, Error> {
    let mut selector = format!("{}={},{}={revision}", label::APP, slot.app.name, label::REVISION);
    if let Some(colour) = slot.colour {
        selector.push_str(&format!(",{}={colour}", label::COLOUR));
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace(slot));
    let action = || format!("list pods of {}", slot.release);
    let failed = |e: kube::Error| Error::Api { action: action(), message: explain(&e), class: classify(&e) };
    let pods = api.list(&ListParams::default().labels(&selector)).await.map_err(failed)?;
    let judged = pods.items.iter().filter(|p| p.metadata.owner_references.is_some()).filter_map(|pod| {
        let mut object = serde_json::to_value(pod).ok()?;
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Pod");
        match health(&object) {
            Health::Failed(message) => Some(format!("Pod {}: {message}", pod.name_any())),
            _ => None,
        }
    });
    Ok(judged.collect())
}

/// Asks the API server what it would say, so that nothing is written if something is wrong. Hooks are left out: Helm
/// deletes them before it makes them anew.
pub(super) async fn check(client: &Client, kinds: &Kinds, objects: &[Value]) -> Result<(), Error> {
    let is_hook = |o: &Value| o.pointer("/metadata/annotations/helm.sh~1hook").is_some();
    let own: Vec<Value> = objects.iter().filter(|o| !is_hook(o)).cloned().collect();
    let asked = stream::iter(own).map(|object| refusal(client, kinds, object)).buffered(AT_ONCE);
    let errors: Vec<_> = asked.try_collect::<Vec<_>>().await?.into_iter().flatten().collect();
    let Some(first) = errors.first() else { return Ok(()) };
    let message = errors.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Err(Error::Api { action: "nothing was written".into(), message, class: first.class() })
}

async fn refusal(client: &Client, kinds: &Kinds, object: Value) -> Result<Option<ApplyError>, Error> {
    let Some(kind) = kind_of(kinds, &object).await? else { return Ok(None) };
    let options = ApplyOptions { dry_run: true, force: true, ..ApplyOptions::default() };
    Ok(apply(client, &kind.resource, kind.namespaced, &object, MANAGER, options).await.err())
}

/// Brings the `crds/` of a chart, which Helm itself would never change again. Definitions of others are left alone.
pub(super) async fn apply_crds(client: &Client, kinds: &Kinds, crds: Vec<Value>) -> Result<(), Error> {
    for wanted in crds {
        let Some(pair) = pair(client, kinds, wanted).await? else { continue };
        let Some(kind) = &pair.kind else { continue };
        let managers = pair.live.pointer("/metadata/managedFields").and_then(Value::as_array);
        let ours = managers.is_some_and(|m| m.iter().any(|m| m["manager"] == manager::ROLLOUT));
        if pair.live.is_null() || ours {
            let options = ApplyOptions::default();
            apply(client, &kind.resource, kind.namespaced, &pair.wanted, manager::ROLLOUT, options)
                .await
                .map_err(written)?;
        }
        served(client, kinds, pair.wanted).await?;
    }
    Ok(())
}

/// Waits until a definition is served: Helm would not know its kind yet.
async fn served(client: &Client, kinds: &Kinds, wanted: Value) -> Result<(), Error> {
    let reference = ObjectRef::of(&wanted).unwrap_or_default();
    for _ in 0..100 {
        let live = pair(client, kinds, wanted.clone()).await?.map(|p| p.live).unwrap_or_default();
        if health(&live).is_current() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Error::Api {
        action: format!("apply {reference}"),
        message: "is not served after 10 s".into(),
        class: Class::Retry,
    })
}

/// Re-applies, as Helm, what drifted. Forced: the record is what this release is, and the drift was the reason to come.
pub(super) async fn repair(client: &Client, kinds: &Kinds, slot: &SlotRef, record: &Record) -> Result<(), Error> {
    for pair in pairs(client, kinds, slot, record).await? {
        let Some(kind) = &pair.kind else { continue };
        if drift::of(client, &pair).await?.is_some() {
            let options = ApplyOptions { force: true, ..ApplyOptions::default() };
            let object = drift::ours(&pair);
            apply(client, &kind.resource, kind.namespaced, &object, MANAGER, options).await.map_err(written)?;
        }
    }
    Ok(())
}

fn written(error: ApplyError) -> Error {
    match &error {
        ApplyError::Conflict { object, .. } | ApplyError::Stale { object, .. } => {
            Error::Conflict { object: object.to_string(), message: format!("was not written: {error}") }
        }
        _ => Error::Api { action: "apply".into(), class: error.class(), message: error.to_string() },
    }
}
