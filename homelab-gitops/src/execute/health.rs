//! How the applied objects are doing.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use homelab_core::apply::api_for;
use homelab_core::health::{Health, health};
use homelab_core::meta::ObjectRef;

use super::observe::unreadable;
use super::{Cluster, Observed, Served, in_parallel};
use crate::Error;
use crate::desired::{DesiredSet, Item};

/// Health by object, with the resourceVersion that it was judged at.
pub type Checked = BTreeMap<ObjectRef, (String, Health)>;

/// Judges all desired objects; those that did not change since `before` are not read again.
pub async fn check(
    cluster: &Cluster,
    desired: &DesiredSet,
    observed: &Observed,
    served: &Served,
    before: &Checked,
) -> Result<Checked, Error> {
    let judged = desired.items.iter().map(|item| judge(cluster, item, observed, served, before).boxed());
    in_parallel(judged).await.into_iter().collect()
}

async fn judge(
    cluster: &Cluster,
    item: &Item,
    observed: &Observed,
    served: &Served,
    before: &Checked,
) -> Result<(ObjectRef, (String, Health)), Error> {
    let reference = item.reference();
    let (Some(live), Some(kind)) = (observed.live.get(reference), served.get(reference)) else {
        return Ok((reference.clone(), (String::new(), Health::Missing)));
    };
    let version = &live.resource_version;
    if let Some(known) = before.get(reference).filter(|(at, _)| at == version) {
        return Ok((reference.clone(), known.clone()));
    }
    if has_no_health(reference) {
        return Ok((reference.clone(), (version.clone(), Health::Current)));
    }
    let api = api_for(&cluster.own, &kind.resource, kind.namespaced, reference).map_err(|e| Error::Object {
        object: item.label(),
        detail: e.to_string(),
        class: e.class(),
    })?;
    let object = api.get_opt(&reference.name).await.map_err(|e| unreadable(&item.label(), &e))?;
    let version = object.as_ref().and_then(|object| object.metadata.resource_version.clone()).unwrap_or_default();
    let value = serde_json::to_value(&object).map_err(|e| Error::Bug(e.to_string()))?;
    Ok((reference.clone(), (version, health(&value))))
}

/// Kinds that are what they are: there is nothing to read, least of all a Secret.
fn has_no_health(reference: &ObjectRef) -> bool {
    let core = ["Secret", "ConfigMap", "ServiceAccount", "LimitRange", "ResourceQuota"];
    match reference.group.as_str() {
        "" => core.contains(&reference.kind.as_str()),
        "rbac.authorization.k8s.io" | "admissionregistration.k8s.io" | "scheduling.k8s.io" | "storage.k8s.io" => true,
        "homelab.dev" => reference.kind.ends_with("SecretPolicy"),
        _ => false,
    }
}
