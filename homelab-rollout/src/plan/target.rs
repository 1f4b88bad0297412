//! Which revision should serve.

use std::collections::BTreeSet;

use super::observed::{Observed, Trouble, TroubleKind, Wanted};
use super::view::{View, kept};
use super::{Action, Next, POLL};
use crate::revision::secret::Marks;

/// Which revision should serve, and why that one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// None: there is none that could.
    pub(super) revision: Option<String>,
    /// Somebody asked for an earlier one: no gates, no steps.
    pub(super) rollback: bool,
    /// Why the wanted one is not it, if it failed.
    pub(super) failed: Option<String>,
    /// Why the wanted one is not it, if somebody went back from it.
    pub(super) rolled_back: Option<String>,
}

/// The wanted revision; if that is held, what its mark says; else what is active.
pub(super) fn choose(observed: &Observed, active: Option<&str>) -> Target {
    let Some(wanted) = observed.wanted.id().or(active) else { return Target::default() };
    let (failed, rolled_back) = why_not(observed, wanted, active);
    let mut seen = BTreeSet::new();
    let (mut revision, mut rollback) = (wanted, false);
    while seen.insert(revision) {
        let Some(held) = kept(observed, revision).and_then(|kept| kept.marks.held.as_deref()) else {
            return Target { revision: Some(revision.to_owned()), rollback, failed, rolled_back };
        };
        if kept(observed, held).is_some_and(|kept| !seen.contains(kept.id.as_str()) && kept.gone.is_none()) {
            (revision, rollback) = (held, true);
        } else if let Some(active) = active {
            (revision, rollback) = (active, false);
        } else {
            return Target { revision: None, rollback: false, failed, rolled_back };
        }
    }
    Target { revision: active.map(Into::into), rollback: false, failed, rolled_back }
}

/// Why what Git asks for does not serve: it failed, or somebody went back from it, or both.
fn why_not(observed: &Observed, wanted: &str, active: Option<&str>) -> (Option<String>, Option<String>) {
    let held = kept(observed, wanted).filter(|kept| kept.marks.held.is_some() && active != Some(wanted));
    let Some(Marks { failed, rolled_back, .. }) = held.map(|kept| &kept.marks) else { return (None, None) };
    let failed = match (failed, rolled_back) {
        (None, None) => Some(format!("revision {wanted} is held")),
        (failed, _) => failed.as_ref().map(|why| format!("revision {wanted} failed: {why}")),
    };
    let rolled_back = rolled_back.as_ref().map(|why| match &failed {
        Some(failed) => format!("{why}; {failed}; {}", until(&observed.app.name, "it")),
        None => format!("{why}; {}", until(&observed.app.name, &format!("revision {wanted}"))),
    });
    (failed, rolled_back)
}

/// What ends a hold.
pub(super) fn until(app: &str, what: &str) -> String {
    format!("{what} is held until Git or a secret moves on, or `homelab app retry {app}`")
}

/// There is no revision that could serve: says why that is.
pub(super) fn nothing_to_serve(view: &View<'_>) -> Next {
    match (&view.target.failed, &view.observed.wanted) {
        (Some(failed), _) => {
            let until = until(&view.observed.app.name, "it");
            Next::Stalled("NothingToServe".into(), format!("{failed}; {until}"))
        }
        (None, Wanted::Blocked { message, passing: true, .. }) => Next::Wait("NothingToServe", message.clone(), POLL),
        (None, Wanted::Blocked { reason, message, passing: false }) => Next::Stalled(reason.clone(), message.clone()),
        (None, Wanted::Revision { id }) => {
            Next::Stalled("NothingToServe".into(), format!("revision {id} is not kept yet"))
        }
    }
}

/// Keeps the wanted revision, and lets holds go once Git or a secret has moved on.
pub(super) fn tidy(view: &View<'_>) -> Option<Next> {
    let Wanted::Revision { id } = &view.observed.wanted else { return None };
    let Some(wanted) = view.kept(id) else {
        let hopeless = |trouble: &Trouble| trouble.kind == TroubleKind::Invalid && trouble.slot.is_none();
        if view.observed.trouble.as_ref().is_some_and(hopeless) {
            return None;
        }
        let keep = Action::Keep { revision: id.clone() };
        return Some(Next::Act(vec![keep], format!("revision {id} is new")));
    };
    // While the wanted one is held, so is what was rolled back from, until the way back has been gone: from then on only
    // Git or a secret that asks for it again makes it the wanted one, and that is followed.
    let arrived = view.active.as_ref().map(|(_, active)| active.as_str());
    let stays = |held: &str| wanted.marks.held.is_some() && arrived != Some(held);
    let held = view
        .observed
        .revisions
        .iter()
        .filter(|kept| kept.id != *id && kept.marks.held.as_deref().is_some_and(|held| !stays(held)));
    let actions: Vec<_> = held
        .map(|kept| Action::Mark {
            revision: kept.id.clone(),
            marks: Marks { held: None, ..kept.marks.clone() },
            why: format!("revision {} may be tried again once Git or a secret asks for it", kept.id),
        })
        .collect();
    let why = match &wanted.marks.held {
        None => format!("revision {id} takes the place of one that failed"),
        Some(held) => format!("revision {held} serves; what it was rolled back from may be asked for again"),
    };
    (!actions.is_empty()).then_some(Next::Act(actions, why))
}
