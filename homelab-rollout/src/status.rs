//! Conditions and answers, computed from a plan's report.

use std::collections::BTreeMap;

use homelab_core::condition::{self, Condition};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::v1alpha1::{ActiveStatus, AppStatus, GateStatus, HistoryEntry, RequestStatus, SlotStatus};
use crate::plan::observed::{GateFacts, Kept, Observed, RequestFacts, Slot, SlotFacts, Verdict};
use crate::plan::{Phase, Report};

/// Format that this version writes.
pub const FORMAT: u32 = 1;
/// A person has to say something.
pub const WAITING: &str = "Waiting";
/// What Git asks for failed; another revision serves.
pub const FAILED: &str = "Failed";
/// Somebody went back from what Git asks for; what they asked for serves.
pub const ROLLED_BACK: &str = "RolledBack";
/// The other colour runs the last good revision: a rollback takes seconds.
pub const WARM: &str = "Warm";
/// Held by a person, the spec, or a foreign edit of the route.
pub const PAUSED: &str = "Paused";

/// The status that follows from a report; `old` only lends its transition times and its last answer.
pub fn status(report: &Report, observed: &Observed, old: Option<&AppStatus>, now: Timestamp) -> AppStatus {
    let generation = observed.app.generation;
    let mut conditions = old.map(|old| old.conditions.clone()).unwrap_or_default();
    set_conditions(&mut conditions, report, generation, now);
    AppStatus {
        format: FORMAT,
        observed_generation: Some(generation),
        phase: format!("{:?}", report.phase),
        message: message(report),
        conditions,
        active: report.active.as_ref().map(|(colour, revision)| ActiveStatus {
            colour: colour.map(|colour| colour.to_string()),
            revision: revision.clone(),
        }),
        target: report.target.clone(),
        slots: observed.slots.iter().map(|(slot, facts)| slot_status(&observed.app.name, *slot, facts)).collect(),
        weights: weights(observed),
        gates: observed.gates.iter().map(gate_status).collect(),
        history: history(&observed.revisions),
        last_request: last_request(report, observed, old),
    }
}

/// The status of an App whose spec says nothing that could be done.
pub fn invalid(why: &str, generation: i64, old: Option<&AppStatus>, now: Timestamp) -> AppStatus {
    let mut status = old.cloned().unwrap_or_default();
    status.format = FORMAT;
    status.observed_generation = Some(generation);
    status.phase = format!("{:?}", Phase::Stalled);
    status.message = why.to_owned();
    condition::set(&mut status.conditions, condition::STALLED, true, "InvalidSpec", why, generation, now);
    condition::set(&mut status.conditions, condition::RECONCILING, false, "InvalidSpec", why, generation, now);
    if condition::get(&status.conditions, condition::READY).is_none() {
        condition::set(&mut status.conditions, condition::READY, false, "InvalidSpec", why, generation, now);
    }
    status
}

/// Whether writing `new` tells anybody something that `old` did not.
pub fn differs(old: Option<&AppStatus>, new: &AppStatus) -> bool {
    old != Some(new)
}

fn message(report: &Report) -> String {
    let mut message = report.message.clone();
    for note in &report.notes {
        if !message.contains(note) {
            message = format!("{message}; {note}");
        }
    }
    message
}

fn set_conditions(conditions: &mut Vec<Condition>, report: &Report, generation: i64, now: Timestamp) {
    let reason = if report.reason.is_empty() { "Unknown" } else { &report.reason };
    let ready = &report.ready;
    let ready_reason = if ready.reason.is_empty() { reason } else { &ready.reason };
    condition::set(conditions, condition::READY, ready.ready, ready_reason, ready.message.clone(), generation, now);
    let moving = matches!(report.phase, Phase::RollingOut | Phase::Deleting) && report.stalled.is_none();
    condition::set(conditions, condition::RECONCILING, moving, reason, message(report), generation, now);
    match &report.stalled {
        Some((reason, why)) => {
            condition::set(conditions, condition::STALLED, true, reason, why.clone(), generation, now)
        }
        None => condition::set(conditions, condition::STALLED, false, "NotStalled", "", generation, now),
    }
    let suspended = (report.phase == Phase::Suspended).then(|| report.message.clone());
    for (type_, reason, why) in [
        (WAITING, "Approval", report.waiting.as_ref()),
        (FAILED, "RevisionFailed", report.failed.as_ref()),
        (ROLLED_BACK, "Requested", report.rolled_back.as_ref()),
        (WARM, "LastGoodRevisionRuns", report.warm.as_ref()),
        (PAUSED, "Paused", report.paused.as_ref().or(suspended.as_ref())),
    ] {
        match why {
            Some(why) => condition::set(conditions, type_, true, reason, why.clone(), generation, now),
            None => drop(condition::remove(conditions, type_)),
        }
    }
}

fn slot_status(app: &str, slot: Slot, facts: &SlotFacts) -> SlotStatus {
    let release = facts.state.release.as_ref();
    let problems = facts.state.failed.iter().chain(&facts.state.drift).chain(&facts.state.waiting);
    SlotStatus {
        release: slot.release(app),
        colour: slot.colour().map(|colour| colour.to_string()),
        revision: release.and_then(|release| release.revision.clone()),
        mode: release.map_or("absent", |release| if release.idle { "idle" } else { "serving" }).into(),
        ready_endpoints: facts.endpoints,
        problems: problems.take(5).cloned().collect(),
    }
}

fn weights(observed: &Observed) -> BTreeMap<String, u8> {
    observed.route.state.weights.clone()
}

fn gate_status(facts: &GateFacts) -> GateStatus {
    let verdict = match facts.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Unclear => "unclear",
    };
    GateStatus {
        name: facts.gate.clone(),
        revision: facts.revision.clone(),
        verdict: verdict.into(),
        detail: facts.detail.clone(),
        at: Time(facts.at),
    }
}

fn history(kept: &[Kept]) -> Vec<HistoryEntry> {
    let mut kept: Vec<_> = kept.iter().collect();
    kept.sort_by(|a, b| {
        (b.marks.activated_at.max(Some(b.created)), &b.id).cmp(&(a.marks.activated_at.max(Some(a.created)), &a.id))
    });
    kept.into_iter()
        .map(|kept| HistoryEntry {
            revision: kept.id.clone(),
            chart: kept.chart.clone(),
            secrets: kept.secrets.clone(),
            source: kept.source.clone(),
            reason: kept.reason.clone(),
            created: Time(kept.created),
            activated_at: kept.marks.activated_at.map(Time),
            failed: kept.marks.failed.clone(),
            rolled_back: kept.marks.rolled_back.clone(),
            cannot_return: kept.gone.clone(),
        })
        .collect()
}

/// The answer of this plan; else the one that was given; else, if that was lost, that there was one.
fn last_request(report: &Report, observed: &Observed, old: Option<&AppStatus>) -> Option<RequestStatus> {
    if let Some(answer) = &report.answer {
        return Some(answer.clone());
    }
    let before = old.and_then(|old| old.last_request.clone());
    let Some(RequestFacts::Asked(request)) = &observed.request else { return before };
    let handled = observed.revisions.iter().any(|kept| kept.marks.handled.as_deref() == Some(&request.id));
    match before {
        Some(answer) if answer.id == request.id || !handled => Some(answer),
        _ if handled => Some(RequestStatus {
            id: request.id.clone(),
            verb: request.verb.to_string(),
            outcome: "accepted".into(),
            message: "answered before the status was lost".into(),
        }),
        before => before,
    }
}

#[cfg(test)]
mod tests;
