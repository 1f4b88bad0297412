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
fn after_a_rollback_the_app_says_what_serves_and_what_is_held() {
    for spec in [gated(), super::rolling(json!([]))] {
        let mut cluster = Cluster::new(spec, true);
        cluster.converge();
        cluster.want("r1");
        cluster.converge();
        cluster.ask(Verb::Rollback, None);
        cluster.converge();
        let report = cluster.plan().report;
        assert_eq!((report.phase, report.reason.as_str()), (Phase::RolledBack, "RolledBack"));
        assert_eq!(report.failed, None, "nothing failed");
        let message = "rolled back to revision r0 by me; revision r1 is held until Git or a secret moves on, or `homelab app retry web`";
        assert_eq!(report.message, message);
        assert_eq!(report.rolled_back.as_deref(), Some(message));
        assert!(report.ready.ready && report.active.is_some_and(|(_, revision)| revision == "r0"));
        cluster.ask(Verb::Retry, None);
        cluster.converge();
        let report = cluster.plan().report;
        assert_eq!((report.phase, report.rolled_back), (Phase::Serving, None));
    }
}

#[test]
fn a_rollback_from_beside_a_failed_revision_says_both() {
    let mut cluster = Cluster::new(gated(), true);
    cluster.converge();
    cluster.want("r1");
    cluster.converge();
    cluster.want("r2");
    cluster.rejected.insert("r2".into());
    cluster.converge();
    assert_eq!(cluster.plan().report.phase, Phase::Failed);
    cluster.ask(Verb::Rollback, None);
    cluster.converge();
    let report = cluster.plan().report;
    assert_eq!(report.phase, Phase::RolledBack);
    assert_eq!(
        report.message,
        "rolled back to revision r0 by me; revision r2 failed: gate smoke: GET / answered; it is held until Git or a secret moves on, or `homelab app retry web`"
    );
    assert!(report.failed.is_some());
}

#[test]
fn what_can_not_be_known_is_the_message_also_before_anything_serves() {
    let why = "secret kv/web/db does not exist or ServiceAccount web/default may not read it";
    for (spec, passing, phase) in [
        (gated(), false, Phase::Stalled),
        (super::rolling(json!([])), false, Phase::Stalled),
        (gated(), true, Phase::RollingOut),
        (super::rolling(json!([])), true, Phase::RollingOut),
    ] {
        let mut cluster = Cluster::new(spec, true);
        cluster.observed.app.finalizer = true;
        cluster.observed.wanted =
            observed::Wanted::Blocked { reason: "SecretMissing".into(), message: why.into(), passing };
        let report = cluster.plan().report;
        assert_eq!((report.phase, report.reason.as_str(), report.message.as_str()), (phase, "SecretMissing", why));
        assert_eq!(report.stalled.is_some(), !passing);
    }
}

#[test]
fn an_edited_route_is_taken_back_when_somebody_asks_for_that() {
    let edit = |cluster: &mut Cluster, who: &str| cluster.observed.route.state.edited_by = Some(who.into());
    let mut cluster = Cluster::new(gated(), true);
    cluster.converge();
    cluster.want("r1");
    while cluster.observed.route.state.weights.get("green") != Some(&50) {
        cluster.round(usize::MAX);
        cluster.tick(1);
    }
    edit(&mut cluster, "kubectl-edit");
    let paused = story(&mut cluster, 4);
    cluster.ask(Verb::Resume, None);
    let resumed = story(&mut cluster, 30);
    insta::assert_snapshot!(format!("{paused}\n--- resume\n{resumed}"));
    edit(&mut cluster, "argocd-controller");
    let report = cluster.plan().report;
    assert_eq!(report.phase, Phase::Paused, "asked for once, done once: {report:?}");
    cluster.observed.route.state.edited_by = None;
    cluster.ask(Verb::Resume, None);
    let answer = cluster.plan().report.answer.expect("an answer");
    assert_eq!((answer.outcome.as_str(), answer.message.as_str()), ("refused", "no rollout is under way"));
}

#[test]
fn what_was_asked_of_one_edit_is_not_done_to_another() {
    let mut cluster = Cluster::new(gated(), true);
    cluster.converge();
    cluster.observed.route.state.edited_by = Some("kubectl-edit".into());
    cluster.ask(Verb::Resume, None);
    cluster.round(usize::MAX);
    cluster.observed.route.state.edited_by = Some("argocd-controller".into());
    cluster.converge();
    assert_eq!(cluster.plan().report.phase, Phase::Paused);
    assert!(cluster.observed.revisions.iter().all(|kept| kept.marks.take_back.is_none()));
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

#[test]
fn a_revision_whose_secret_was_destroyed_can_not_return() {
    for spec in [gated(), super::rolling(json!([]))] {
        // Asked for by name or as the last good one; destroyed before it is asked for, or after.
        for (named, later, expected) in [
            (
                Some("r1"),
                false,
                "revision r1 cannot return: secret kv/web/db v1 destroyed; `homelab app history` lists those that can",
            ),
            (None, false, "rolled back to revision r0 by me"),
            (Some("r1"), true, "rolled back to revision r1 by me"),
        ] {
            let mut cluster = Cluster::new(spec.clone(), true);
            cluster.converge();
            for revision in ["r1", "r2"] {
                cluster.want(revision);
                cluster.converge();
            }
            if !later {
                cluster.destroy_secret_of("r1");
            }
            cluster.ask(Verb::Rollback, named.map(Into::into));
            cluster.converge();
            assert_eq!(cluster.answer().message, expected);
            cluster.destroy_secret_of("r1");
            // The store has an earlier version as its newest: that is a new revision, and it is followed.
            cluster.want("r3");
            cluster.converge();
            let report = cluster.plan().report;
            assert_eq!(report.active.map(|(_, revision)| revision).as_deref(), Some("r3"), "{named:?} {later}");
        }
    }
}

#[test]
fn a_dead_value_is_replaced_in_both_colours_without_moving_traffic_and_a_rollback_keeps_it() {
    let mut cluster = Cluster::new(super::blue_green(&[100], json!([])), true);
    cluster.cut();
    cluster.converge();
    cluster.want("r1");
    story(&mut cluster, 30);
    let before = cluster.observed.route.state.clone();
    cluster.cut();
    assert_eq!(cluster.stale(), [Slot::Blue, Slot::Green], "the warm one runs, too");
    insta::assert_snapshot!(story(&mut cluster, 12));
    assert_eq!((cluster.stale(), &cluster.observed.route.state), (vec![], &before));

    cluster.ask(Verb::Rollback, None);
    story(&mut cluster, 30);
    let active = cluster.plan().report.active.map(|(_, revision)| revision);
    assert_eq!((active.as_deref(), cluster.stale()), (Some("r0"), vec![]));
}

#[test]
fn a_rolling_app_gets_a_dead_value_replaced_in_place() {
    let mut cluster = Cluster::new(super::rolling(json!([])), false);
    cluster.cut();
    cluster.converge();
    cluster.cut();
    insta::assert_snapshot!(story(&mut cluster, 8));
    assert_eq!(cluster.stale(), vec![]);
}

#[test]
fn a_slot_that_can_not_be_brought_a_new_value_keeps_no_other_step_away() {
    let mut cluster = Cluster::new(super::blue_green(&[100], json!([])), true);
    cluster.cut();
    cluster.converge();
    cluster.cut();
    cluster.refuse(Slot::Blue);
    let messages = |cluster: &Cluster| cluster.plan().report.message;
    assert!(messages(&cluster).contains("in place"), "there is nothing else to do: {}", messages(&cluster));
    cluster.want("r1");
    assert!(messages(&cluster).contains("r1"), "Git may hold the cure: {}", messages(&cluster));
}

#[test]
fn a_version_that_was_deleted_gives_way_to_the_newest_that_is_left() {
    let mut cluster = Cluster::new(super::rolling(json!([])), false);
    cluster.cut();
    cluster.cut();
    cluster.converge();
    cluster.observed.newest.insert("kv/web/db".into(), 1);
    assert!(cluster.plan().report.message.contains("kv/web/db version 1"), "{}", cluster.plan().report.message);
}

#[test]
fn pods_that_do_not_start_with_the_new_value_are_told() {
    let mut cluster = Cluster::new(super::rolling(json!([])), false);
    cluster.cut();
    cluster.converge();
    cluster.sick.insert("r0".into());
    cluster.tick(1);
    let notes = cluster.plan().report.notes;
    assert_eq!(
        notes,
        ["CutFailing: web does not start with kv/web/db@1: Pod web: ImagePullBackOff; put a value that works"]
    );
}
