//! The GitSync as parent of its set: id, extent and finalizer, written with our own rights.

use std::collections::BTreeMap;

use homelab_core::meta::{finalizer, manager};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::Shared;
use crate::Error;
use crate::api::v1alpha1::GitSync;
use crate::inventory::{self, Extent};
use crate::source::Owner;

/// The GitSync as the API server has it now.
pub(super) struct Parent<'a> {
    shared: &'a Shared,
    owner: Owner,
    current: GitSync,
}

impl<'a> Parent<'a> {
    pub(super) fn new(shared: &'a Shared, owner: &Owner, sync: &GitSync) -> Self {
        Self { shared, owner: owner.clone(), current: sync.clone() }
    }

    /// Where its members can be.
    pub(super) fn extent(&self) -> Extent {
        Extent::read(self.current.annotations())
    }

    /// Its version after our last write.
    pub(super) fn into_current(self) -> GitSync {
        self.current
    }

    /// Whether the set may be managed by us.
    pub(super) fn check(&self) -> Result<(), Error> {
        inventory::is_ours(self.current.annotations()).map_err(|tooling| {
            Error::Spec(format!(
                "annotation {} says that {tooling:?} manages this set: remove the annotation if it no longer does",
                inventory::TOOLING
            ))
        })
    }

    /// Writes extent, id and finalizer if they are not there.
    pub(super) async fn hold(&mut self, extent: &Extent) -> Result<(), Error> {
        let id = inventory::id(&self.owner);
        let annotations = extent.annotations();
        let is_there = |(key, value): (&&str, &String)| self.current.annotations().get(*key) == Some(value);
        let is_held = self.current.finalizers().iter().any(|name| name == finalizer::GITSYNC);
        if annotations.iter().all(is_there) && self.current.labels().get(inventory::ID) == Some(&id) && is_held {
            return Ok(());
        }
        let mut finalizers = self.current.finalizers().to_vec();
        if !is_held {
            finalizers.push(finalizer::GITSYNC.into());
        }
        let labels = BTreeMap::from([(inventory::ID, id)]);
        self.patch(json!({"labels": labels, "annotations": annotations, "finalizers": finalizers})).await
    }

    /// Takes the finalizer away: nothing of it is left that we should care for.
    pub(super) async fn release(&mut self) -> Result<(), Error> {
        let finalizers: Vec<&String> =
            self.current.finalizers().iter().filter(|name| *name != finalizer::GITSYNC).collect();
        let patch = json!({"finalizers": finalizers});
        self.patch(patch).await
    }

    /// A merge patch, so that a GitSync that is itself applied from Git (by the same manager) keeps what is written here.
    async fn patch(&mut self, mut metadata: serde_json::Value) -> Result<(), Error> {
        metadata["resourceVersion"] = json!(self.current.resource_version());
        let api: Api<GitSync> = Api::namespaced(self.shared.context.clients.own(), &self.owner.namespace);
        let params = PatchParams { field_manager: Some(manager::GITOPS.into()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match api.patch(&self.owner.name, &params, &patch).await {
            Ok(current) => {
                self.current = current;
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(super::api_error(&format!("GitSync {}", self.owner), &error)),
        }
    }
}
