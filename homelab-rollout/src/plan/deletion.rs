//! An App that is going.

use std::time::Duration;

use super::observed::{Observed, Slot};
use super::spec::{Spec, Strategy};
use super::{Action, Phase, Plan, Report};

/// Traffic first, then the releases, then the revisions with their pins, then the App.
pub(super) fn plan(spec: &Spec, observed: &Observed) -> Plan {
    let (actions, message) = next(spec, observed);
    let report =
        Report { phase: Phase::Deleting, reason: "Deleting".into(), message: message.into(), ..Report::default() };
    Plan { actions, report, requeue: Duration::from_secs(5) }
}

fn next(spec: &Spec, observed: &Observed) -> (Vec<Action>, &'static str) {
    if !observed.app.finalizer {
        return (Vec::new(), "the App is going");
    }
    if spec.orphan {
        return (vec![Action::RemoveFinalizer], "releases and route stay (deletion: orphan)");
    }
    let forget: Vec<_> = observed.revisions.iter().map(|kept| Action::Forget { revision: kept.id.clone() }).collect();
    if !observed.app.namespace_ending {
        let route = &observed.route.state;
        // A route that is not whole names its active colour all the same.
        if spec.strategy != Strategy::Rolling && (route.exists || route.active.is_some()) {
            return (vec![Action::ReleaseRoute], "the route is taken away");
        }
        let full = |(slot, facts): (&Slot, &super::observed::SlotFacts)| facts.state.release.as_ref().map(|_| *slot);
        let remove: Vec<_> = observed
            .slots
            .iter()
            .filter_map(full)
            .map(|slot| Action::Remove { slot, why: "the App is deleted".into() })
            .collect();
        if !remove.is_empty() {
            return (remove, "the releases are taken away");
        }
    }
    if !forget.is_empty() {
        return (forget, "the revisions are forgotten");
    }
    (vec![Action::RemoveFinalizer], "nothing of the App is left")
}
