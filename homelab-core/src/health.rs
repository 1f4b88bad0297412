//! How an object is doing, judged from the object alone: kstatus' rules, with ours where those hide trouble.
//!
//! Ours differs from kstatus in this: a running Job is in progress, a failed Pod has failed, a Pod that can not start
//! (image, configuration, crash loop) has failed and says why, `ReplicaFailure` is a failure, and a kind known to set
//! `Ready` is in progress until it has. An App is as its active revision is, also while the next one rolls out.

use serde_json::Value;

use crate::meta;

mod batch;
mod pod;
mod workload;

/// How an object is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is what its spec says.
    Current,
    /// It is on its way; the text says what is missing.
    InProgress(String),
    /// It will not get there without somebody's change; the text says why.
    Failed(String),
    /// It is being deleted.
    Terminating,
    /// It does not exist.
    Missing,
}

impl Health {
    /// Whether it is what its spec says.
    pub fn is_current(&self) -> bool {
        *self == Self::Current
    }

    /// What to tell a person.
    pub fn message(&self) -> &str {
        match self {
            Self::Current => "current",
            Self::InProgress(message) | Self::Failed(message) => message,
            Self::Terminating => "is being deleted",
            Self::Missing => "does not exist",
        }
    }
}

/// Judges `object`; `Value::Null` is an object that does not exist.
pub fn health(object: &Value) -> Health {
    if object.is_null() {
        return Health::Missing;
    }
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Health::Terminating;
    }
    unseen(object).or_else(|| generic(object)).unwrap_or_else(|| by_kind(object))
}

/// What holds for every kind: an unseen generation comes first.
fn unseen(object: &Value) -> Option<Health> {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if let (Some(generation), Some(observed)) = (generation, observed)
        && generation != observed
    {
        return Some(Health::InProgress(format!("generation {generation} is not seen by its controller yet")));
    }
    None
}

/// Then `Reconciling` and `Stalled`. An App reconciles while its next revision rolls out, and that says nothing about the
/// one that serves.
fn generic(object: &Value) -> Option<Health> {
    let rolls_out = type_of(object) == (meta::GROUP, "App");
    if let Some(condition) = condition(object, "Reconciling").filter(|c| c.is("True") && !rolls_out) {
        return Some(Health::InProgress(condition.text("is reconciling")));
    }
    condition(object, "Stalled").filter(|c| c.is("True")).map(|c| Health::Failed(c.text("is stalled")))
}

fn by_kind(object: &Value) -> Health {
    match type_of(object) {
        ("apps", "Deployment") => workload::deployment(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("apps", "ReplicaSet") => workload::replica_set(object),
        ("", "Pod") => pod::pod(object),
        ("batch", "Job") => batch::job(object),
        ("", "PersistentVolumeClaim") => phase(object, "Bound"),
        ("", "Namespace") => Health::Current,
        ("", "Service") => service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("apiregistration.k8s.io", "APIService") => ready(object, "Available", true),
        (meta::GROUP, _) => ready(object, "Ready", true),
        _ => ready(object, "Ready", false),
    }
}

/// Group and kind.
fn type_of(object: &Value) -> (&str, &str) {
    let api_version = text(object, "/apiVersion").unwrap_or_default();
    (api_version.split_once('/').map_or("", |(group, _)| group), text(object, "/kind").unwrap_or_default())
}

/// By one condition. `expected`: the kind is known to set it, so that a missing one is in progress.
fn ready(object: &Value, type_: &str, expected: bool) -> Health {
    match condition(object, type_) {
        Some(condition) if condition.is("True") => Health::Current,
        Some(condition) => Health::InProgress(condition.text("is not ready")),
        None if expected => Health::InProgress(format!("has no condition {type_} yet")),
        None => Health::Current,
    }
}

fn phase(object: &Value, wanted: &str) -> Health {
    match text(object, "/status/phase") {
        Some(phase) if phase == wanted => Health::Current,
        phase => Health::InProgress(format!("is {}, not {wanted}", phase.unwrap_or("new"))),
    }
}

/// As kstatus: a load balancer has its cluster address (bare metal may never give it an outer one).
fn service(object: &Value) -> Health {
    let balancer = text(object, "/spec/type") == Some("LoadBalancer");
    if balancer && text(object, "/spec/clusterIP").is_none_or(str::is_empty) {
        return Health::InProgress("has no cluster address yet".into());
    }
    Health::Current
}

fn definition(object: &Value) -> Health {
    if let Some(condition) = condition(object, "NamesAccepted").filter(|c| c.is("False")) {
        return Health::Failed(condition.text("its names are not accepted"));
    }
    match condition(object, "Established") {
        Some(condition) if condition.is("True") => Health::Current,
        Some(condition) if condition.is("False") && condition.reason != "Installing" => {
            Health::Failed(condition.text("is not established"))
        }
        _ => Health::InProgress("is not established yet".into()),
    }
}

/// One condition of an object of any kind.
struct Seen<'a> {
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Seen<'_> {
    fn is(&self, status: &str) -> bool {
        self.status == status
    }

    /// `reason: message`, or `otherwise` when it has neither.
    fn text(&self, otherwise: &str) -> String {
        match (self.reason, self.message) {
            ("", "") => otherwise.into(),
            (reason, "") => reason.into(),
            ("", message) => message.into(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

fn condition<'a>(object: &'a Value, type_: &str) -> Option<Seen<'a>> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|c| c.get("type").and_then(Value::as_str) == Some(type_))?;
    let field = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default();
    Some(Seen { status: field("status"), reason: field("reason"), message: field("message") })
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer)?.as_i64()
}

/// A count in the status: absent is zero.
fn count(object: &Value, name: &str) -> i64 {
    object.pointer("/status").and_then(|s| s.get(name)).and_then(Value::as_i64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
