//! One step of a GitSync that is not being deleted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use homelab_core::class::Backoff;
use homelab_core::meta::ObjectRef;
use jiff::Timestamp;

use super::converge::{Converged, converge};
use super::memory::{Memory, after};
use super::parent::Parent;
use super::{Shared, drift::Subscriptions, poll, prepare, sealed};
use crate::Error;
use crate::api::v1alpha1::GitSync;
use crate::execute::{self, Cluster};
use crate::spec::Settings;

/// What a step came to.
pub(super) enum Step {
    /// `spec.suspend`.
    Suspended,
    /// It is being deleted, and waits for its objects to go.
    Deleting(Box<Converged>, Box<GitSync>),
    /// It could not be done at all.
    Failed(Error, Box<GitSync>),
    /// It went as far as it goes; nothing is in force if `None`.
    Done(Option<Box<Converged>>, Box<GitSync>),
}

/// Does one step.
pub(super) async fn step(shared: &Shared, sync: &GitSync, memory: &mut Memory, now: Timestamp) -> Step {
    let failed = |error| Step::Failed(error, Box::new(sync.clone()));
    let settings = match Settings::read(sync) {
        Ok(settings) => settings,
        Err(error) => {
            memory.settings = None;
            return failed(error);
        }
    };
    memory.look_again = None;
    if sync.spec.suspend {
        memory.subscriptions = Subscriptions::default();
        memory.polled = None;
        return Step::Suspended;
    }
    memory.settle(&settings);
    poll::poll(shared, sync, &settings, memory, now).await;
    let mut parent = Parent::new(shared, &settings.owner, sync);
    let cluster = match cluster(shared, &settings, &parent) {
        Ok(cluster) => cluster,
        Err(error) => return failed(error),
    };
    prepare::prepare(&cluster, &settings, &parent.extent(), memory, now).await;
    match hold(shared, &cluster, &mut parent, &settings, memory, now).await {
        Ok(converged) => Step::Done(converged.map(Box::new), Box::new(parent.into_current())),
        Err(error) => {
            back_off(memory, now);
            Step::Failed(error, Box::new(parent.into_current()))
        }
    }
}

fn cluster(shared: &Shared, settings: &Settings, parent: &Parent<'_>) -> Result<Cluster, Error> {
    parent.check()?;
    let context = &shared.context;
    Cluster::new(
        &context.clients,
        Arc::clone(&context.kinds),
        settings.owner.clone(),
        settings.account.clone(),
        context.namespaces.clone(),
    )
}

/// Holds what is in force, and looks how it is doing.
async fn hold(
    shared: &Shared,
    cluster: &Cluster,
    parent: &mut Parent<'_>,
    settings: &Settings,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<Option<Converged>, Error> {
    sealed::show(shared, settings, memory, now).await;
    let Some(in_force) = memory.in_force.clone() else { return Ok(None) };
    let set = Arc::new(prepare::build(cluster, settings, &in_force.loaded).await?);
    let converged = converge(cluster, parent, &settings.owner, Some(&set), settings.prune, memory).await?;
    memory.health = execute::check(cluster, &set, &converged.observed, &converged.served, &memory.health).await?;
    let objects: BTreeSet<ObjectRef> =
        converged.observed.live.keys().cloned().chain(set.items.iter().map(|item| item.reference().clone())).collect();
    let scopes = cluster.scopes_to_watch(&set, &converged.extent, &converged.served);
    memory.subscriptions.follow(shared, &settings.owner, &scopes, objects);
    if let Some(in_force) = &mut memory.in_force {
        in_force.set = set;
        in_force.complete |= converged.errors.is_empty() && converged.plan.is_done();
        if !converged.written.is_empty() {
            in_force.since = now;
        }
    }
    if converged.errors.is_empty() {
        memory.write_failures = 0;
        memory.write_retry = None;
    } else {
        back_off(memory, now);
    }
    memory.look_again = look_again(memory, &converged, settings, now);
    Ok(Some(converged))
}

/// Watches wake us for everything but what has no object to watch: a kind that is not served, a time that runs out.
fn look_again(memory: &Memory, converged: &Converged, settings: &Settings, now: Timestamp) -> Option<Timestamp> {
    if converged.plan.waits.iter().any(|wait| wait.reason.is_passing()) {
        return Some(after(now, Duration::from_secs(3)));
    }
    let moving = memory.health.values().any(|(_, health)| !health.is_current());
    let end = memory.in_force.as_ref().map(|in_force| after(in_force.since, settings.timeout))?;
    (moving && end > now).then_some(end)
}

fn back_off(memory: &mut Memory, now: Timestamp) {
    memory.write_retry = Some(after(now, Backoff::RECONCILE.delay(memory.write_failures)));
    memory.write_failures = memory.write_failures.saturating_add(1);
}
