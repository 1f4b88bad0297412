//! What both Kubernetes routers share: reading Services and endpoints, and one planned server-side apply.

use std::collections::{BTreeMap, BTreeSet};

use homelab_core::client::{classify, explain};
use homelab_core::meta::{annotation, label, manager};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::confirm::ApexSeen;
use crate::error::Error;
use crate::managed;
use crate::router::Observation;
use crate::split::{Backend, Route};

/// Ready pods by the Service whose EndpointSlices name them.
pub(super) type Endpoints = BTreeMap<String, BTreeSet<String>>;

pub(super) fn api_error(action: impl Into<String>, error: &kube::Error) -> Error {
    Error::Api { action: action.into(), message: explain(error), class: classify(error) }
}

pub(super) fn services(client: &Client, route: &Route) -> Api<Service> {
    Api::namespaced(client.clone(), &route.namespace)
}

/// Reads one object; one that does not exist is none, also where its kind does not (the 404 of a path has no reason).
pub(super) async fn get<K>(api: &Api<K>, what: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    match api.get(name).await {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(api_error(format!("read {what} {name}"), &error)),
    }
}

/// The one write: server-side apply, forced only where the plan says so.
pub(super) async fn apply<K>(api: &Api<K>, what: &str, route: &Route, object: &Value, force: bool) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let name = format!("{what} {}/{}", route.namespace, route.name);
    let params = PatchParams { force, ..PatchParams::apply(manager::MESH) };
    match api.patch(&route.name, &params, &Patch::Apply(object)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            Err(Error::Conflict { object: name, message: format!("was not written: {}", status.message) })
        }
        Err(error) => Err(api_error(format!("write {name}"), &error)),
    }
}

/// Deletes what was read, if it is ours; gone or replaced in between is fine.
pub(super) async fn delete<K>(api: &Api<K>, what: &str, object: &K) -> Result<bool, Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let preconditions = Preconditions { uid: object.uid(), ..Preconditions::default() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(false),
        Err(error) => Err(api_error(format!("delete {what} {}", object.name_any()), &error)),
    }
}

/// Refuses a write that was planned from another state than the one just read, and one over somebody else's object.
pub(super) fn guard<K: Resource>(
    what: &str,
    route: &Route,
    read: Option<&K>,
    version: Option<&str>,
) -> Result<(), Error> {
    let conflict = |message| Error::Conflict { object: format!("{what} {}/{}", route.namespace, route.name), message };
    match (read, version) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(conflict("is gone since it was read".into())),
        (Some(read), _) if !managed::is_ours(&managed_fields(read)) => {
            let writers = managed::writers(&managed_fields(read));
            Err(conflict(format!("exists and belongs to {writers}; rename it, or rename the App")))
        }
        (Some(read), version) if read.meta().resource_version.as_deref() != version => {
            Err(conflict("has moved on since it was read".into()))
        }
        _ => Ok(()),
    }
}

pub(super) fn managed_fields<K: Resource>(object: &K) -> Value {
    serde_json::to_value(&object.meta().managed_fields).unwrap_or_default()
}

/// What our annotations say, and the version to plan from.
pub(super) fn annotated<K: Resource>(object: &K) -> Observation {
    let text = |key: &str| object.annotations().get(key).cloned();
    Observation {
        exists: true,
        active: text(annotation::ACTIVE),
        shifted_at: text(annotation::SHIFTED_AT).and_then(|at| at.parse::<Timestamp>().ok()),
        version: object.resource_version(),
        ..Observation::default()
    }
}

/// The backend that the selector of an apex Service names.
pub(super) fn selected(service: &Service) -> Option<String> {
    service.spec.as_ref()?.selector.as_ref()?.get(label::COLOUR).cloned()
}

/// Ready pods behind every Service of the namespace.
pub(super) async fn endpoints(client: &Client, namespace: &str) -> Result<Endpoints, Error> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let action = || format!("list EndpointSlices of {namespace}");
    let slices = api.list(&ListParams::default()).await.map_err(|e| api_error(action(), &e))?;
    let mut found = Endpoints::new();
    for slice in &slices.items {
        let Some(service) = slice.labels().get("kubernetes.io/service-name") else { continue };
        found.entry(service.clone()).or_default().extend(ready_pods(slice));
    }
    Ok(found)
}

fn ready_pods(slice: &EndpointSlice) -> impl Iterator<Item = String> + '_ {
    let ready =
        slice.endpoints.iter().flatten().filter(|e| e.conditions.as_ref().is_none_or(|c| c.ready != Some(false)));
    ready.filter_map(|e| e.target_ref.as_ref()?.name.clone())
}

/// Ready pods by colour. Counted by the pods' own labels, so that a colour is known before any route names its Service.
pub(super) async fn ready_by_colour(client: &Client, route: &Route) -> Result<BTreeMap<String, u32>, Error> {
    let selector = format!("{}={},{}", label::APP, route.name, label::COLOUR);
    let api: Api<Pod> = Api::namespaced(client.clone(), &route.namespace);
    let action = || format!("list pods of {}", route.name);
    let pods =
        api.list_metadata(&ListParams::default().labels(&selector)).await.map_err(|e| api_error(action(), &e))?;
    let behind = endpoints(client, &route.namespace).await?;
    let ready: BTreeSet<&String> = behind.iter().filter(|(s, _)| **s != route.name).flat_map(|(_, p)| p).collect();
    let mut counts = BTreeMap::new();
    for pod in &pods.items {
        let Some(colour) = pod.labels().get(label::COLOUR) else { continue };
        *counts.entry(colour.clone()).or_insert(0) += u32::from(ready.contains(&pod.name_any()));
    }
    Ok(counts)
}

/// What [`crate::confirm`] needs to know of the apex Service.
pub(super) async fn apex_seen(client: &Client, route: &Route, backend: &Backend) -> Result<ApexSeen, Error> {
    let Some(service) = get(&services(client, route), "Service", &route.name).await? else {
        return Ok(ApexSeen::default());
    };
    let mut behind = endpoints(client, &route.namespace).await?;
    Ok(ApexSeen {
        shifted_at: annotated(&service).shifted_at,
        selector: service.spec.and_then(|s| s.selector).or_else(|| Some(BTreeMap::new())),
        apex_pods: behind.remove(&route.name).unwrap_or_default(),
        backend_pods: behind.remove(&backend.service).unwrap_or_default(),
    })
}
