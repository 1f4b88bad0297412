//! Version `v1alpha1`.
#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function body")]
#![expect(clippy::duplicated_attributes, reason = "each printer column has a type of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::policy::Capability;

mod sync;

pub use sync::{
    Decoding, Deletion, GeneratedAccounts, GeneratedKeyPair, GeneratedPassword, GeneratedSecret, GeneratedUuid,
    GeneratedValue, NamedSecret, SecretSync, SecretSyncSpec, SecretSyncStatus, SecretTemplate, SyncedKey, SyncedPath,
    TargetSecret,
};

/// Rights of ServiceAccounts of this namespace on secrets below `MOUNT/<this namespace>/`. Whatever no policy allows is
/// denied.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "homelab.dev",
    version = "v1alpha1",
    kind = "SecretPolicy",
    plural = "secretpolicies",
    shortname = "secpol",
    category = "homelab",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct SecretPolicySpec {
    /// Each rule gives some accounts some rights on some paths. One that is wrong puts the whole policy out of force.
    #[schemars(length(max = 64))]
    pub rules: Vec<SecretRule>,
}

/// One rule of a SecretPolicy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.serviceAccounts.all(a, a.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'))")
    .message("serviceAccounts are names of ServiceAccounts in the policy's own namespace, as in [web]"))]
#[x_kube(validation = Rule::new("self.paths.all(p, p.matches('^[^/*+]+/[^/*+]+/'))")
    .message("each path starts with MOUNT/<namespace of the policy>/, as in kv/web/*"))]
#[x_kube(validation = Rule::new("self.paths.all(p, !p.matches('[*].') && !p.contains('//') && !p.matches('(^|/)[.][.]?(/|$)') && !p.matches('[^/][+]|[+][^/]'))")
    .message("in a path `*` stands only at the end, `+` only as a whole segment, and there is no //, /./ or /../"))]
pub struct SecretRule {
    /// Names of ServiceAccounts of the policy's own namespace.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    pub service_accounts: Vec<String>,
    /// Logical paths, `MOUNT/<namespace>/…`. `*` at the end stands for any rest, `+` for one whole segment.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 512)))]
    pub paths: Vec<String>,
    /// What these accounts may do there.
    #[schemars(length(min = 1, max = 7))]
    pub capabilities: Vec<Capability>,
}

/// Rights of anybody on any secrets: people, groups, and ServiceAccounts outside their own namespace's paths.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "homelab.dev",
    version = "v1alpha1",
    kind = "ClusterSecretPolicy",
    plural = "clustersecretpolicies",
    shortname = "csecpol",
    category = "homelab",
    status = "PolicyStatus",
    derive = "PartialEq",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSecretPolicySpec {
    /// Each rule gives some subjects some rights on some paths. One that is wrong puts the whole policy out of force.
    #[schemars(length(max = 64))]
    pub rules: Vec<ClusterSecretRule>,
}

/// One rule of a ClusterSecretPolicy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.paths.all(p, !p.matches('[*].') && !p.contains('//') && !p.matches('(^|/)[.][.]?(/|$)') && !p.matches('[^/][+]|[+][^/]'))")
    .message("in a path `*` stands only at the end, `+` only as a whole segment, and there is no //, /./ or /../"))]
pub struct ClusterSecretRule {
    /// Who: each names exactly one of serviceAccount, user, group.
    #[schemars(length(min = 1, max = 64))]
    pub subjects: Vec<Subject>,
    /// Logical paths, `MOUNT/…`. `*` at the end stands for any rest, `+` for one whole segment.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 512)))]
    pub paths: Vec<String>,
    /// What they may do there.
    #[schemars(length(min = 1, max = 7))]
    pub capabilities: Vec<Capability>,
}

/// Who a rule is for.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.serviceAccount), has(self.user), has(self.group)].filter(x, x).size() == 1")
    .message("a subject names exactly one of serviceAccount, user, group"))]
pub struct Subject {
    /// A ServiceAccount, `NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317), regex(pattern = r"^[a-z0-9-]+/[a-z0-9.-]+$"))]
    pub service_account: Option<String>,
    /// A user name as Kubernetes knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub user: Option<String>,
    /// A group as Kubernetes knows it, as in `system:serviceaccounts:web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub group: Option<String>,
}

/// What became of a policy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// The generation that the conditions speak about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: its rules are in force. `Stalled`: they are not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
