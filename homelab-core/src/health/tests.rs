use serde_json::{Value, json};

use super::*;

fn check(object: &Value, expected: &str) {
    let got = match health(object) {
        Health::Current => "Current".into(),
        Health::InProgress(message) => format!("InProgress {message}"),
        Health::Failed(message) => format!("Failed {message}"),
        Health::Terminating => "Terminating".into(),
        Health::Missing => "Missing".into(),
    };
    assert_eq!(got, expected, "{object:#}");
}

fn deployment(status: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": 2},
        "spec": {"replicas": 2, "progressDeadlineSeconds": 600}, "status": status})
}

fn available(replicas: i64) -> Value {
    json!({"observedGeneration": 2, "replicas": replicas, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2,
        "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
            {"type": "Available", "status": "True"}]})
}

#[test]
fn what_holds_for_every_kind() {
    check(&Value::Null, "Missing");
    check(&json!({"kind": "ConfigMap", "metadata": {"deletionTimestamp": "x"}}), "Terminating");
    check(&json!({"kind": "ConfigMap"}), "Current");
    check(&json!({"apiVersion": "x.example/v1", "kind": "New"}), "Current");
    let stalled = json!({"kind": "New", "status": {"conditions": [{"type": "Stalled", "status": "True", "reason": "Bad", "message": "no"}]}});
    check(&stalled, "Failed Bad: no");
    let old = json!({"kind": "New", "metadata": {"generation": 3}, "status": {"observedGeneration": 2}});
    check(&old, "InProgress generation 3 is not seen by its controller yet");
}

#[test]
fn deployments() {
    check(&deployment(available(2)), "Current");
    check(&deployment(available(3)), "InProgress 3 of 2 replicas are there");
    check(&deployment(json!({})), "InProgress is not seen by its controller yet");
    check(&deployment(json!({"observedGeneration": 1})), "InProgress generation 2 is not seen by its controller yet");
    let failed = |type_, status, reason| json!({"observedGeneration": 2, "conditions": [{"type": type_, "status": status, "reason": reason, "message": "m"}]});
    check(
        &deployment(failed("Progressing", "False", "ProgressDeadlineExceeded")),
        "Failed ProgressDeadlineExceeded: m",
    );
    check(&deployment(failed("ReplicaFailure", "True", "FailedCreate")), "Failed FailedCreate: m");
    let zero = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 0},
        "status": {"observedGeneration": 1, "conditions": [{"type": "Available", "status": "True"}]}});
    check(&zero, "Current");
}

#[test]
fn stateful_sets() {
    let set = |strategy: Value, status: Value| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "spec": {"replicas": 3, "updateStrategy": strategy}, "status": status})
    };
    check(&set(json!({"type": "OnDelete"}), json!({})), "Current");
    let status = json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "currentReplicas": 3, "updatedReplicas": 1,
        "currentRevision": "a", "updateRevision": "b"});
    check(&set(json!({}), status.clone()), "InProgress some replicas are of the earlier revision");
    check(&set(json!({"rollingUpdate": {"partition": 2}}), status.clone()), "Current");
    check(
        &set(json!({"rollingUpdate": {"partition": 1}}), status),
        "InProgress 1 of 2 replicas beyond the partition are updated",
    );
}

#[test]
fn pods_say_why_they_do_not_start() {
    let pod = |status: Value| json!({"apiVersion": "v1", "kind": "Pod", "status": status});
    check(&pod(json!({"phase": "Succeeded"})), "Current");
    check(&pod(json!({"phase": "Failed", "message": "evicted"})), "Failed evicted");
    check(
        &pod(
            json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 3}}}]}),
        ),
        "Failed container a: exit code 3",
    );
    check(&pod(json!({"phase": "Pending"})), "InProgress is starting");
    let waiting = |reason: &str| json!({"phase": "Pending", "initContainerStatuses": [{"name": "agent", "state": {"waiting": {"reason": reason, "message": "no such image"}}}]});
    check(&pod(waiting("ImagePullBackOff")), "Failed container agent: ImagePullBackOff: no such image");
    check(&pod(waiting("ErrImagePull")), "InProgress container agent: ErrImagePull");
    let crash = json!({"phase": "Running", "containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 1, "message": "denied\n"}}}]});
    check(&pod(crash), "Failed container web: CrashLoopBackOff: back-off (last run: exit code 1: denied)");
    let unready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "web"}]});
    check(&pod(unready), "InProgress ContainersNotReady: web");
}

#[test]
fn jobs_and_the_rest() {
    let job = |status: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "status": status});
    check(&job(json!({"active": 1})), "InProgress is running (1 active)");
    check(&job(json!({"conditions": [{"type": "Complete", "status": "True"}]})), "Current");
    check(
        &job(json!({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]})),
        "Failed BackoffLimitExceeded",
    );
    check(
        &json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}),
        "InProgress is Pending, not Bound",
    );
    check(
        &json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}}),
        "Current",
    );
    let crd = |type_, status, reason| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "status": {"conditions": [{"type": type_, "status": status, "reason": reason}]}})
    };
    check(&crd("Established", "True", "x"), "Current");
    check(&crd("Established", "False", "Installing"), "InProgress is not established yet");
    check(&crd("NamesAccepted", "False", "Taken"), "Failed Taken");
}

#[test]
fn our_own_kinds_are_in_progress_until_they_say_ready() {
    let app = |conditions: Value| json!({"apiVersion": "homelab.dev/v1alpha1", "kind": "App", "status": {"conditions": conditions}});
    check(&app(json!([])), "InProgress has no condition Ready yet");
    check(&app(json!([{"type": "Ready", "status": "True"}, {"type": "Failed", "status": "True"}])), "Current");
    check(
        &app(json!([{"type": "Ready", "status": "False", "reason": "NoRevision", "message": "m"}])),
        "InProgress NoRevision: m",
    );
    let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "message": type_});
    let rolling = app(json!([condition("Ready", "True"), condition("Reconciling", "True")]));
    check(&rolling, "Current");
    check(&app(json!([condition("Ready", "False"), condition("Reconciling", "True")])), "InProgress Ready");
    check(&app(json!([condition("Ready", "True"), condition("Stalled", "True")])), "Failed Stalled");
    let mut unseen = rolling;
    unseen["metadata"]["generation"] = json!(2);
    unseen["status"]["observedGeneration"] = json!(1);
    check(&unseen, "InProgress generation 2 is not seen by its controller yet");
}
