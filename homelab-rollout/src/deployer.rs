//! The trait that every engine which brings a revision into the cluster implements.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use homelab_core::meta::{Account, ObjectRef};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::revision::RevisionRecord;

/// One of the two environments of a blue-green App.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Blue.
    Blue,
    /// Green.
    Green,
}

impl Colour {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// `blue` or `green`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    /// Reads `blue` or `green`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Blue, Self::Green].into_iter().find(|colour| colour.as_str() == text)
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place that holds at most one revision: a Helm release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRef {
    /// The App.
    pub app: ObjectRef,
    /// Uid of the App, for owner references.
    pub app_uid: String,
    /// Release name: the App's name (`rolling`), or `NAME-blue`, `NAME-green`.
    pub release: String,
    /// None for `rolling`.
    pub colour: Option<Colour>,
    /// Every write is made as this account.
    pub account: Account,
}

/// How a revision is rendered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As the chart says, except for replica counts given here by `Kind/name` (from the colour that serves now).
    Serving(BTreeMap<String, i32>),
    /// Nothing runs: replicas 0, CronJobs suspended, no HPA, ScaledObject or PodDisruptionBudget.
    Idle,
}

/// What a slot has to hold.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Chart, values and secrets.
    pub revision: RevisionRecord,
    /// Serving or idle.
    pub mode: Mode,
}

/// What a slot holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotState {
    /// The newest release record, if there is one.
    #[serde(default)]
    pub release: Option<Release>,
    /// Objects of the newest deployed release that are not there, or whose live content differs from the record.
    #[serde(default)]
    pub drift: Vec<String>,
    /// Objects of that release that are not healthy yet, with the reason; empty = ready.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// Objects that can not become healthy by waiting (image that does not exist, failed Job …), with the reason.
    #[serde(default)]
    pub failed: Vec<String>,
    /// Versions of secrets that the pods of that release are stamped with, by path; the least where they differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, u64>,
    /// Services of that release, as the candidates for backends.
    #[serde(default)]
    pub services: Vec<ServiceInfo>,
    /// Replica counts of live workloads by `Kind/name`.
    #[serde(default)]
    pub replicas: BTreeMap<String, i32>,
    /// Those of them that do not come from the chart: an autoscaler of the release, or somebody, scaled them. The other
    /// colour starts with these; all others start as the chart says.
    #[serde(default)]
    pub scaled: BTreeMap<String, i32>,
}

/// The newest record of a Helm release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Number of the record (`vN`).
    pub number: u32,
    /// Revision id from the record's label.
    pub revision: Option<String>,
    /// Rendered idle.
    pub idle: bool,
    /// `deployed`, `failed`, `pending` (a command runs or was killed) or `other`.
    pub status: ReleaseStatus,
    /// Helm's words for it.
    pub description: String,
    /// When the record was written (`info.last_deployed`); deadlines count from here.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// Status of a release, as far as decisions need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseStatus {
    /// Deployed.
    Deployed,
    /// Failed.
    Failed,
    /// A pending lock: a command runs, or was killed.
    Pending,
    /// Superseded, uninstalled, unknown.
    Other,
}

/// A Service as Helm's record has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Name.
    pub name: String,
    /// Ports as (name, number, target port).
    pub ports: Vec<(Option<String>, u16, serde_json::Value)>,
    /// Selector.
    pub selector: BTreeMap<String, String>,
}

/// Brings revisions into slots. Verbs are idempotent and resumable: called again after a crash they finish or repair.
#[async_trait]
pub trait Deployer: Send + Sync {
    /// What the slot holds now.
    async fn observe(&self, slot: &SlotRef) -> Result<SlotState, Error>;
    /// The objects that `deployment` would make, stamped, without touching the cluster.
    async fn render(&self, slot: &SlotRef, deployment: &Deployment) -> Result<Vec<serde_json::Value>, Error>;
    /// Makes the slot hold it. Returns when the engine has taken it, not when it is healthy.
    async fn deploy(&self, slot: &SlotRef, deployment: &Deployment) -> Result<(), Error>;
    /// Re-applies what the record says, where the cluster lost or changed it.
    async fn repair(&self, slot: &SlotRef) -> Result<(), Error>;
    /// Takes the slot away; gone already is fine.
    async fn remove(&self, slot: &SlotRef) -> Result<(), Error>;
}
