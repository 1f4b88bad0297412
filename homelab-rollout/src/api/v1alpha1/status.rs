//! What the controller says about an App.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, Weights};

/// What the controller says about an App. Nothing is decided from it: losing it loses nothing.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AppStatus {
    /// Format version of this status.
    #[serde(default)]
    pub format: u32,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for people: Serving, RollingOut, Waiting, Failed, RolledBack, Paused, Suspended, Stalled, Deleting.
    #[serde(default)]
    pub phase: String,
    /// What happens now, or is waited for, and why.
    #[serde(default)]
    pub message: String,
    /// Ready, Reconciling, Stalled, Waiting, Failed, RolledBack, Warm, Paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveStatus>,
    /// Revision that should serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SlotStatus>,
    /// Percent of the traffic by colour.
    #[serde(default, skip_serializing_if = "Weights::is_empty")]
    pub weights: Weights,
    /// Last answers of the gates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateStatus>,
    /// Kept revisions, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    /// The last request, and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_request: Option<RequestStatus>,
}

/// What serves.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ActiveStatus {
    /// `blue` or `green`; none for a rolling App.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
    /// Its revision.
    pub revision: String,
}

/// One release.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// Name of the release.
    pub release: String,
    /// `blue` or `green`; none for a rolling App.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
    /// Revision that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// `absent`, `serving` or `idle`.
    pub mode: String,
    /// Endpoints that are ready.
    pub ready_endpoints: u32,
    /// What is not as it should be, if anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// The last answer of a gate.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// Its name.
    pub name: String,
    /// Revision that was asked about.
    pub revision: String,
    /// `passed`, `failed` or `unclear`.
    pub verdict: String,
    /// What was asked and what came back.
    pub detail: String,
    /// When.
    pub at: Time,
}

/// One kept revision.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its id.
    pub revision: String,
    /// Name and version of the chart.
    pub chart: String,
    /// `path@version` of each secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Where it came from: `NAMESPACE/GITSYNC@TREE`.
    pub source: String,
    /// Why it exists.
    pub reason: String,
    /// When it was first seen.
    pub created: Time,
    /// When it last became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Time>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Who went back from it, where to and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
    /// Why nothing can return to it: a version of a secret that it was made with is gone for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_return: Option<String>,
}

/// A request, and what came of it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RequestStatus {
    /// Its id.
    pub id: String,
    /// Its verb, as written.
    pub verb: String,
    /// `accepted` or `refused`.
    pub outcome: String,
    /// What was done, or why not.
    pub message: String,
}

impl HistoryEntry {
    /// The time at which it last became active.
    pub fn activated(&self) -> Option<Timestamp> {
        self.activated_at.as_ref().map(|time| time.0)
    }
}
