//! `GitSync`, version `v1alpha1`.

#![expect(unreachable_pub, reason = "KubeSchema repeats each struct inside a private module")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes the cluster hold what a folder of a Git repository holds.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "homelab.dev",
    version = "v1alpha1",
    kind = "GitSync",
    plural = "gitsyncs",
    shortname = "gs",
    category = "homelab",
    namespaced,
    derive = "PartialEq",
    status = "GitSyncStatus",
    doc = "Makes the cluster hold what a folder of a Git repository holds.",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.revision"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("!has(self.spec.secretRef) || !self.spec.url.startsWith('file:')").message("a file:// repository takes no credentials: remove spec.secretRef")
)]
#[serde(rename_all = "camelCase")]
pub struct GitSyncSpec {
    /// Where the repository is: `https://…`, `http://…`, or `file:///…` if the daemon was started with a folder for that.
    /// Credentials belong into `secretRef`, not into the URL.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^(https?://[^/@\\\\s]+/[^\\\\s]+|file:///[^\\\\s]+)$')").message("must be https://HOST/PATH, http://HOST/PATH or file:///PATH, without user or password (they belong into spec.secretRef)"))]
    pub url: String,

    /// Which commit: one of `branch`, `tag` or `commit`. Without it, the branch that the repository's HEAD names.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,

    /// Folder inside the repository whose files are applied, with all folders below it.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.matches('(^|/)\\\\.\\\\.(/|$)')").message("must be a folder inside the repository, as in \"clusters/home\""))]
    pub path: String,

    /// How often the repository is asked for a newer commit, as in `30s`, `1m`, `1h`.
    #[serde(default = "default_interval")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('5s')").message("must be a duration of at least 5s, as in 30s, 1m or 1h30m"))]
    #[schemars(length(max = 32))]
    pub interval: String,

    /// Secret in the same namespace with the credentials for the repository: keys `username` and `password`, or `token`;
    /// `caCrt` with certificates (PEM) to trust besides the system's. It is read as `serviceAccount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,

    /// Whether objects that are no longer in Git are deleted from the cluster. PersistentVolumeClaims, Namespaces and
    /// CustomResourceDefinitions are deleted only after a person confirmed it (annotation `homelab.dev/prune-confirmed`).
    #[serde(default)]
    pub prune: bool,

    /// How long applied objects may take to become healthy before the GitSync counts as failed.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('1s')").message("must be a duration of at least 1s, as in 30s, 5m or 1h"))]
    #[schemars(length(max = 32))]
    pub timeout: String,

    /// Stops everything: no polling, no apply, no repair. What is there stays.
    #[serde(default)]
    pub suspend: bool,

    /// ServiceAccount in the same namespace in whose name everything is written. It needs the rights for what is in Git.
    #[serde(default = "default_account")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account: String,

    /// Secret in the same namespace whose key `secret` webhooks of the forge must be signed with. Without it this GitSync has
    /// no webhook. It is read as `serviceAccount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_secret_ref: Option<SecretReference>,
}

/// Which commit of the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.branch), has(self.tag), has(self.commit)].filter(x, x).size() == 1").message("name exactly one of branch, tag and commit"))]
pub struct Reference {
    /// Newest commit of this branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[^-\\\\s~^:?*\\\\[\\\\\\\\][^\\\\s~^:?*\\\\[\\\\\\\\]*$')").message("is no branch name"))]
    pub branch: Option<String>,
    /// Commit of this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[^-\\\\s~^:?*\\\\[\\\\\\\\][^\\\\s~^:?*\\\\[\\\\\\\\]*$')").message("is no tag name"))]
    pub tag: Option<String>,
    /// This commit, by its full id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{40}$')").message("must be the full id of 40 hexadecimal digits"))]
    pub commit: Option<String>,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What the daemon knows about a GitSync. Losing it loses nothing: it is computed anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSyncStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: all that Git holds is applied and healthy. `Reconciling`: moving by itself. `Stalled`: needs a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Commit that was applied completely last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<String>,
    /// The same for people, with what named it: `main@sha1:1a2b3c4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Commit that was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempted_revision: Option<String>,
    /// Value of the annotation `homelab.dev/sync-requested-at` that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_sync: Option<String>,
    /// How much this GitSync holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<InventorySummary>,
    /// What is waited for, one line each, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
}

/// How much a GitSync holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventorySummary {
    /// Objects in the cluster that belong to it.
    pub objects: u32,
    /// Of these, the healthy ones.
    pub healthy: u32,
    /// Objects that are no longer in Git and still there.
    pub left_over: u32,
    /// Files in the folder that hold no Kubernetes objects.
    pub skipped_files: u32,
}

fn default_path() -> String {
    ".".into()
}

fn default_interval() -> String {
    "1m".into()
}

fn default_timeout() -> String {
    "5m".into()
}

fn default_account() -> String {
    "default".into()
}
