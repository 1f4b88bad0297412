//! What the rollout needs of others. The adapters of `homelab-bin` join these to homelab-mesh, -secrets and -gitops.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use homelab_core::class::Class;
use homelab_core::meta::{Account, ObjectRef};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A failure behind a port, in words for people.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// What it asks of us.
    pub class: Class,
    /// Object, cause and what to do.
    pub message: String,
}

/// Where an App's traffic enters. Mirrors homelab-mesh's `Route`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficRoute {
    /// Namespace of the App.
    pub namespace: String,
    /// Apex Service and route object.
    pub name: String,
    /// Port of the apex Service.
    pub port: u16,
    /// `auto`, `service` or `gateway`.
    pub mesh: String,
    /// Gateways as (namespace, name, listener).
    pub parents: Vec<(String, String, Option<String>)>,
    /// Host names.
    pub hosts: Vec<String>,
    /// Labels for what is made.
    pub labels: BTreeMap<String, String>,
    /// Owner reference for what is made.
    pub owner: Option<serde_json::Value>,
}

/// One colour's Service as a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficBackend {
    /// `blue` or `green`.
    pub name: String,
    /// Service of the chart.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Pods' port behind it (number or name).
    pub target_port: serde_json::Value,
    /// Labels of its pods.
    pub selector: BTreeMap<String, String>,
    /// Percent.
    pub weight: u8,
}

/// The whole wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficSplit {
    /// Both colours, also one with weight 0.
    pub backends: Vec<TrafficBackend>,
    /// Header and backend of each preview rule.
    pub previews: Vec<(String, String)>,
    /// `COLOUR@REVISION` that an abort returns to.
    pub active: String,
}

/// What a route can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficCapabilities {
    /// Weights other than 0 and 100.
    pub weights: bool,
    /// Preview by header.
    pub preview_header: bool,
}

/// What the cluster holds for a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficState {
    /// The route is there, and whole.
    pub exists: bool,
    /// Percent by backend.
    pub weights: BTreeMap<String, u8>,
    /// Ready endpoints by backend.
    pub ready_endpoints: BTreeMap<String, u32>,
    /// `COLOUR@REVISION`.
    pub active: Option<String>,
    /// Time of the last shift.
    pub shifted_at: Option<Timestamp>,
    /// resourceVersion to plan writes from.
    pub version: Option<String>,
    /// Somebody else who changed our route.
    pub edited_by: Option<String>,
}

/// How far a shift has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficConfirmation {
    /// Known to be in force; says by whom.
    Confirmed(String),
    /// Not yet; says what is waited for.
    Pending(String),
    /// In force as far as can be asked; says why no more can be known.
    Unconfirmed(String),
}

/// Moves traffic. Idempotent; one write a verb.
#[async_trait]
pub trait Traffic: Send + Sync {
    /// What the router of this route can do.
    async fn capabilities(&self, route: &TrafficRoute) -> Result<TrafficCapabilities, PortError>;
    /// What is.
    async fn observe(&self, route: &TrafficRoute) -> Result<TrafficState, PortError>;
    /// Makes it so, in one write planned from `version`; `force` takes back what somebody else wrote into the route.
    async fn apply(
        &self,
        route: &TrafficRoute,
        split: &TrafficSplit,
        version: Option<&str>,
        force: bool,
    ) -> Result<(), PortError>;
    /// How far it has come.
    async fn confirm(&self, route: &TrafficRoute, split: &TrafficSplit) -> Result<TrafficConfirmation, PortError>;
    /// Takes away whatever of the route is there.
    async fn release(&self, route: &TrafficRoute) -> Result<(), PortError>;
}

/// A secret at one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedSecret {
    /// `MOUNT/PATH`, as in `kv/web/db`.
    pub path: String,
    /// Version that the path stands at.
    pub version: u64,
    /// Keyed digest (hex HMAC) of the value: equal content, equal digest; says nothing without the key.
    pub digest: String,
    /// Names of its keys (not secret), for env injection.
    pub keys: Vec<String>,
}

/// Who pins secret versions: one revision of an App.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// The App.
    pub app: ObjectRef,
    /// The revision id.
    pub revision: String,
}

/// Versions of secrets, read as an account.
#[async_trait]
pub trait SecretVersions: Send + Sync {
    /// The newest live version of each path (or the given version), in the order asked.
    /// Class `NotFound` or `Denied` name the path, the account and what to do.
    async fn resolve(
        &self,
        account: &Account,
        paths: &[(String, Option<u64>)],
    ) -> Result<Vec<ResolvedSecret>, PortError>;
    /// The versions that a holder keeps from pruning: replaces what it held before; empty lets all go.
    async fn pin(&self, holder: &Holder, versions: &[(String, u64)]) -> Result<(), PortError>;
    /// Those of these versions whose value is gone for good: destroyed, or their path was removed. One that is only
    /// deleted can come back.
    async fn gone(&self, versions: &[(String, u64)]) -> Result<Vec<(String, u64)>, PortError>;
    /// Waits until the newest live version of any of `paths` is another one than the given one (0: there is none): a newer
    /// one, or an earlier one because that one was deleted or destroyed. Cancel-safe.
    async fn changed(&self, paths: &[(String, u64)]) -> Result<(), PortError>;
}

/// Where an App's chart lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ArtifactSource {
    /// A folder of the repository of a GitSync, by Git tree id.
    GitTree {
        /// Namespace of the GitSync.
        namespace: String,
        /// Name of the GitSync.
        gitsync: String,
        /// Hex id of the folder's tree.
        tree: String,
    },
}

/// Files of a chart, read-only, on local disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Folder that holds the files.
    pub directory: PathBuf,
    /// Digest of the content: equal content, equal digest.
    pub digest: String,
}

/// Gives the files behind a source.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Fetches (or finds in the cache) the files of `source`. The folder stays until the process ends.
    async fn fetch(&self, source: &ArtifactSource) -> Result<Artifact, PortError>;
}

/// Adds what brings secrets into a pod to a pod template (`metadata` + `spec`). Pure.
pub trait PodInjector: Send + Sync {
    /// Adds init container, volumes, mounts and env for `secrets` to `template`. Idempotent.
    fn inject(&self, template: &mut serde_json::Value, secrets: &[InjectedSecret]) -> Result<(), PortError>;
}

/// One secret as it has to appear in pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedSecret {
    /// `MOUNT/PATH`.
    pub path: String,
    /// Exact version.
    pub version: u64,
    /// Keys at that version.
    pub keys: Vec<String>,
    /// Where it goes.
    #[serde(rename = "as")]
    pub target: SecretTarget,
}

/// Where a secret goes in the pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretTarget {
    /// One file a key under this folder, in memory.
    Files(String),
    /// One variable a key, `PREFIX` + key.
    Env(String),
}
