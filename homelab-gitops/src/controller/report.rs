//! Says how a GitSync is doing: status and events.

use homelab_core::condition::{self, READY};
use homelab_core::events::EventType;
use homelab_core::health::Health;
use homelab_core::meta::{ObjectRef, manager};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::Shared;
use super::converge::Converged;
use super::memory::{InForce, Memory, after};
use super::step::Step;
use crate::Error;
use crate::api::v1alpha1::{GitSync, GitSyncStatus, InventorySummary};
use crate::source::Owner;
use crate::spec::{self, Settings};
use crate::status::{Applied, Report, Verdict, status};

/// Writes the status if it changed, and tells of what happened.
pub(super) async fn write(
    shared: &Shared,
    sync: &GitSync,
    memory: &Memory,
    step: Step,
    now: Timestamp,
) -> Result<(), Error> {
    let (report, current, converged) = report(memory, step, now);
    let current = current.map_or_else(|| sync.clone(), |current| *current);
    if let Some(converged) = &converged {
        tell(shared, sync, converged).await;
    }
    let old = current.status.clone().unwrap_or_default();
    let new = status(&old, &report, current.metadata.generation.unwrap_or_default(), now);
    if new == old {
        return Ok(());
    }
    tell_change(shared, sync, &old, &new, &report.verdict).await;
    put(shared, &spec::owner(sync), &current, &new).await
}

fn report(memory: &Memory, step: Step, now: Timestamp) -> (Report, Option<Box<GitSync>>, Option<Box<Converged>>) {
    let mut report = Report {
        verdict: Verdict::Suspended,
        attempted: memory.head.clone(),
        applied: memory.in_force.as_ref().filter(|in_force| in_force.complete).map(|in_force| Applied {
            commit: in_force.loaded.commit.clone(),
            reference: in_force.loaded.reference.clone(),
        }),
        handled_sync: memory.handled_sync.clone(),
        inventory: None,
        waits: Vec::new(),
    };
    match step {
        Step::Suspended => (report, None, None),
        Step::Failed(error, current) => {
            report.verdict = Verdict::failed(&error);
            (report, Some(current), None)
        }
        Step::Deleting(converged, current) => {
            report.waits = converged.plan.waits.iter().map(ToString::to_string).collect();
            report.verdict =
                Verdict::Progressing { reason: "Deleting", message: first(&report.waits, "deleting what it applied") };
            (report, Some(current), Some(converged))
        }
        Step::Done(None, current) => {
            report.verdict = source_trouble(memory).unwrap_or_else(|| Verdict::Progressing {
                reason: "Fetching",
                message: "waiting for the first commit".into(),
            });
            (report, Some(current), None)
        }
        Step::Done(Some(converged), current) => {
            report.inventory = Some(summary(memory, &converged));
            report.waits = waits(memory, &converged);
            report.verdict = verdict(memory, &converged, &report.waits, now);
            (report, Some(current), Some(converged))
        }
    }
}

/// A commit that could not be read or applied; what is in force stays so.
fn source_trouble(memory: &Memory) -> Option<Verdict> {
    let error = memory.source_error.as_ref().or(memory.candidate_error.as_ref())?;
    let Verdict::Failed { reason, mut message, passing } = Verdict::failed(error) else { return None };
    if let Some(in_force) = &memory.in_force
        && memory.head.as_ref() != Some(&in_force.loaded.commit)
    {
        let head =
            memory.head.as_ref().map_or_else(String::new, |head| format!("commit {} is not applied, ", head.short()));
        message = format!("{message} ({head}{} stays in force)", in_force.loaded.commit.short());
    }
    Some(Verdict::Failed { reason, message, passing })
}

fn verdict(memory: &Memory, converged: &Converged, waits: &[String], now: Timestamp) -> Verdict {
    if let Some(verdict) = source_trouble(memory) {
        return verdict;
    }
    if let Some(error) = memory.sealed_trouble() {
        let (reason, message) = (error.reason(), error.to_string());
        return match error.class().is_passing() {
            true => Verdict::Progressing { reason, message },
            false => Verdict::Failed { reason, message, passing: false },
        };
    }
    if let Some(error) = worst(&converged.errors) {
        let message = converged.errors.iter().map(ToString::to_string).take(5).collect::<Vec<_>>().join(" | ");
        return Verdict::Failed { reason: error.reason(), message, passing: error.class().is_passing() };
    }
    let lasting = converged.plan.waits.iter().find(|wait| !wait.reason.is_passing() && !wait.reason.is_left_over());
    if let Some(wait) = lasting {
        return Verdict::Failed { reason: "OwnedByAnother", message: wait.to_string(), passing: false };
    }
    if converged.plan.waits.iter().any(|wait| wait.reason == crate::plan::Reason::NothingDesired) {
        return Verdict::Failed { reason: "PathEmpty", message: first(waits, "the folder is empty"), passing: false };
    }
    let failed = memory.health.iter().find(|(_, (_, health))| matches!(health, Health::Failed(_)));
    if let Some((reference, (_, health))) = failed {
        return Verdict::Failed {
            reason: "ObjectFailed",
            message: format!("{reference}: {}", health.message()),
            passing: false,
        };
    }
    moving(memory, converged, waits, now)
}

/// Objects that are not healthy yet. An App has deadlines of its own, and some that a person sets: it is waited for without
/// an end.
fn moving(memory: &Memory, converged: &Converged, waits: &[String], now: Timestamp) -> Verdict {
    let writes = converged.plan.waits.iter().any(|wait| wait.reason.is_passing());
    let mut sick = memory.health.iter().filter(|(_, (_, health))| !health.is_current()).peekable();
    if !writes && sick.peek().is_none() {
        return Verdict::Ready;
    }
    let has_deadline = writes || sick.any(|(reference, _)| !reference.is_app());
    let late = |(in_force, settings): (&InForce, &Settings)| after(in_force.since, settings.timeout) <= now;
    if !has_deadline || !memory.in_force.as_ref().zip(memory.settings.as_ref()).is_some_and(late) {
        return Verdict::Progressing { reason: "Progressing", message: first(waits, "waiting for the objects") };
    }
    let timeout = memory.settings.as_ref().map_or(0, |settings| settings.timeout.as_secs());
    let message = format!("not healthy after {timeout} s: {}", first(waits, "objects are not healthy"));
    Verdict::Failed { reason: "HealthTimeout", message, passing: false }
}

fn worst(errors: &[Error]) -> Option<&Error> {
    errors.iter().find(|error| !error.class().is_passing()).or_else(|| errors.first())
}

fn first(waits: &[String], otherwise: &str) -> String {
    match waits {
        [] => otherwise.into(),
        [one] => one.clone(),
        [one, rest @ ..] => format!("{one}; and {} more", rest.len()),
    }
}

fn waits(memory: &Memory, converged: &Converged) -> Vec<String> {
    let sick = memory
        .health
        .iter()
        .filter(|(reference, (_, health))| !health.is_current() && !is_planned(converged, reference));
    let sick = sick.map(|(reference, (_, health))| format!("{reference}: {}", health.message()));
    converged.plan.waits.iter().map(ToString::to_string).chain(sick).collect()
}

fn is_planned(converged: &Converged, reference: &ObjectRef) -> bool {
    converged.plan.waits.iter().any(|wait| wait.reference == *reference)
}

fn summary(memory: &Memory, converged: &Converged) -> InventorySummary {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let healthy = memory.health.values().filter(|(_, health)| health.is_current()).count();
    let left_over = converged.plan.waits.iter().filter(|wait| wait.reason.is_left_over()).count();
    let desired = memory.in_force.as_ref().map_or(0, |in_force| in_force.set.items.len());
    let skipped = memory.in_force.as_ref().map_or(0, |in_force| in_force.set.skipped);
    let missing = memory.health.values().filter(|(_, health)| matches!(health, Health::Missing)).count();
    InventorySummary {
        objects: count(desired - missing.min(desired) + left_over),
        healthy: count(healthy),
        left_over: count(left_over),
        skipped_files: skipped,
    }
}

/// The GitSync as events name it.
pub(super) fn object(sync: &GitSync) -> ObjectReference {
    ObjectReference {
        api_version: Some("homelab.dev/v1alpha1".into()),
        kind: Some("GitSync".into()),
        name: Some(sync.name_any()),
        namespace: sync.namespace(),
        uid: sync.uid(),
        ..ObjectReference::default()
    }
}

async fn tell(shared: &Shared, sync: &GitSync, converged: &Converged) {
    let list = |objects: &[ObjectRef]| {
        let shown: Vec<String> = objects.iter().take(10).map(ToString::to_string).collect();
        let more = objects.len().saturating_sub(10);
        if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
    };
    let events = &shared.context.events;
    if !converged.written.is_empty() {
        events
            .emit(
                &object(sync),
                EventType::Normal,
                "Applied",
                "Apply",
                &format!("applied {}", list(&converged.written)),
            )
            .await;
    }
    if !converged.deleted.is_empty() {
        events
            .emit(
                &object(sync),
                EventType::Normal,
                "Pruned",
                "Delete",
                &format!("deleted {}", list(&converged.deleted)),
            )
            .await;
    }
}

async fn tell_change(shared: &Shared, sync: &GitSync, old: &GitSyncStatus, new: &GitSyncStatus, verdict: &Verdict) {
    let ready = |status: &GitSyncStatus| {
        condition::get(&status.conditions, READY).map(|c| (c.reason.clone(), c.message.clone()))
    };
    if ready(old) == ready(new) {
        return;
    }
    let events = &shared.context.events;
    match verdict {
        Verdict::Failed { reason, message, .. } => {
            tracing::warn!(gitsync = %spec::owner(sync), reason, "{message}");
            events.emit(&object(sync), EventType::Warning, reason, "Sync", message).await;
        }
        Verdict::Ready => {
            let message = ready(new).map(|(_, message)| message).unwrap_or_default();
            events.emit(&object(sync), EventType::Normal, "Ready", "Sync", &message).await;
        }
        Verdict::Progressing { .. } | Verdict::Suspended => {}
    }
}

async fn put(shared: &Shared, owner: &Owner, current: &GitSync, new: &GitSyncStatus) -> Result<(), Error> {
    let api: Api<GitSync> = Api::namespaced(shared.context.clients.own(), &owner.namespace);
    let patch = json!({
        "apiVersion": "homelab.dev/v1alpha1",
        "kind": "GitSync",
        "metadata": {"name": owner.name, "resourceVersion": current.resource_version()},
        "status": new,
    });
    match api.patch_status(&owner.name, &PatchParams::apply(manager::GITOPS), &Patch::Apply(&patch)).await {
        Ok(_) => Ok(()),
        // A newer version is on its way to us, or it is gone.
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
        Err(error) => Err(super::api_error(&format!("status of GitSync {owner}"), &error)),
    }
}

#[cfg(test)]
mod tests;
