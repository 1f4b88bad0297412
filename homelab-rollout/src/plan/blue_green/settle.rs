//! The target serves: its time is written down, and the other colour becomes the way back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{back, shift};
use crate::deployer::{Colour, Mode, ReleaseStatus};
use crate::plan::observed::{Kept, Slot};
use crate::plan::spec::BlueGreen;
use crate::plan::view::{View, left};
use crate::plan::{Action, Next, RESYNC, Weights};
use crate::ports::TrafficConfirmation;
use crate::revision::secret::Marks;

pub(super) fn next(view: &View<'_>, strategy: &BlueGreen, active: Colour, serving: &str) -> Next {
    if view.weight(active) < 100 {
        let why = view.target.failed.as_deref().or(view.target.rolled_back.as_deref());
        return back(view, active, serving, why.unwrap_or("it is what should serve"));
    }
    if let Some(TrafficConfirmation::Pending(waiting)) = &view.observed.route.confirmation {
        return Next::Wait(
            "ConfirmingTraffic",
            format!("{active} gets all traffic: {waiting}"),
            Duration::from_secs(1),
        );
    }
    if let Some(mark) = activation(view, serving) {
        return mark;
    }
    if view.endpoints(active) == 0 {
        return Next::Wait("NoEndpoints", format!("{active} has no ready endpoints"), RESYNC);
    }
    match view.last_good(serving) {
        Some(good) => keep(view, strategy, active.other(), good, serving),
        None => clear(view, active, serving),
    }
}

fn activation(view: &View<'_>, serving: &str) -> Option<Next> {
    let at = view.activation(serving)?;
    let kept = view.kept(serving)?;
    let marks = Marks { activated_at: Some(at), handled: kept.marks.handled.clone(), ..Marks::default() };
    let why = format!("revision {serving} has taken over");
    Some(Next::Act(vec![Action::Mark { revision: serving.to_owned(), marks, why: why.clone() }], why))
}

/// The colour that does not serve holds the last good revision: running while it is warm, then idle.
fn keep(view: &View<'_>, strategy: &BlueGreen, idle: Colour, good: &Kept, serving: &str) -> Next {
    let slot = Slot::from(idle);
    let since = view.observed.route.state.shifted_at.or_else(|| view.kept(serving)?.marks.activated_at);
    let warm = since.map_or(Duration::ZERO, |since| left(view.now, since, strategy.keep_warm));
    let release = view.release(slot);
    if release.is_none() && warm.is_zero() {
        return Next::Done(RESYNC);
    }
    let there = release.is_some_and(|release| {
        view.holds(slot, &good.id) && release.status == ReleaseStatus::Deployed && release.idle == warm.is_zero()
    });
    if !there {
        if let Some(left) = view.draining(idle) {
            return Next::Wait("Draining", format!("{idle} may still answer requests"), left);
        }
        if let Some(left) = view.pause(idle, &good.id, warm.is_zero()) {
            return Next::Done(left);
        }
        let (mode, why) = if warm.is_zero() {
            (Mode::Idle, format!("{idle} rests with revision {}", good.id))
        } else {
            (Mode::Serving(BTreeMap::new()), format!("{idle} goes back to the last good revision {}", good.id))
        };
        return Next::Act(vec![Action::Deploy { slot, revision: good.id.clone(), mode, why: why.clone() }], why);
    }
    let drift = &view.slot(slot).state.drift;
    if !drift.is_empty() {
        let why = format!("{idle} is repaired: {}", drift.join(", "));
        return Next::Act(vec![Action::Repair { slot, why: why.clone() }], why);
    }
    Next::Done(if warm.is_zero() { RESYNC } else { warm })
}

/// There is no way back: what a failed revision left is taken away.
fn clear(view: &View<'_>, active: Colour, serving: &str) -> Next {
    let idle = active.other();
    if view.release(idle).is_none() {
        return Next::Done(RESYNC);
    }
    if let Some(left) = view.draining(idle) {
        return Next::Wait("Draining", format!("{idle} may still answer requests"), left);
    }
    let why = format!("{idle} holds no revision that served");
    if view.in_route(idle) {
        return shift(view, &Weights::from([(active, 100)]), active, serving, format!("{why}: it leaves the route"));
    }
    Next::Act(vec![Action::Remove { slot: idle.into(), why: why.clone() }], why)
}
