//! Version `v1alpha1`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod status;

pub use status::{ActiveStatus, AppStatus, GateStatus, HistoryEntry, RequestStatus, SlotStatus};

/// One deployable unit: a chart, its secrets, how a new version of either takes over, and how traffic reaches it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "homelab.dev",
    version = "v1alpha1",
    kind = "App",
    shortname = "app",
    category = "homelab",
    namespaced,
    status = "AppStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')").message("the name of an App starts with a letter and has at most 40 characters of a-z, 0-9 and '-': releases and Services are named after it"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.active.colour"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.active.revision"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.strategy) || !has(self.strategy.blueGreen) || (has(self.routes) && size(self.routes) == 1)").message("blueGreen needs exactly one entry in routes: traffic is what it moves"))]
#[x_kube(validation = Rule::new("(has(self.strategy) && has(self.strategy.blueGreen)) || !has(self.routes) || self.routes.all(r, !has(r.parents) && !has(r.hosts) && !has(r.mesh))").message("mesh, parents and hosts of a route need strategy blueGreen; a rolling App is reached by its chart's own Service"))]
#[x_kube(validation = Rule::new("(has(self.strategy) && has(self.strategy.blueGreen)) == (has(oldSelf.strategy) && has(oldSelf.strategy.blueGreen))").message("strategy can not change between rolling and blueGreen, as releases are named differently: delete the App and create it again"))]
pub struct AppSpec {
    /// What runs: a Helm chart.
    pub helm: HelmSource,
    /// Secrets that the pods get. Another value of one of them is a new revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub secrets: Vec<SecretUse>,
    /// Where traffic enters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub routes: Vec<RouteSpec>,
    /// How a new revision takes over: `rolling` (the default) or `blueGreen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategySpec>,
    /// What a new revision has to pass. In order; all before the switch, except those with `after`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.all(g, self.exists_one(o, o.name == g.name))").message("two gates have the same name"))]
    pub gates: Vec<GateSpec>,
    /// Apps of this namespace that must be ready, and not rolling out, before a new revision starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub depends_on: Vec<Dependency>,
    /// ServiceAccount of this namespace that reads the secrets, and that everything is written as unless a GitSync
    /// applied this App. Default: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account: Option<String>,
    /// What happens to releases and route when this App is deleted. Default: `delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// Nothing is changed while this is true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// A Helm chart and its values.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HelmSource {
    /// Folder of the chart, relative to the folder of the file that this App is written in; as in `./charts/web`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.contains('://')").message("chart is a relative folder of the Git repository that holds this App, as in ./charts/web"))]
    pub chart: String,
    /// Values. `${homelab.colour}` and `${homelab.release}` are replaced; every other `${…}` is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub values: Option<Value>,
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true})
}

/// One secret of the store, and where the pods find it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretUse {
    /// `MOUNT/PATH`, as in `kv/web/db`.
    #[schemars(length(min = 3, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[^/]+(/[^/]+)+$')").message("path is MOUNT/PATH, as in kv/web/db"))]
    pub path: String,
    /// Where it goes.
    #[serde(rename = "as")]
    pub target: SecretPlace,
    /// What becomes of the earlier value when there is a new one. Default: `overlap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_change: Option<OnChange>,
}

/// What becomes of a secret's earlier value when there is a new one.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnChange {
    /// Both are valid: a new value is a new revision, and a rollback brings the earlier one back.
    Overlap,
    /// Its issuer has dropped it: every colour gets the newest value in place, and a rollback keeps it.
    Cut,
}

/// Exactly one of the two.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.files) != has(self.env)").message("`as` has exactly one of files and env"))]
pub struct SecretPlace {
    /// Absolute folder in the containers: one file a key, in memory only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.startsWith('/') && size(self) > 1").message("files is an absolute folder, as in /run/secrets/db"))]
    #[schemars(length(max = 256))]
    pub files: Option<String>,
    /// One environment variable a key, named by this prefix and the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([A-Za-z_][A-Za-z0-9_]*)?$')").message("env is a prefix for names of variables, as in API_"))]
    #[schemars(length(max = 64))]
    pub env: Option<String>,
}

/// Where traffic enters.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    /// The chart's Service, written as in a release with the App's own name (`web` stands for `web-blue`,
    /// `web-green`). Default: the one that has the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Name or number of a port of the chart's Service.
    pub port: IntOrString,
    /// What moves the traffic. Default: `auto`, a Gateway API route if there are `parents`, else a plain Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<Mesh>,
    /// Gateways that the route hangs on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub parents: Vec<RouteParent>,
    /// Host names of the route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub hosts: Vec<String>,
}

/// What moves the traffic.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mesh {
    /// Gateway API if there are parents, else a plain Service.
    Auto,
    /// The selector of a plain Service: all or nothing.
    Service,
    /// Weights of a Gateway API HTTPRoute.
    Gateway,
}

/// A Gateway, or one listener of it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RouteParent {
    /// `NAMESPACE/NAME`, or `NAME` in this namespace.
    #[x_kube(validation = Rule::new("self.matches('^([a-z0-9.-]+/)?[a-z0-9.-]+$')").message("gateway is NAMESPACE/NAME or NAME"))]
    #[schemars(length(max = 320))]
    pub gateway: String,
    /// Listener; none: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub section: Option<String>,
}

/// Exactly one of the two.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.blueGreen) != has(self.rolling)").message("strategy has exactly one of blueGreen and rolling"))]
pub struct StrategySpec {
    /// Two releases; traffic moves when the new one has passed its gates, and the old one stays warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreenSpec>,
    /// One release, upgraded in place; gates come after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<RollingSpec>,
}

/// Two releases, `NAME-blue` and `NAME-green`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreenSpec {
    /// Percent of the traffic for the new revision, step by step; the last is 100. Default: `[100]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new("self.all(s, s >= 1 && s <= 100) && self.isSorted() && (size(self) == 0 || self[size(self) - 1] == 100)").message("steps rise from 1 to 100, and the last is 100"))]
    pub steps: Vec<i32>,
    /// How long the earlier revision keeps running after a switch, as in `1h`. Default: `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+h)?([0-9]+m)?([0-9]+s)?$') && size(self) > 0").message("a duration is written as in 1h30m"))]
    #[schemars(length(max = 16))]
    pub keep_warm: Option<String>,
    /// How people reach the colour that does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewSpec>,
}

/// How people reach the colour that does not serve.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PreviewSpec {
    /// A request with this header and the value `blue` or `green` reaches that colour.
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9-]+$')").message("header is the name of a request header"))]
    #[schemars(length(max = 64))]
    pub header: String,
}

/// One release with the App's own name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RollingSpec {}

/// One check; exactly one of `http` and `approval`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.http) != has(self.approval)").message("a gate has exactly one of http and approval"))]
#[x_kube(validation = Rule::new("!has(self.after) || (self.after >= 1 && self.after <= 100)").message("after is a percentage from 1 to 100"))]
pub struct GateSpec {
    /// Name, for people.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Asked when the new revision has this percentage of the traffic; none: before it gets any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i32>,
    /// A request to the new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpGateSpec>,
    /// A person has to say yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalSpec>,
}

/// A request to the new revision's Service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpGateSpec {
    /// Path, as in `/healthz`.
    #[x_kube(validation = Rule::new("self.startsWith('/')").message("path starts with /"))]
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
    /// Status that is asked for. Default: any from 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// Text that the answer must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub body: Option<String>,
    /// Longest wait for an answer, as in `5s` (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+m)?([0-9]+s)?$') && size(self) > 0").message("a duration is written as in 5s"))]
    #[schemars(length(max = 16))]
    pub timeout: Option<String>,
    /// Tries, 2 s apart, before it counts as failed. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub attempts: Option<i32>,
}

/// A person has to say yes: `homelab app approve`, or a request with the verb `approve`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalSpec {}

/// Another App of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// `App`.
    #[x_kube(validation = Rule::new("self == 'App'").message("only Apps can be depended on"))]
    #[schemars(length(max = 16))]
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What happens to releases and route when an App is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Deletion {
    /// They are taken away first.
    #[default]
    Delete,
    /// They stay, and belong to nobody.
    Orphan,
}

/// Percent by colour.
pub type Weights = BTreeMap<String, u8>;
