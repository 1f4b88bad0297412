//! Whole histories, as the messages that people read.

use serde_json::json;

use super::super::*;
use super::model::Cluster;
use crate::request::Verb;

/// Rounds until `rounds` are over; what was done, one line an action, without repeats.
fn story(cluster: &mut Cluster, rounds: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for _ in 0..rounds {
        let planned = cluster.round(usize::MAX);
        let line = format!("{:?}: {}", planned.report.phase, planned.report.message);
        if lines.last() != Some(&line) {
            lines.push(line);
        }
        if planned.actions.is_empty() {
            cluster.tick(2);
        }
    }
    lines.join("\n")
}

fn gated() -> Spec {
    super::blue_green(&[50, 100], json!([{"name": "smoke", "http": {"path": "/healthz", "attempts": 1}}]))
}

#[test]
fn first_install() {
    let mut cluster = Cluster::new(gated(), true);
    insta::assert_snapshot!(story(&mut cluster, 14));
}

#[test]
fn second_revision() {
    let mut cluster = Cluster::new(gated(), true);
    cluster.converge();
    cluster.want("r1");
    insta::assert_snapshot!(story(&mut cluster, 30));
}

#[test]
fn a_failed_gate_gives_the_warm_revision_back_and_rollback_is_instant() {
    let mut cluster = Cluster::new(gated(), false);
    story(&mut cluster, 20);
    cluster.want("r1");
    story(&mut cluster, 30);
    cluster.want("r2");
    cluster.rejected.insert("r2".into());
    let failing = story(&mut cluster, 30);
    let report = cluster.plan().report;
    assert!(report.warm.is_some() && report.failed.is_some(), "{report:?}");
    cluster.ask(Verb::Rollback, None);
    let back = story(&mut cluster, 20);
    insta::assert_snapshot!(format!("{failing}\n--- rollback\n{back}"));
}

#[test]
fn git_that_goes_back_to_what_was_rolled_back_from_is_followed() {
    let mut cluster = Cluster::new(gated(), false);
    story(&mut cluster, 20);
    cluster.want("r1");
    story(&mut cluster, 30);
    cluster.want("r2");
    cluster.rejected.insert("r2".into());
    story(&mut cluster, 30);
    cluster.ask(Verb::Rollback, None);
    story(&mut cluster, 30);
    let serves = |cluster: &Cluster| cluster.plan().report.active.map(|(_, revision)| revision);
    assert_eq!(serves(&cluster).as_deref(), Some("r0"));
    cluster.want("r1");
    story(&mut cluster, 40);
    assert_eq!(serves(&cluster).as_deref(), Some("r1"), "a git revert is a new wish");
}

#[test]
fn approval_waits_for_a_person_and_promote_goes_to_the_end() {
    let spec = super::blue_green(&[10, 50, 100], json!([{"name": "me", "approval": {}}]));
    let mut cluster = Cluster::new(spec, true);
    story(&mut cluster, 20);
    cluster.ask(Verb::Approve, None);
    story(&mut cluster, 20);
    cluster.want("r1");
    let waiting = story(&mut cluster, 20);
    cluster.ask(Verb::Promote, Some("r1".into()));
    insta::assert_snapshot!(format!("{waiting}\n--- promote\n{}", story(&mut cluster, 20)));
}

#[test]
fn deletion_takes_everything_away() {
    let mut cluster = Cluster::new(gated(), true);
    cluster.converge();
    cluster.observed.app.deleting = true;
    insta::assert_snapshot!(story(&mut cluster, 6));
    assert!(
        cluster.observed.slots.is_empty() && cluster.observed.revisions.is_empty() && !cluster.observed.app.finalizer
    );
}
