//! What to do about pods without their secrets. Pure.

use std::collections::HashMap;
use std::time::Duration;

use homelab_core::class::Backoff;
use jiff::Timestamp;

use super::observe::{AgentFailure, Failure, Owner, PodId, PodView};
use crate::inject::TEMPORARY;

/// A pod that slipped past the webhook is left for so long: the webhook has to be there when the next is made, else one
/// would follow the other.
const SETTLED: Duration = Duration::from_secs(20);
/// Waits between two nudges of an owner that is refused again each time: the secret or the policy is still missing.
const NUDGE: Backoff = Backoff { base: Duration::from_secs(2), cap: Duration::from_secs(60) };

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Say it on the pod.
    Tell { pod: PodId, reason: &'static str, note: String },
    /// Say it on the pod and evict it: its owner makes another one.
    Remake { pod: PodId, reason: &'static str, note: String },
    /// Make an owner try again now.
    Nudge(Owner),
}

/// What holds for all pods.
pub(super) struct Scope<'a> {
    /// Namespaces whose pods the webhook never sees.
    pub(super) left_alone: &'a [String],
    /// The webhook's configuration, if it is missing: pods that are made now slip through as well.
    pub(super) missing: Option<&'a str>,
    /// Since when this process answers.
    pub(super) started: Timestamp,
}

/// What to do, and when to look again although nothing happens.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) again: Option<Duration>,
}

/// Which owners were nudged: by uid.
#[derive(Debug, Default)]
pub(super) struct Nudges(HashMap<String, Nudged>);

#[derive(Debug)]
struct Nudged {
    /// The refusal that was answered last.
    mark: (Option<Timestamp>, i32),
    at: Timestamp,
    times: u32,
}

/// Compares what is with what should be.
pub(super) fn plan(
    pods: &[PodView],
    failures: &[Failure],
    nudges: &mut Nudges,
    scope: &Scope<'_>,
    now: Timestamp,
) -> Plan {
    let mut actions = Vec::new();
    let mut again = None;
    let mut later = |wait: Duration| again = Some(again.map_or(wait, |again: Duration| again.min(wait)));
    for action in pods.iter().filter_map(|pod| care(pod, scope, now)) {
        match action {
            Care::Now(action) => actions.push(action),
            Care::Later(wait) => later(wait),
        }
    }
    // An Event lives for an hour; what is told no more is over.
    nudges.0.retain(|uid, _| failures.iter().any(|failure| failure.owner.uid == *uid));
    for failure in newest(failures) {
        match nudges.due(failure, now) {
            None => {}
            Some(wait) if wait.is_zero() => {
                nudges.note(failure, now);
                actions.push(Action::Nudge(failure.owner.clone()));
            }
            Some(wait) => later(wait),
        }
    }
    Plan { actions, again }
}

enum Care {
    Now(Action),
    Later(Duration),
}

fn care(pod: &PodView, scope: &Scope<'_>, now: Timestamp) -> Option<Care> {
    if pod.over {
        return None;
    }
    if pod.slipped() {
        return Some(slipped(pod, scope, now));
    }
    let failed = pod.failed.as_ref()?;
    let at_our_absence = failed.code == TEMPORARY && failed.at <= scope.started;
    Some(Care::Now(match at_our_absence && failed.waits && pod.owned {
        true => remake(pod, failed),
        false => Action::Tell { pod: pod.id.clone(), reason: "NoSecrets", note: said(failed) },
    }))
}

/// The pod runs, or tries to, without what it asked for.
fn slipped(pod: &PodView, scope: &Scope<'_>, now: Timestamp) -> Care {
    let (label, _) = crate::inject::OPTED_IN;
    let reason = "NotInjected";
    let id = pod.id.clone();
    if scope.left_alone.contains(&id.namespace) {
        let note = format!(
            "asks for secrets by label {label}, but pods of namespace {} never get them, so that the cluster and homelab \
             start without homelab; take the label away, or move the pod",
            id.namespace
        );
        return Care::Now(Action::Tell { pod: id, reason, note });
    }
    let note = "asks for secrets but was made while homelab's webhook was away, so it has none";
    let age = Duration::try_from(now.duration_since(pod.created)).unwrap_or_default();
    if !pod.owned {
        let note = format!("{note}; it has no owner that makes it anew: delete it and make it again");
        return Care::Now(Action::Tell { pod: id, reason, note });
    }
    if let Some(missing) = scope.missing {
        let note = format!("{note}; {missing} is gone: restart homelab, which writes it anew");
        return Care::Now(Action::Tell { pod: id, reason, note });
    }
    match SETTLED.checked_sub(age).filter(|wait| !wait.is_zero()) {
        Some(wait) => Care::Later(wait),
        None => Care::Now(Action::Remake { pod: id, reason, note: format!("{note}; its owner makes it anew") }),
    }
}

fn remake(pod: &PodView, failed: &AgentFailure) -> Action {
    let note =
        format!("{}; homelab is back and Kubernetes would let it wait, so its owner makes it anew", said(failed));
    Action::Remake { pod: pod.id.clone(), reason: "NoSecrets", note }
}

fn said(failed: &AgentFailure) -> String {
    match failed.words.is_empty() {
        true => format!("homelab-agent ended with code {} and said nothing", failed.code),
        false => failed.words.clone(),
    }
}

/// The newest refusal of each owner: several Events may tell of one owner.
fn newest(failures: &[Failure]) -> Vec<&Failure> {
    let mut newest: Vec<&Failure> = Vec::new();
    for failure in failures {
        match newest.iter_mut().find(|other| other.owner.uid == failure.owner.uid) {
            Some(other) if other.mark < failure.mark => *other = failure,
            Some(_) => {}
            None => newest.push(failure),
        }
    }
    newest
}

impl Nudges {
    /// How long until the owner has to be nudged; none if that refusal was answered.
    fn due(&self, failure: &Failure, now: Timestamp) -> Option<Duration> {
        let Some(before) = self.0.get(&failure.owner.uid) else { return Some(Duration::ZERO) };
        let wait = NUDGE.delay(before.times);
        let past = Duration::try_from(now.duration_since(before.at)).unwrap_or_default();
        (before.mark != failure.mark).then(|| wait.saturating_sub(past))
    }

    fn note(&mut self, failure: &Failure, now: Timestamp) {
        let times = self.0.get(&failure.owner.uid).map_or(0, |before| before.times + 1);
        self.0.insert(failure.owner.uid.clone(), Nudged { mark: failure.mark, at: now, times });
    }
}
