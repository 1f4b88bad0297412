//! The end of a GitSync: what it held is pruned, guards and all; then it may go.

use std::sync::Arc;
use std::time::Duration;

use homelab_core::class::Class;
use homelab_core::events::EventType;
use homelab_core::meta::{Account, finalizer};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::controller::Action;

use super::converge::{Converged, converge};
use super::memory::Memory;
use super::parent::Parent;
use super::step::Step;
use super::{Shared, report};
use crate::Error;
use crate::api::v1alpha1::GitSync;
use crate::execute::Cluster;
use crate::spec;

/// Does one step of a GitSync that is being deleted.
pub(super) async fn finalize(
    shared: &Shared,
    sync: &GitSync,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<Action, Error> {
    let owner = spec::owner(sync);
    if !sync.finalizers().iter().any(|name| name == finalizer::GITSYNC) {
        shared.forget(&owner);
        return Ok(Action::await_change());
    }
    let mut parent = Parent::new(shared, &owner, sync);
    let account = Account::new(&owner.namespace, &sync.spec.service_account);
    let context = &shared.context;
    let cluster =
        Cluster::new(&context.clients, Arc::clone(&context.kinds), owner.clone(), account, context.namespaces.clone())?;
    let mut converged = match converge(&cluster, &mut parent, &owner, None, sync.spec.prune, memory).await {
        Ok(converged) => converged,
        Err(error) => Converged { errors: vec![error], ..Converged::default() },
    };
    let is_done = converged.errors.is_empty() && converged.plan.is_done();
    let may_leave = !is_done
        && converged.errors.iter().any(|e| e.class() == Class::Denied)
        && is_terminating(shared, &owner.namespace).await;
    if is_done || may_leave {
        let left: Vec<String> = converged.plan.waits.iter().map(|wait| wait.reference.to_string()).collect();
        if !left.is_empty() {
            let note = format!("stays in the cluster: {}", left.join(", "));
            context.events.emit(&report::object(sync), EventType::Normal, "LeftOver", "Delete", &note).await;
        }
        parent.release().await?;
        shared.forget(&owner);
        super::forget_deleted(context).await;
        return Ok(Action::await_change());
    }
    let step = match Error::all(std::mem::take(&mut converged.errors)) {
        Some(error) => Step::Failed(error, Box::new(parent.into_current())),
        None => Step::Deleting(Box::new(converged), Box::new(parent.into_current())),
    };
    report::write(shared, sync, memory, step, now).await?;
    Ok(Action::requeue(Duration::from_secs(3)))
}

/// A namespace that is being deleted may have lost the account and its rights before us; it deletes what is in it anyway.
async fn is_terminating(shared: &Shared, namespace: &str) -> bool {
    let api: Api<Namespace> = Api::all(shared.context.clients.own());
    api.get_metadata_opt(namespace)
        .await
        .is_ok_and(|found| found.is_none_or(|n| n.metadata.deletion_timestamp.is_some()))
}
