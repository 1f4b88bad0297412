//! Two slots, and traffic between them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::gates::{self, Gated};
use super::observed::{Kept, Slot, TroubleKind};
use super::spec::BlueGreen;
use super::target::nothing_to_serve;
use super::view::{View, left};
use super::{Action, FAILED_GRACE, Next, READY_DEADLINE, RESYNC, Weights, backend, cut};
use crate::deployer::{Colour, Mode, ReleaseStatus};
use crate::ports::TrafficConfirmation;
use crate::revision::secret::Marks;

mod foreign;
mod settle;

/// What is next for a blue-green App.
pub(super) fn next(view: &View<'_>, strategy: &BlueGreen) -> Next {
    if let Some(next) = foreign::next(view) {
        return next;
    }
    cut::first(view, |view| rest(view, strategy))
}

fn rest(view: &View<'_>, strategy: &BlueGreen) -> Next {
    let Some((slot, revision)) = &view.active else { return first(view) };
    let active = slot.colour().unwrap_or(Colour::Blue);
    let rolling_out = view.target.revision.as_ref().filter(|target| *target != revision);
    // A broken active slot that can not be repaired must not keep its cure away.
    let failed = view.observed.trouble.as_ref().is_some_and(|trouble| trouble.slot == Some(*slot));
    let hopeless = rolling_out.is_some() && (failed || view.pause(*slot, revision, false).is_some());
    if !hopeless && let Some(next) = keep_whole(view, *slot, revision) {
        return next;
    }
    if !view.observed.route.state.exists {
        return back(view, active, revision, "the route is missing, or not whole");
    }
    match rolling_out.and_then(|target| view.kept(target)) {
        Some(target) => roll(view, strategy, active, revision, target),
        None => settle::next(view, strategy, active, revision),
    }
}

/// Nothing serves yet: the target goes to blue, or to where it already is.
fn first(view: &View<'_>) -> Next {
    let Some(target) = view.target.revision.as_deref().and_then(|target| view.kept(target)) else {
        return nothing_to_serve(view);
    };
    let colour = if view.holds(Colour::Green, &target.id) && !view.holds(Colour::Blue, &target.id) {
        Colour::Green
    } else {
        Colour::Blue
    };
    if let Some(next) = bring(view, colour, target, BTreeMap::new()) {
        return next;
    }
    match gates::pass(
        view,
        colour.into(),
        target,
        view.since(colour.into(), &target.id),
        view.spec.gates.iter().filter(|gate| gate.after.is_none()),
    ) {
        Gated::Open => shift(
            view,
            &Weights::from([(colour, 100)]),
            colour,
            &target.id,
            format!("revision {} is the first to serve", target.id),
        ),
        Gated::Next(next) => next,
        Gated::Failed(why) => fail(target, why),
    }
}

/// Takes the target through its rollout in the colour that does not serve.
fn roll(view: &View<'_>, strategy: &BlueGreen, active: Colour, serving: &str, target: &Kept) -> Next {
    let idle = active.other();
    if let Some(who) = &target.marks.paused {
        return Next::Paused(format!("the rollout of revision {} is {who}", target.id));
    }
    if !view.holds(idle, &target.id) && view.weight(idle) > 0 {
        return back(
            view,
            active,
            serving,
            &format!("revision {} takes the place of the one that rolls out", target.id),
        );
    }
    if let Some(next) = bring(view, idle, target, replicas(view, active)) {
        return next;
    }
    let capabilities = view.observed.route.capabilities;
    let attach = capabilities.is_some_and(|capabilities| capabilities.weights || capabilities.preview_header);
    if attach && !view.in_route(idle) {
        let weights = Weights::from([(active, 100 - view.weight(idle)), (idle, view.weight(idle))]);
        return shift(view, &weights, active, serving, format!("{idle} joins the route without weight"));
    }
    advance(view, strategy, active, serving, target)
}

/// Gates and steps.
fn advance(view: &View<'_>, strategy: &BlueGreen, active: Colour, serving: &str, target: &Kept) -> Next {
    let idle = active.other();
    let weight = view.weight(idle);
    if weight > 0
        && let Some(TrafficConfirmation::Pending(waiting)) = &view.observed.route.confirmation
    {
        return Next::Wait("ConfirmingTraffic", format!("{idle} gets {weight} %: {waiting}"), Duration::from_secs(1));
    }
    let weights = view.observed.route.capabilities.is_none_or(|capabilities| capabilities.weights);
    let steps = if weights && !view.target.rollback && target.marks.promoted.is_none() {
        strategy.steps.as_slice()
    } else {
        &[100]
    };
    if !view.target.rollback {
        let since =
            view.since(idle.into(), &target.id).max(view.observed.route.state.shifted_at.filter(|_| weight > 0));
        let passed = steps.iter().copied().filter(|step| *step < weight).max().unwrap_or(0);
        let due = view
            .spec
            .gates
            .iter()
            .filter(|gate| gate.after.map_or(weight == 0, |after| after > passed && after <= weight));
        match gates::pass(view, idle.into(), target, since, due) {
            Gated::Open => {}
            Gated::Next(next) => return next,
            Gated::Failed(why) => return fail(target, why),
        }
    }
    match steps.iter().copied().find(|step| *step > weight) {
        Some(step) => {
            let weights = Weights::from([(active, 100 - step), (idle, step)]);
            shift(
                view,
                &weights,
                active,
                serving,
                format!("{idle} with revision {} gets {step} % of the traffic", target.id),
            )
        }
        None => shift(
            view,
            &Weights::from([(active, 0), (idle, 100)]),
            idle,
            &target.id,
            format!("revision {} is active in {idle}", target.id),
        ),
    }
}

/// Makes a slot without traffic hold the target, healthy and with endpoints; none: it does.
fn bring(view: &View<'_>, colour: Colour, target: &Kept, replicas: BTreeMap<String, i32>) -> Option<Next> {
    if let Some(who) = &target.marks.paused {
        return Some(Next::Paused(format!("the rollout of revision {} is {who}", target.id)));
    }
    let slot = Slot::from(colour);
    let invalid = view.observed.trouble.as_ref().filter(|trouble| {
        trouble.kind == TroubleKind::Invalid
            && trouble.slot == Some(slot)
            && trouble.revision.as_ref() == Some(&target.id)
    });
    if let Some(trouble) = invalid {
        return Some(fail(target, trouble.message.clone()));
    }
    let deploy = |why: String| {
        let deploy = Action::Deploy {
            slot,
            revision: target.id.clone(),
            mode: Mode::Serving(replicas.clone()),
            why: why.clone(),
        };
        Some(Next::Act(vec![deploy], why))
    };
    let since = view.since(slot, &target.id);
    let Some(release) = view.release(slot).filter(|_| view.holds(slot, &target.id)) else {
        return before_deploy(view, colour).or_else(|| deploy(format!("{colour} gets revision {}", target.id)));
    };
    let retried = target.marks.retried_at.is_some_and(|retried| release.at.is_some_and(|at| retried > at));
    match release.status {
        ReleaseStatus::Failed if !retried => {
            return Some(fail(
                target,
                format!("release {}: {}", slot.release(&view.observed.app.name), release.description),
            ));
        }
        ReleaseStatus::Deployed if !release.idle => {}
        _ => return deploy(format!("{colour} gets revision {} again", target.id)),
    }
    let facts = view.slot(slot);
    if !facts.state.drift.is_empty() {
        let why = format!("{colour} is repaired: {}", facts.state.drift.join(", "));
        return Some(Next::Act(vec![Action::Repair { slot, why: why.clone() }], why));
    }
    healthy(view, colour, target, since)
}

/// What a slot has to wait for before it is overwritten.
fn before_deploy(view: &View<'_>, colour: Colour) -> Option<Next> {
    if let Some(left) = view.draining(colour) {
        return Some(Next::Wait("Draining", format!("{colour} may still answer requests"), left));
    }
    if view.target.rollback {
        return None;
    }
    let waiting =
        view.observed.dependencies.iter().find_map(|dependency| Some((&dependency.name, dependency.waiting.as_ref()?)));
    waiting.map(|(name, why)| Next::Wait("WaitingForDependency", format!("App {name} comes first: {why}"), RESYNC))
}

fn healthy(view: &View<'_>, colour: Colour, target: &Kept, since: Option<jiff::Timestamp>) -> Option<Next> {
    let facts = view.slot(colour);
    let left_of = |length: Duration| since.map_or(length, |since| left(view.now, since, length));
    if let Some(problem) = facts.state.failed.first() {
        let grace = left_of(FAILED_GRACE);
        let waits = Next::Wait("NotReady", format!("{colour}: {problem}"), grace.max(Duration::from_secs(1)));
        return Some(if grace.is_zero() { fail(target, problem.clone()) } else { waits });
    }
    if let Err(why) = backend::of(&view.observed.app.name, colour.into(), &facts.state, view.spec.route.as_ref()) {
        return Some(fail(target, why));
    }
    let problem = match facts.state.waiting.first() {
        Some(problem) => problem.clone(),
        None if facts.endpoints == 0 => "its Service has no ready endpoints".into(),
        None => return None,
    };
    if view.weight(colour) > 0 && facts.endpoints == 0 {
        return Some(fail(target, format!("{colour} lost all its endpoints under traffic: {problem}")));
    }
    let left = left_of(READY_DEADLINE);
    if left.is_zero() {
        return Some(fail(target, format!("not ready after {} min: {problem}", READY_DEADLINE.as_secs() / 60)));
    }
    Some(Next::Wait("NotReady", format!("{colour}: {problem}"), left))
}

/// Repair of a slot to its own revision; none: it is whole.
fn keep_whole(view: &View<'_>, slot: Slot, revision: &str) -> Option<Next> {
    let whole = view.release(slot).is_some_and(|release| {
        release.revision.as_deref() == Some(revision) && !release.idle && release.status == ReleaseStatus::Deployed
    });
    if !whole {
        view.kept(revision)?;
        if let Some(left) = view.pause(slot, revision, false) {
            let problem = view.release(slot).map(|release| release.description.clone()).unwrap_or_default();
            return Some(Next::Wait("RepairFailed", problem, left));
        }
        let why = format!("{} is brought back to its revision {revision}", slot.release(&view.observed.app.name));
        let mode = Mode::Serving(BTreeMap::new());
        return Some(Next::Act(
            vec![Action::Deploy { slot, revision: revision.to_owned(), mode, why: why.clone() }],
            why,
        ));
    }
    let drift = &view.slot(slot).state.drift;
    (!drift.is_empty()).then(|| {
        let why = format!("{} is repaired: {}", slot.release(&view.observed.app.name), drift.join(", "));
        Next::Act(vec![Action::Repair { slot, why: why.clone() }], why)
    })
}

/// All traffic to the active colour.
fn back(view: &View<'_>, active: Colour, serving: &str, why: &str) -> Next {
    let mut weights = Weights::from([(active, 100)]);
    if view.in_route(active.other()) {
        weights.insert(active.other(), 0);
    }
    shift(view, &weights, active, serving, format!("all traffic goes to {active} with revision {serving}: {why}"))
}

/// The revision failed: it is remembered, and what follows from that is for the next plan.
fn fail(target: &Kept, why: String) -> Next {
    let message = format!("revision {} failed: {why}", target.id);
    let marks = Marks { failed: Some(why), held: Some(String::new()), ..target.marks.clone() };
    Next::Act(vec![Action::Mark { revision: target.id.clone(), marks, why: message.clone() }], message)
}

/// One write of the route. No weight rises without ready endpoints.
fn shift(view: &View<'_>, weights: &Weights, active: Colour, revision: &str, why: String) -> Next {
    for (colour, weight) in weights {
        if *weight > view.weight(*colour) && view.endpoints(*colour) == 0 {
            return Next::Wait(
                "NoEndpoints",
                format!("{why}, once {colour} has ready endpoints"),
                Duration::from_secs(2),
            );
        }
    }
    let observed = view.observed;
    let active = format!("{active}@{revision}");
    let split = match backend::split(
        view.spec,
        &observed.app.name,
        &observed.slots,
        observed.route.capabilities,
        weights,
        active,
    ) {
        Ok(split) => split,
        Err(why) => return Next::Stalled("NoBackend".into(), why),
    };
    let version = view.observed.route.state.version.clone();
    Next::Act(vec![Action::Shift { split, version, force: false, why: why.clone() }], why)
}

/// The replica counts that an autoscaler or a person gave to what serves now.
fn replicas(view: &View<'_>, from: Colour) -> BTreeMap<String, i32> {
    let live = view.slot(from).state.scaled.iter().filter(|(_, count)| **count > 0);
    live.map(|(name, count)| (name.clone(), *count)).collect()
}
