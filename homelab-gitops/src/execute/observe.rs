//! What is: members by their label, desired objects by name. Metadata only.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt as _;
use homelab_core::apply::api_for;
use homelab_core::class::Class;
use homelab_core::client::{Kind, KindsError, classify, explain};
use homelab_core::meta::ObjectRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::{ApiResource, Scope};

use super::{Cluster, group_kind, in_parallel};
use crate::Error;
use crate::desired::{DesiredSet, Item};
use crate::inventory::{Extent, GroupKind, PART_OF};
use crate::plan::Live;
use crate::render;

/// Which kinds the API server serves.
#[derive(Clone, Debug, Default)]
pub struct Served {
    desired: BTreeMap<GroupKind, Kind>,
    members: BTreeMap<GroupKind, Kind>,
    /// Kinds that are desired, or defined by what is desired, and not served.
    pub unserved: BTreeSet<GroupKind>,
}

impl Served {
    /// The kind of a desired object, in the version that Git names.
    pub fn get(&self, reference: &ObjectRef) -> Option<&Kind> {
        self.desired.get(&group_kind(reference))
    }

    /// The kind of a member, in any version.
    pub fn member(&self, reference: &ObjectRef) -> Option<&Kind> {
        let key = group_kind(reference);
        self.members.get(&key).or_else(|| self.desired.get(&key))
    }

    /// All kinds, one version of each.
    pub fn all(&self) -> impl Iterator<Item = (&GroupKind, &Kind)> {
        let rest = self.members.iter().filter(|(key, _)| !self.desired.contains_key(*key));
        self.desired.iter().chain(rest)
    }
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Desired objects and members.
    pub live: BTreeMap<ObjectRef, Live>,
}

impl Cluster {
    /// The scope of a kind; none if it is not served.
    pub async fn scope(&self, api_version: &str, kind: &str) -> Result<Option<render::Scope>, Error> {
        let found = self.kind(api_version, kind).await?;
        Ok(found.map(|kind| if kind.namespaced { render::Scope::Namespaced } else { render::Scope::Cluster }))
    }

    async fn kind(&self, api_version: &str, kind: &str) -> Result<Option<Kind>, Error> {
        match self.kinds.resolve(api_version, kind).await {
            Ok(kind) => Ok(Some(kind)),
            Err(KindsError::Unknown { .. }) => Ok(None),
            Err(error) => Err(Error::Object {
                object: format!("kind {kind} of {api_version}"),
                detail: error.to_string(),
                class: error.class(),
            }),
        }
    }

    /// Looks up all kinds of the desired objects and of the inventory.
    pub async fn served(&self, desired: Option<&DesiredSet>, extent: &Extent) -> Result<Served, Error> {
        let mut served = Served::default();
        for item in desired.into_iter().flat_map(|set| &set.items) {
            let key = group_kind(item.reference());
            if served.desired.contains_key(&key) || served.unserved.contains(&key) {
                continue;
            }
            match self.kind(item.api_version(), &key.kind).await? {
                Some(kind) => drop(served.desired.insert(key, kind)),
                None => drop(served.unserved.insert(key)),
            }
        }
        for item in desired.into_iter().flat_map(|set| &set.items) {
            let Some(defined) = &item.wish.defines else { continue };
            let version = item.object.pointer("/spec/versions/0/name").and_then(|v| v.as_str()).unwrap_or("v1");
            if self.kind(&format!("{}/{version}", defined.group), &defined.kind).await?.is_none() {
                served.unserved.insert(defined.clone());
            }
        }
        for key in &extent.kinds {
            if !served.desired.contains_key(key)
                && let Some(kind) = self.any_version(key).await?
            {
                served.members.insert(key.clone(), kind);
            }
        }
        Ok(served)
    }

    /// A kind in the version that the API server recommends; none if its group or itself is gone, and with it all members.
    async fn any_version(&self, key: &GroupKind) -> Result<Option<Kind>, Error> {
        let group = match kube::discovery::group(&self.own, &key.group).await {
            Ok(group) => group,
            Err(kube::Error::Discovery(_)) => return Ok(None),
            Err(error) if classify(&error) == Class::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&format!("kinds of group {:?}", key.group), &error)),
        };
        let found = group.resources_by_stability().into_iter().find(|(resource, _)| resource.kind == key.kind);
        Ok(found.map(|(resource, capabilities)| Kind { resource, namespaced: capabilities.scope == Scope::Namespaced }))
    }

    /// Looks at all members, and at all desired objects that are none.
    pub async fn observe(
        &self,
        desired: Option<&DesiredSet>,
        extent: &Extent,
        served: &Served,
    ) -> Result<Observed, Error> {
        let items: BTreeMap<&ObjectRef, &Item> =
            desired.into_iter().flat_map(|set| &set.items).map(|item| (item.reference(), item)).collect();
        let mut observed = Observed::default();
        let kinds = served.all().map(|(_, kind)| (kind, self.scopes(kind, extent, &items)));
        let lists =
            kinds.flat_map(|(kind, scopes)| scopes.into_iter().map(move |scope| self.list(kind, scope).boxed()));
        for found in in_parallel(lists).await {
            for (reference, metadata) in found? {
                let wanted = items.get(&reference).map(|item| &item.object);
                observed.live.insert(reference, Live::of(&metadata, wanted));
            }
        }
        let others = items.iter().filter(|(reference, _)| !observed.live.contains_key(**reference));
        let others: Vec<_> =
            others.filter_map(|(reference, item)| Some((*reference, *item, served.get(reference)?))).collect();
        let gets = others.into_iter().map(|(reference, item, kind)| self.get(reference, item, kind).boxed());
        for found in in_parallel(gets).await {
            observed.live.extend(found?);
        }
        Ok(observed)
    }

    /// Where members of a kind can be.
    fn scopes(&self, kind: &Kind, extent: &Extent, items: &BTreeMap<&ObjectRef, &Item>) -> BTreeSet<Option<String>> {
        if self.namespaces.is_none() || !kind.namespaced {
            return BTreeSet::from([None]);
        }
        let desired = items.keys().filter_map(|reference| reference.namespace.clone());
        desired.chain(extent.namespaces.iter().cloned()).chain([self.owner.namespace.clone()]).map(Some).collect()
    }

    /// The watches that tell of changes of desired objects and members.
    pub fn scopes_to_watch(
        &self,
        desired: &DesiredSet,
        extent: &Extent,
        served: &Served,
    ) -> Vec<(ApiResource, Option<String>)> {
        let items = desired.items.iter().map(|item| (item.reference(), item)).collect();
        let scopes = served.all().map(|(_, kind)| (kind, self.scopes(kind, extent, &items)));
        scopes.flat_map(|(kind, scopes)| scopes.into_iter().map(|scope| (kind.resource.clone(), scope))).collect()
    }

    async fn list(&self, kind: &Kind, namespace: Option<String>) -> Result<Vec<(ObjectRef, ObjectMeta)>, Error> {
        let resource = &kind.resource;
        let api: Api<DynamicObject> = match &namespace {
            Some(namespace) => Api::namespaced_with(self.own.clone(), namespace, resource),
            None => Api::all_with(self.own.clone(), resource),
        };
        let members = ListParams::default().labels(&format!("{PART_OF}={}", self.set));
        let list = match api.list_metadata(&members).await {
            Ok(list) => list,
            Err(error) if classify(&error) == Class::NotFound => {
                // Its CustomResourceDefinition was deleted since we looked.
                self.kinds.forget(&resource.api_version, &resource.kind);
                return Ok(Vec::new());
            }
            Err(error) => return Err(unreadable(&format!("objects of kind {}", resource.kind), &error)),
        };
        let reference = |metadata: &ObjectMeta| ObjectRef {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
        };
        Ok(list.items.into_iter().map(|object| (reference(&object.metadata), object.metadata)).collect())
    }

    async fn get(&self, reference: &ObjectRef, item: &Item, kind: &Kind) -> Result<Option<(ObjectRef, Live)>, Error> {
        let api = api_for(&self.own, &kind.resource, kind.namespaced, reference).map_err(|e| Error::Object {
            object: item.label(),
            detail: e.to_string(),
            class: e.class(),
        })?;
        let found = api.get_metadata_opt(&reference.name).await.map_err(|e| unreadable(&item.label(), &e))?;
        Ok(found.map(|object| (reference.clone(), Live::of(&object.metadata, Some(&item.object)))))
    }
}

pub(super) fn unreadable(object: &str, error: &kube::Error) -> Error {
    let class = classify(error);
    let advice =
        if class == Class::Denied { "; give the daemon the right to get, list and watch this kind" } else { "" };
    Error::Object { object: object.into(), detail: format!("can not be read: {}{advice}", explain(error)), class }
}
