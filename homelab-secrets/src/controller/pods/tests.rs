use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::{Value, json};

use super::observe::{self, Failure, PodView};
use super::plan::{Action, Nudges, Plan, Scope, plan};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn time(second: i64) -> String {
    at(second).to_string()
}

fn scope() -> Scope<'static> {
    Scope { left_alone: const { &[] }, missing: None, started: at(100) }
}

/// A pod that is as it should be, with changes.
fn pod(changes: Value) -> PodView {
    let mut pod = json!({
        "metadata": {
            "namespace": "web", "name": "web-1", "uid": "u1", "creationTimestamp": time(0),
            "labels": {"homelab.dev/inject": "true"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "o1", "controller": true}],
        },
        "spec": {
            "containers": [],
            "initContainers": [{"name": "homelab-agent", "env": [{"name": "HOMELAB_SECRETS", "value": "{}"}]}],
            "volumes": [{"name": "homelab-secrets", "emptyDir": {"medium": "Memory"}}],
        },
        "status": {"phase": "Pending"},
    });
    json_patch(&mut pod, changes);
    observe::pod(&serde_json::from_value::<Pod>(pod).unwrap())
}

/// RFC 7396.
fn json_patch(target: &mut Value, patch: Value) {
    match patch {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::Null => drop(target.as_object_mut().unwrap().remove(&name)),
                    value => json_patch(&mut target[name], value),
                }
            }
        }
        value => *target = value,
    }
}

fn agent(state: Value, code: i32, ended: i64) -> Value {
    let ended = json!({"exitCode": code, "finishedAt": time(ended), "message": "giving up: away\n", "reason": "Error"});
    json!({"status": {"initContainerStatuses": [{
        "name": "homelab-agent", "image": "", "imageID": "", "ready": false, "restartCount": 1,
        "state": state, "lastState": {"terminated": ended},
    }]}})
}

fn waiting() -> Value {
    json!({"waiting": {"reason": "CrashLoopBackOff"}})
}

fn brief(actions: &[Action]) -> Vec<String> {
    let line = |action: &Action| match action {
        Action::Tell { pod, reason, note } => format!("tell {pod} {reason}: {note}"),
        Action::Remake { pod, reason, note } => format!("remake {pod} {reason}: {note}"),
        Action::Nudge(owner) => format!("nudge {owner}"),
    };
    actions.iter().map(line).collect()
}

fn cared(pod: PodView, now: i64) -> Vec<String> {
    brief(&plan(&[pod], &[], &mut Nudges::default(), &scope(), at(now)).actions)
}

#[test]
fn a_pod_with_its_secrets_is_left_alone() {
    assert!(cared(pod(json!({})), 1000).is_empty());
    assert!(cared(pod(agent(json!({"running": {}}), 0, 50)), 1000).is_empty());
    // It failed once, and then it worked.
    assert!(cared(pod(agent(json!({"terminated": {"exitCode": 0}}), 75, 50)), 1000).is_empty());
}

#[test]
fn a_pod_that_slipped_through_is_made_anew_by_its_owner_once_the_webhook_is_there() {
    let slipped = || json!({"spec": {"initContainers": null}});
    insta::assert_debug_snapshot!(cared(pod(slipped()), 1000), @r#"
    [
        "remake web/web-1 NotInjected: asks for secrets but was made while homelab's webhook was away, so it has none; its owner makes it anew",
    ]
    "#);
    let young = plan(&[pod(slipped())], &[], &mut Nudges::default(), &scope(), at(5));
    assert_eq!((young.actions.len(), young.again), (0, Some(Duration::from_secs(15))));
    // A volume on a disk is not ours.
    let on_disk = json!({"spec": {"volumes": [{"name": "homelab-secrets", "emptyDir": {}}]}});
    assert_eq!(cared(pod(on_disk), 1000).len(), 1);
}

#[test]
fn a_pod_that_nobody_would_make_anew_is_only_told_of() {
    let alone = json!({"metadata": {"ownerReferences": null}, "spec": {"initContainers": null}});
    let told = cared(pod(alone), 1000);
    assert!(
        told[0].starts_with("tell web/web-1 NotInjected") && told[0].contains("delete it and make it again"),
        "{told:?}"
    );
    let of_node = json!({
        "metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n", "controller": true}]},
        "spec": {"initContainers": null},
    });
    assert!(cared(pod(of_node), 1000)[0].starts_with("tell"));
    let slipped = pod(json!({"metadata": {"namespace": "kube-system"}, "spec": {"initContainers": null}}));
    let scope = Scope { left_alone: &["kube-system".to_owned()], ..scope() };
    let told = brief(&plan(&[slipped], &[], &mut Nudges::default(), &scope, at(1000)).actions);
    assert!(told[0].starts_with("tell kube-system/web-1") && told[0].contains("never get them"), "{told:?}");
}

#[test]
fn nobody_is_made_anew_to_slip_through_again() {
    let slipped = pod(json!({"spec": {"initContainers": null}}));
    let scope = Scope { missing: Some("MutatingWebhookConfiguration homelab"), ..scope() };
    let told = brief(&plan(&[slipped], &[], &mut Nudges::default(), &scope, at(1000)).actions);
    assert!(told[0].starts_with("tell web/web-1") && told[0].contains("is gone: restart homelab"), "{told:?}");
}

#[test]
fn a_pod_that_is_over_or_did_not_ask_is_none_of_our_business() {
    for changes in [
        json!({"metadata": {"deletionTimestamp": time(5)}, "spec": {"initContainers": null}}),
        json!({"status": {"phase": "Succeeded"}, "spec": {"initContainers": null}}),
        json!({"metadata": {"labels": {"homelab.dev/inject": "yes"}}, "spec": {"initContainers": null}}),
    ] {
        assert!(cared(pod(changes.clone()), 1000).is_empty(), "{changes}");
    }
}

#[test]
fn who_gave_up_while_we_were_away_need_not_wait_for_kubernetes() {
    insta::assert_debug_snapshot!(cared(pod(agent(waiting(), 75, 99)), 110), @r#"
    [
        "remake web/web-1 NoSecrets: giving up: away; homelab is back and Kubernetes would let it wait, so its owner makes it anew",
    ]
    "#);
    for (what, changes) in [
        ("it failed since", agent(waiting(), 75, 101)),
        ("it was refused", agent(waiting(), 77, 99)),
        ("it tries already", agent(json!({"running": {}}), 75, 99)),
    ] {
        assert_eq!(cared(pod(changes), 110), ["tell web/web-1 NoSecrets: giving up: away"], "{what}");
    }
}

fn refusal(message: &str, count: i32, second: i64) -> Option<Failure> {
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "e", "namespace": "web"}, "reason": "FailedCreate", "message": message,
        "count": count, "lastTimestamp": time(second),
        "involvedObject": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": "web", "name": "web", "uid": "o1"},
    }))
    .unwrap();
    observe::failure(&event, "homelab")
}

const AWAY: &str =
    "Error creating: Internal error occurred: failed calling webhook \"pods.inject.homelab.dev\": connection refused";

#[test]
fn only_our_refusals_count() {
    assert!(refusal(AWAY, 1, 1).is_some());
    let denied = "Error creating: pods \"web-x\" is forbidden: ValidatingAdmissionPolicy 'homelab-injected-pods' with binding \
                  'homelab-injected-pods' denied request: the pod asks for secrets";
    assert!(refusal(denied, 1, 1).is_some());
    for other in [
        "Error creating: pods \"web-x\" is forbidden: exceeded quota",
        "Error creating: ValidatingAdmissionPolicy 'homelab-infra-injected-pods' denied request",
    ] {
        assert!(refusal(other, 1, 1).is_none(), "{other}");
    }
}

#[test]
fn a_refused_owner_is_woken_once_for_each_refusal_and_more_and_more_seldom() {
    let mut nudges = Nudges::default();
    let mut next = |count: i32, now: i64| {
        let Plan { actions, again } = plan(&[], &[refusal(AWAY, count, 0).unwrap()], &mut nudges, &scope(), at(now));
        (actions.len(), again.map(|wait| wait.as_secs()))
    };
    assert_eq!(next(1, 100), (1, None), "at once");
    assert_eq!(next(1, 101), (0, None), "that one is answered");
    assert_eq!(next(2, 101), (0, Some(1)), "refused again");
    assert_eq!(next(2, 102), (1, None));
    assert_eq!(next(3, 102), (0, Some(4)));
    assert_eq!(next(3, 106), (1, None));
    for n in 4..20 {
        let _ = next(n, 200 * i64::from(n));
    }
    assert_eq!(next(20, 3800), (0, Some(60)), "the longest wait");
}

#[test]
fn several_events_of_one_owner_are_one_refusal() {
    let failures = [refusal(AWAY, 4, 7), refusal(AWAY, 1, 9), refusal(AWAY, 2, 3)].map(Option::unwrap);
    let mut nudges = Nudges::default();
    assert_eq!(plan(&[], &failures, &mut nudges, &scope(), at(100)).actions.len(), 1);
    assert_eq!(plan(&[], &failures, &mut nudges, &scope(), at(500)).actions.len(), 0);
}
