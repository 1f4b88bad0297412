//! Pods: what runs, what can not start, and why.

use serde_json::Value;

use super::{Health, condition, text};

/// Reasons of a waiting container that pass only by somebody's change.
const CAN_NOT_START: [&str; 7] = [
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

pub(super) fn pod(object: &Value) -> Health {
    if let Some(trouble) = trouble(object) {
        return Health::Failed(trouble);
    }
    match text(object, "/status/phase") {
        Some("Succeeded") => Health::Current,
        Some("Failed") => Health::Failed(failure(object)),
        Some("Running") => match condition(object, "Ready") {
            Some(ready) if ready.is("True") => Health::Current,
            Some(ready) => Health::InProgress(ready.text("is not ready")),
            None => Health::InProgress("is not ready yet".into()),
        },
        _ => Health::InProgress(pending(object)),
    }
}

fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|pointer| object.pointer(pointer)?.as_array())
        .flatten()
}

/// The first container that can not start, with the reason and what its last run said.
fn trouble(object: &Value) -> Option<String> {
    containers(object).find_map(|container| {
        let reason = text(container, "/state/waiting/reason").filter(|r| CAN_NOT_START.contains(r))?;
        let message = text(container, "/state/waiting/message").unwrap_or_default();
        let name = text(container, "/name").unwrap_or_default();
        let last = container.pointer("/lastState/terminated").map(|t| format!(" (last run: {})", ended(t)));
        Some(format!("container {name}: {reason}: {message}{}", last.unwrap_or_default()))
    })
}

fn ended(terminated: &Value) -> String {
    let code = terminated.get("exitCode").and_then(Value::as_i64).unwrap_or(-1);
    match text(terminated, "/message").map(str::trim).filter(|m| !m.is_empty()) {
        Some(message) => format!("exit code {code}: {message}"),
        None => format!("exit code {code}"),
    }
}

fn failure(object: &Value) -> String {
    let own = text(object, "/status/message").or_else(|| text(object, "/status/reason")).map(ToOwned::to_owned);
    own.or_else(|| {
        containers(object).find_map(|container| {
            let terminated = container.pointer("/state/terminated").filter(|t| t["exitCode"] != 0)?;
            Some(format!("container {}: {}", text(container, "/name").unwrap_or_default(), ended(terminated)))
        })
    })
    .unwrap_or_else(|| "failed".into())
}

fn pending(object: &Value) -> String {
    if let Some(scheduled) = condition(object, "PodScheduled").filter(|c| c.is("False")) {
        return scheduled.text("is not scheduled");
    }
    containers(object)
        .find_map(|container| {
            let reason = text(container, "/state/waiting/reason").filter(|r| *r != "PodInitializing")?;
            Some(format!("container {}: {reason}", text(container, "/name").unwrap_or_default()))
        })
        .unwrap_or_else(|| "is starting".into())
}
