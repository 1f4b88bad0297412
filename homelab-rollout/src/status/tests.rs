use super::*;
use crate::plan::Ready;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn report(phase: Phase) -> Report {
    let ready =
        Ready { ready: true, reason: "Serving".into(), message: "blue serves revision r1 with 2 endpoints".into() };
    Report { phase, reason: "Serving".into(), message: "fine".into(), ready, ..Report::default() }
}

fn lines(status: &AppStatus) -> String {
    let line = |c: &Condition| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message);
    status.conditions.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn waiting_for_a_person_is_ready_and_not_reconciling() {
    let report = Report { waiting: Some("gate me".into()), ..report(Phase::Waiting) };
    insta::assert_snapshot!(lines(&status(&report, &Observed::default(), None, at(0))), @r"
    Ready=True Serving: blue serves revision r1 with 2 endpoints
    Reconciling=False Serving: fine
    Stalled=False NotStalled: 
    Waiting=True Approval: gate me
    ");
}

#[test]
fn a_failed_revision_leaves_ready_alone_and_goes_when_it_is_over() {
    let failed = Report { failed: Some("revision r2 failed: gate smoke".into()), ..report(Phase::Failed) };
    let first = status(&failed, &Observed::default(), None, at(0));
    assert!(condition::is_true(&first.conditions, FAILED) && condition::is_true(&first.conditions, condition::READY));
    let second = status(&report(Phase::Serving), &Observed::default(), Some(&first), at(9));
    assert!(condition::get(&second.conditions, FAILED).is_none());
    assert_eq!(condition::get(&second.conditions, condition::READY).unwrap().last_transition_time, Time(at(0)));
}

#[test]
fn the_same_again_is_not_written() {
    let first = status(&report(Phase::Serving), &Observed::default(), None, at(0));
    let second = status(&report(Phase::Serving), &Observed::default(), Some(&first), at(60));
    assert!(!differs(Some(&first), &second));
}
