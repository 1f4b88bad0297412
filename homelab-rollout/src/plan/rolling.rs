//! One release, upgraded in place; gates come after, and the way back is to deploy the earlier revision again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::gates::{self, Gated};
use super::observed::{Kept, Slot, TroubleKind};
use super::spec::{Check, Gate};
use super::target::nothing_to_serve;
use super::view::{View, left};
use super::{Action, FAILED_GRACE, Next, READY_DEADLINE, RESYNC, cut};
use crate::deployer::{Mode, ReleaseStatus};
use crate::revision::secret::Marks;

const SLOT: Slot = Slot::App;

/// What is next for a rolling App.
pub(super) fn next(view: &View<'_>) -> Next {
    cut::first(view, rest)
}

fn rest(view: &View<'_>) -> Next {
    let Some(target) = view.target.revision.as_deref().and_then(|target| view.kept(target)) else {
        return nothing_to_serve(view);
    };
    // What served before is not asked for again.
    let served = view.active.as_ref().is_some_and(|(_, active)| *active == target.id);
    let trusted = served || view.target.rollback;
    if let Some(next) = deploy(view, target, served, trusted) {
        return next;
    }
    let facts = view.slot(SLOT);
    if !facts.state.drift.is_empty() {
        let why = format!("{} is repaired: {}", view.observed.app.name, facts.state.drift.join(", "));
        return Next::Act(vec![Action::Repair { slot: SLOT, why: why.clone() }], why);
    }
    if served {
        return Next::Done(RESYNC);
    }
    let since = view.since(SLOT, &target.id);
    if let Some(next) = healthy(view, target, since) {
        return next;
    }
    let due = view.spec.gates.iter().filter(|gate| !trusted && gate.check != Check::Approval);
    match gates::pass(view, SLOT, target, since, due) {
        Gated::Next(next) => next,
        Gated::Failed(why) => fail(target, why),
        Gated::Open => {
            let marks = Marks {
                activated_at: view.activation(&target.id),
                handled: target.marks.handled.clone(),
                ..Marks::default()
            };
            let why = format!("revision {} has taken over", target.id);
            Next::Act(vec![Action::Mark { revision: target.id.clone(), marks, why: why.clone() }], why)
        }
    }
}

fn deploy(view: &View<'_>, target: &Kept, served: bool, trusted: bool) -> Option<Next> {
    let release = view.release(SLOT).filter(|_| view.holds(SLOT, &target.id));
    let retried = target
        .marks
        .retried_at
        .is_some_and(|retried| release.and_then(|release| release.at).is_some_and(|at| retried > at));
    match release.map(|release| (release.status, release.idle)) {
        Some((ReleaseStatus::Deployed, false)) => return None,
        Some((ReleaseStatus::Failed, _)) if !served && !retried => {
            let why = release.map(|release| release.description.clone()).unwrap_or_default();
            return Some(fail(target, format!("release {}: {why}", view.observed.app.name)));
        }
        Some(_) => {}
        None if trusted => {}
        None => {
            if let Some(next) = before_deploy(view, target) {
                return Some(next);
            }
        }
    }
    if let Some(left) = view.pause(SLOT, &target.id, false).filter(|_| !retried) {
        let problem = release.map(|release| release.description.clone()).unwrap_or_default();
        return Some(Next::Wait("DeployFailed", problem, left));
    }
    let why = format!("{} gets revision {}", view.observed.app.name, target.id);
    let mode = Mode::Serving(BTreeMap::new());
    Some(Next::Act(vec![Action::Deploy { slot: SLOT, revision: target.id.clone(), mode, why: why.clone() }], why))
}

fn before_deploy(view: &View<'_>, target: &Kept) -> Option<Next> {
    if let Some(who) = &target.marks.paused {
        return Some(Next::Paused(format!("the rollout of revision {} is {who}", target.id)));
    }
    let invalid = view.observed.trouble.as_ref().filter(|trouble| {
        trouble.kind == TroubleKind::Invalid
            && trouble.slot == Some(SLOT)
            && trouble.revision.as_ref() == Some(&target.id)
    });
    if let Some(trouble) = invalid {
        return Some(fail(target, trouble.message.clone()));
    }
    let waiting =
        view.observed.dependencies.iter().find_map(|dependency| Some((&dependency.name, dependency.waiting.as_ref()?)));
    if let Some((name, why)) = waiting {
        return Some(Next::Wait("WaitingForDependency", format!("App {name} comes first: {why}"), RESYNC));
    }
    let approvals = view.spec.gates.iter().filter(|gate: &&Gate| gate.check == Check::Approval);
    match gates::pass(view, SLOT, target, None, approvals) {
        Gated::Open => None,
        Gated::Next(next) => Some(next),
        Gated::Failed(why) => Some(fail(target, why)),
    }
}

fn healthy(view: &View<'_>, target: &Kept, since: Option<Timestamp>) -> Option<Next> {
    let state = &view.slot(SLOT).state;
    let left_of = |length: Duration| since.map_or(length, |since| left(view.now, since, length));
    if let Some(problem) = state.failed.first() {
        let grace = left_of(FAILED_GRACE);
        let waits = Next::Wait("NotReady", problem.clone(), grace.max(Duration::from_secs(1)));
        return Some(if grace.is_zero() { fail(target, problem.clone()) } else { waits });
    }
    let problem = state.waiting.first()?;
    let left = left_of(READY_DEADLINE);
    if left.is_zero() {
        return Some(fail(target, format!("not ready after {} min: {problem}", READY_DEADLINE.as_secs() / 60)));
    }
    Some(Next::Wait("NotReady", problem.clone(), left))
}

fn fail(target: &Kept, why: String) -> Next {
    let message = format!("revision {} failed: {why}", target.id);
    let marks = Marks { failed: Some(why), held: Some(String::new()), ..target.marks.clone() };
    Next::Act(vec![Action::Mark { revision: target.id.clone(), marks, why: message.clone() }], message)
}
