//! Which gates a revision has still to pass.

use jiff::Timestamp;

use super::observed::{GateFacts, Kept, Slot, Verdict};
use super::spec::{Check, Gate};
use super::view::{View, left};
use super::{Action, GATE_INTERVAL, Next, READY_DEADLINE};
use crate::gate::http::HttpCheck;

/// What stands between a revision and its next step.
pub(super) enum Gated {
    /// Nothing.
    Open,
    /// This first.
    Next(Next),
    /// A gate said no.
    Failed(String),
}

/// Asks `gates` in order; answers from before `since` do not count.
pub(super) fn pass<'g>(
    view: &View<'_>,
    slot: Slot,
    target: &Kept,
    since: Option<Timestamp>,
    gates: impl Iterator<Item = &'g Gate>,
) -> Gated {
    for gate in gates {
        let gated = match &gate.check {
            Check::Approval if target.marks.approved.is_some() => Gated::Open,
            Check::Approval => Gated::Next(Next::Person(format!(
                "gate {}: revision {} waits for approval (homelab app approve {})",
                gate.name, target.id, view.observed.app.name
            ))),
            Check::Http(check) => http(view, slot, target, since, gate, check),
        };
        if !matches!(gated, Gated::Open) {
            return gated;
        }
    }
    Gated::Open
}

fn http(view: &View<'_>, slot: Slot, target: &Kept, since: Option<Timestamp>, gate: &Gate, check: &HttpCheck) -> Gated {
    let counts = |facts: &&GateFacts| {
        facts.gate == gate.name && facts.revision == target.id && since.is_none_or(|since| facts.at >= since)
    };
    let answer = view.observed.gates.iter().find(counts);
    let again = |failures: u32| {
        let ask = Action::CheckGate { gate: gate.name.clone(), slot, revision: target.id.clone(), failures };
        Gated::Next(Next::Act(vec![ask], format!("gate {} is asked about revision {}", gate.name, target.id)))
    };
    let Some(answer) = answer else { return again(0) };
    let unclear_too_long = since.is_some_and(|since| left(view.now, since, READY_DEADLINE).is_zero());
    match answer.verdict {
        Verdict::Passed => Gated::Open,
        Verdict::Failed if answer.failures >= check.attempts => {
            Gated::Failed(format!("gate {}: {}", gate.name, answer.detail))
        }
        Verdict::Unclear if unclear_too_long => {
            Gated::Failed(format!("gate {} could not be asked: {}", gate.name, answer.detail))
        }
        Verdict::Failed | Verdict::Unclear => {
            let pause = left(view.now, answer.at, GATE_INTERVAL);
            if pause.is_zero() {
                again(answer.failures)
            } else {
                Gated::Next(Next::Wait("GateFailing", format!("gate {}: {}", gate.name, answer.detail), pause))
            }
        }
    }
}
