//! Secrets whose earlier value is dead (`onChange: cut`): every colour that runs follows the newest version, in place.
//!
//! That is a repair of a slot to its own revision: what makes the revision stays, and no weight moves. Whatever is deployed
//! for another reason gets the newest version with it.

use super::observed::Slot;
use super::view::View;
use super::{Action, Next};
use crate::deployer::{Mode, ReleaseStatus};

/// `rest`, unless a slot runs with a dead value. A slot that could not be brought the new one keeps nothing else from being
/// done: that may be its cure.
pub(super) fn first<'a>(view: &View<'a>, rest: impl FnOnce(&View<'a>) -> Next) -> Next {
    let Some((slot, renewed)) = next(view) else { return rest(view) };
    if view.observed.trouble.as_ref().is_none_or(|trouble| trouble.slot != Some(slot)) {
        return renewed;
    }
    match rest(view) {
        Next::Act(actions, why) => Next::Act(actions, why),
        _ => renewed,
    }
}

/// The next slot that runs with a dead value, what serves first; none: there is none.
fn next(view: &View<'_>) -> Option<(Slot, Next)> {
    let active = view.active.as_ref().map(|(slot, _)| *slot);
    let others = [Slot::App, Slot::Blue, Slot::Green].into_iter().filter(|slot| Some(*slot) != active);
    active.into_iter().chain(others).find_map(|slot| Some((slot, renew(view, slot)?)))
}

fn renew(view: &View<'_>, slot: Slot) -> Option<Next> {
    let state = &view.slot(slot).state;
    let runs = |status, idle: bool| status == ReleaseStatus::Deployed && !idle;
    let release = state.release.as_ref().filter(|release| runs(release.status, release.idle))?;
    let revision = view.kept(release.revision.as_deref()?)?.id.clone();
    // A rolling App gets the newest version with its next revision.
    if slot == Slot::App && view.target.revision.as_ref() != Some(&revision) {
        return None;
    }
    let stale =
        view.observed.newest.iter().filter(|(path, newest)| state.secrets.get(*path).is_some_and(|v| v != *newest));
    let stale: Vec<_> = stale.map(|(path, newest)| format!("{path} version {newest}")).collect();
    if stale.is_empty() {
        return None;
    }
    let release = slot.release(&view.observed.app.name);
    let why = format!("{release} gets {} in place: the value before is dead", stale.join(" and "));
    let mode = Mode::Serving(state.scaled.clone());
    Some(Next::Act(vec![Action::Deploy { slot, revision, mode, why: why.clone() }], why))
}
