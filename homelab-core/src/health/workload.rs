//! Deployment, StatefulSet, DaemonSet, ReplicaSet.

use serde_json::Value;

use super::{Health, condition, count, number, text};

/// `got of wanted things` while they differ.
fn short(what: &str, got: i64, wanted: i64) -> Option<Health> {
    (got != wanted).then(|| Health::InProgress(format!("{got} of {wanted} replicas are {what}")))
}

fn replica_failure(object: &Value) -> Option<Health> {
    condition(object, "ReplicaFailure")
        .filter(|c| c.is("True"))
        .map(|c| Health::Failed(c.text("can not make its pods")))
}

/// Whether its controller has looked at it at all; without that every count reads as zero.
fn unseen(object: &Value) -> Option<Health> {
    number(object, "/status/observedGeneration")
        .is_none()
        .then(|| Health::InProgress("is not seen by its controller yet".into()))
}

pub(super) fn deployment(object: &Value) -> Health {
    let progressing = condition(object, "Progressing");
    if let Some(condition) = progressing.as_ref().filter(|c| c.reason == "ProgressDeadlineExceeded") {
        return Health::Failed(condition.text("made no progress"));
    }
    if let Some(failed) = replica_failure(object) {
        return failed;
    }
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let has_deadline = number(object, "/spec/progressDeadlineSeconds").is_some_and(|d| d != i64::from(i32::MAX));
    unseen(object)
        .or_else(|| short("updated", count(object, "updatedReplicas"), wanted))
        .or_else(|| short("there", count(object, "replicas"), wanted))
        .or_else(|| short("available", count(object, "availableReplicas"), wanted))
        .or_else(|| short("ready", count(object, "readyReplicas"), wanted))
        .or_else(|| {
            let done = progressing.is_some_and(|c| c.reason == "NewReplicaSetAvailable") || !has_deadline;
            (!done).then(|| Health::InProgress("its new ReplicaSet is not available yet".into()))
        })
        .or_else(|| {
            let available = condition(object, "Available");
            let message =
                available.as_ref().map_or_else(|| "is not available yet".into(), |c| c.text("is not available"));
            (!available.is_some_and(|c| c.is("True"))).then_some(Health::InProgress(message))
        })
        .unwrap_or(Health::Current)
}

pub(super) fn stateful_set(object: &Value) -> Health {
    if text(object, "/spec/updateStrategy/type") == Some("OnDelete") {
        return Health::Current;
    }
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    let partial = (partition > 0).then(|| {
        let (updated, wanted) = (count(object, "updatedReplicas"), (wanted - partition).max(0));
        (updated < wanted)
            .then(|| Health::InProgress(format!("{updated} of {wanted} replicas beyond the partition are updated")))
    });
    unseen(object)
        .or_else(|| short("there", count(object, "replicas"), wanted))
        .or_else(|| short("ready", count(object, "readyReplicas"), wanted))
        .or_else(|| match partial {
            Some(partial) => partial,
            None => short("current", count(object, "currentReplicas"), wanted).or_else(|| revision(object)),
        })
        .unwrap_or(Health::Current)
}

fn revision(object: &Value) -> Option<Health> {
    let differ = text(object, "/status/currentRevision") != text(object, "/status/updateRevision");
    differ.then(|| Health::InProgress("some replicas are of the earlier revision".into()))
}

pub(super) fn daemon_set(object: &Value) -> Health {
    let wanted = count(object, "desiredNumberScheduled");
    unseen(object)
        .or_else(|| short("scheduled", count(object, "currentNumberScheduled"), wanted))
        .or_else(|| short("updated", count(object, "updatedNumberScheduled"), wanted))
        .or_else(|| short("available", count(object, "numberAvailable"), wanted))
        .or_else(|| short("ready", count(object, "numberReady"), wanted))
        .unwrap_or(Health::Current)
}

pub(super) fn replica_set(object: &Value) -> Health {
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    replica_failure(object)
        .or_else(|| unseen(object))
        .or_else(|| short("labelled", count(object, "fullyLabeledReplicas"), wanted))
        .or_else(|| short("available", count(object, "availableReplicas"), wanted))
        .or_else(|| short("ready", count(object, "readyReplicas"), wanted))
        .unwrap_or(Health::Current)
}
