//! What to do next: a pure function of spec, observation and time.
//!
//! Level-triggered: nothing here asks which event woke us, and nothing is remembered between two calls. After each
//! action the world is observed again; a crash between two writes therefore changes nothing. What must be remembered
//! is written where it belongs: the active colour on the route, what became of a revision on its Secret.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::RequestStatus;
use crate::deployer::{Colour, Mode};
use crate::ports::TrafficSplit;
use crate::revision::secret::Marks;

pub mod backend;
mod blue_green;
mod cut;
mod deletion;
mod gates;
pub mod observed;
mod requests;
mod retention;
mod rolling;
pub mod spec;
mod target;
mod view;

pub use observed::{Observed, Slot};
pub use spec::Spec;

/// How long a colour that lost its traffic may still answer requests.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How long something that looks broken may recover by itself.
pub const FAILED_GRACE: Duration = Duration::from_secs(30);
/// How long a new revision may take to become ready.
pub const READY_DEADLINE: Duration = Duration::from_secs(600);
/// Pause between two tries of a gate.
pub const GATE_INTERVAL: Duration = Duration::from_secs(2);
/// Pause before the engine is asked again for what it failed to do.
const REDEPLOY: Duration = Duration::from_secs(60);
/// How often the world is looked at while something moves.
const POLL: Duration = Duration::from_secs(5);
/// How often it is looked at when all is well.
const RESYNC: Duration = Duration::from_secs(600);

/// What to do, what to say, and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// In order; after the last the world is observed again.
    pub actions: Vec<Action>,
    /// For people.
    pub report: Report,
    /// Look again after this, whatever happens.
    pub requeue: Duration,
}

/// One resumable write, with every choice made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Put our finalizer on the App.
    AddFinalizer,
    /// Let the App go.
    RemoveFinalizer,
    /// Write the revision Secret of the wanted revision and pin its secret versions.
    Keep {
        /// Its id.
        revision: String,
    },
    /// Unpin and delete a revision that nobody needs.
    Forget {
        /// Its id.
        revision: String,
    },
    /// Write what became of a revision.
    Mark {
        /// Its id.
        revision: String,
        /// All marks that it has from now on.
        marks: Marks,
        /// For the Event.
        why: String,
    },
    /// Make a slot hold a revision.
    Deploy {
        /// Which release.
        slot: Slot,
        /// Id of the revision.
        revision: String,
        /// Serving or idle.
        mode: Mode,
        /// For the Event.
        why: String,
    },
    /// Bring back what a slot lost.
    Repair {
        /// Which release.
        slot: Slot,
        /// For the Event.
        why: String,
    },
    /// Take a slot away.
    Remove {
        /// Which release.
        slot: Slot,
        /// For the Event.
        why: String,
    },
    /// Write the route.
    Shift {
        /// The whole wish.
        split: TrafficSplit,
        /// resourceVersion that this was planned from.
        #[serde(default)]
        version: Option<String>,
        /// Take back what somebody else wrote into it.
        #[serde(default)]
        force: bool,
        /// For the Event.
        why: String,
    },
    /// Take the route away.
    ReleaseRoute,
    /// Ask a gate once.
    CheckGate {
        /// Its name.
        gate: String,
        /// The release that is asked.
        slot: Slot,
        /// The revision that it holds.
        revision: String,
        /// Failures in a row so far.
        failures: u32,
    },
}

/// One word for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The target serves and nothing is to be done.
    #[default]
    Serving,
    /// On the way, by itself.
    RollingOut,
    /// For a person.
    Waiting,
    /// The wanted revision failed; another serves.
    Failed,
    /// Somebody went back from the wanted revision; the one that they asked for serves.
    RolledBack,
    /// By a person, or because somebody edited the route.
    Paused,
    /// By the spec.
    Suspended,
    /// Not without a change by somebody.
    Stalled,
    /// The App is going.
    Deleting,
}

/// What the status says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// One word.
    pub phase: Phase,
    /// One CamelCase word for the conditions.
    pub reason: String,
    /// What happens now, or is waited for.
    pub message: String,
    /// Whether the active revision serves, and how that is known.
    pub ready: Ready,
    /// What serves.
    pub active: Option<(Option<Colour>, String)>,
    /// What should serve.
    pub target: Option<String>,
    /// Why the wanted revision failed.
    pub failed: Option<String>,
    /// Who went back from the wanted revision, where to and why.
    pub rolled_back: Option<String>,
    /// What is waited for from a person.
    pub waiting: Option<String>,
    /// Who paused it.
    pub paused: Option<String>,
    /// A rollback is a matter of seconds: revision and colour.
    pub warm: Option<String>,
    /// What needs a change by somebody: one word, and what to do.
    pub stalled: Option<(String, String)>,
    /// Things to know: `StepsReduced …`.
    pub notes: Vec<String>,
    /// Answer to the request.
    pub answer: Option<RequestStatus>,
}

/// Whether the active revision serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// It does.
    pub ready: bool,
    /// One CamelCase word.
    pub reason: String,
    /// How that is known.
    pub message: String,
}

/// What a strategy comes to.
enum Next {
    /// Write, then observe again.
    Act(Vec<Action>, String),
    /// Something moves by itself: one word, what, and when to look again at the latest.
    Wait(&'static str, String, Duration),
    /// A person has to say something.
    Person(String),
    /// Held by a person or a foreign edit.
    Paused(String),
    /// Only a change by somebody helps.
    Stalled(String, String),
    /// Nothing to do; look again after this.
    Done(Duration),
}

/// What to do next. Total: every observation gives a plan.
pub fn plan(spec: &Spec, observed: &Observed, now: Timestamp) -> Plan {
    if observed.app.deleting {
        return deletion::plan(spec, observed);
    }
    let view = view::View::new(spec, observed, now);
    let mut report = view.report();
    if spec.suspend {
        report.phase = Phase::Suspended;
        report.reason = "Suspended".into();
        report.message = "spec.suspend is true: nothing is changed".into();
        return Plan { actions: Vec::new(), report, requeue: RESYNC };
    }
    let next = decide(&view, &mut report);
    finish(&view, next, report)
}

fn decide(view: &view::View<'_>, report: &mut Report) -> Next {
    if !view.observed.app.finalizer {
        return Next::Act(vec![Action::AddFinalizer], "the App gets its finalizer".into());
    }
    if let Some(answered) = requests::answer(view) {
        let message = answered.answer.message.clone();
        report.answer = Some(answered.answer);
        if !answered.actions.is_empty() {
            return Next::Act(answered.actions, message);
        }
    }
    if let Some(next) = target::tidy(view) {
        return next;
    }
    let next = match &view.spec.strategy {
        spec::Strategy::BlueGreen(strategy) => blue_green::next(view, strategy),
        spec::Strategy::Rolling => rolling::next(view),
    };
    match next {
        Next::Done(after) => match retention::superfluous(view) {
            gone if gone.is_empty() => Next::Done(after),
            gone => Next::Act(gone, "revisions that nobody needs are forgotten".into()),
        },
        next => next,
    }
}

fn finish(view: &view::View<'_>, next: Next, mut report: Report) -> Plan {
    let mut plan = Plan { requeue: POLL, ..Plan::default() };
    let mut say = |phase: Phase, reason: &str, message: String| {
        report.phase = phase;
        report.reason = reason.into();
        report.message = message;
    };
    match next {
        Next::Act(actions, why) => {
            say(Phase::RollingOut, "Progressing", why);
            plan.actions = actions;
        }
        Next::Wait(reason, message, after) => {
            say(Phase::RollingOut, reason, message);
            plan.requeue = after.min(POLL);
        }
        Next::Person(message) => {
            say(Phase::Waiting, "WaitingForApproval", message.clone());
            report.waiting = Some(message);
            plan.requeue = RESYNC;
        }
        Next::Paused(message) => {
            say(Phase::Paused, "Paused", message.clone());
            report.paused = Some(message);
            plan.requeue = RESYNC;
        }
        Next::Stalled(reason, message) => {
            say(Phase::Stalled, &reason, message.clone());
            report.stalled = Some((reason, message));
        }
        Next::Done(after) => {
            let message = report.ready.message.clone();
            say(Phase::Serving, "Serving", message);
            plan.requeue = after.min(RESYNC);
        }
    }
    if let Some(trouble) = &view.observed.trouble {
        report.message = format!("{}; the last try failed: {}", report.message, trouble.message);
        if trouble.kind != observed::TroubleKind::Passing {
            report.phase = Phase::Stalled;
            report.stalled = Some(("ActionFailed".into(), trouble.message.clone()));
        }
    }
    blocked(view, &mut report);
    plan.report = report;
    plan
}

/// What Git asks for but can not be had stands beside what goes on.
fn blocked(view: &view::View<'_>, report: &mut Report) {
    if let observed::Wanted::Blocked { reason, message, passing } = &view.observed.wanted {
        if *passing {
            report.notes.push(message.clone());
        } else {
            report.stalled = Some((reason.clone(), message.clone()));
        }
        if matches!(report.phase, Phase::Serving | Phase::RollingOut) {
            report.phase = if *passing { Phase::RollingOut } else { Phase::Stalled };
            report.reason.clone_from(reason);
            report.message.clone_from(message);
        }
        return;
    }
    let instead = match (&report.rolled_back, &report.failed) {
        (Some(why), _) => Some((Phase::RolledBack, "RolledBack", why.clone())),
        (None, Some(why)) => {
            let until = target::until(&view.observed.app.name, "it");
            Some((Phase::Failed, "RevisionFailed", format!("{why}; {until}")))
        }
        (None, None) => None,
    };
    if let Some((phase, reason, why)) = instead.filter(|_| report.phase == Phase::Serving) {
        report.phase = phase;
        report.reason = reason.into();
        report.message = why;
    }
}

/// Percent by colour, of the colours that the route knows.
pub type Weights = BTreeMap<Colour, u8>;

#[cfg(test)]
mod tests;
