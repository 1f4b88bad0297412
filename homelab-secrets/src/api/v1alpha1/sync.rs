//! `SecretSync`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keeps one Kubernetes Secret equal to what the secret store holds. What it reads and writes, it reads and writes as
/// `serviceAccount`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "homelab.dev",
    version = "v1alpha1",
    kind = "SecretSync",
    plural = "secretsyncs",
    shortname = "ssync",
    category = "homelab",
    namespaced,
    status = "SecretSyncStatus",
    derive = "PartialEq",
    doc = "Keeps one Kubernetes Secret equal to what the secret store holds.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secret"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a SecretSync has at most 63 characters: it is a label of its Secret")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.data) && size(self.data) > 0) || (has(self.dataFrom) && size(self.dataFrom) > 0) || has(self.template) || (has(self.generate) && size(self.generate) > 0)")
    .message("it says nothing about what the Secret holds: name paths in data or dataFrom, or write a template"))]
pub struct SecretSyncSpec {
    /// The Kubernetes Secret, in the same namespace.
    #[serde(default)]
    pub target: TargetSecret,
    /// Single keys of secrets, each as one key of the Kubernetes Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub data: Vec<SyncedKey>,
    /// Whole secrets, each of their keys as one key of the Kubernetes Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub data_from: Vec<SyncedPath>,
    /// Keys of the Kubernetes Secret that are put together from values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SecretTemplate>,
    /// Secrets that are made where there are none yet, and written to the store. A value that somebody wrote is never
    /// replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub generate: Vec<GeneratedSecret>,
    /// How often everything is compared even if nothing was heard, as in `10m` or `1h`. Changes in the store and of the
    /// Secret are heard at once.
    #[serde(default = "default_refresh")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('10s')").message("must be a duration of at least 10s, as in 10m or 1h"))]
    pub refresh: String,
    /// ServiceAccount of the same namespace. SecretPolicies have to let it read the paths, and a Role get, create and patch
    /// (for `deletion: delete` after a change of name also delete) the Secret.
    #[serde(default = "default_account")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account: String,
    /// What becomes of the Secret when the SecretSync is deleted, or names another Secret.
    #[serde(default)]
    pub deletion: Deletion,
    /// Stops everything: nothing is read, written or repaired. What is there stays.
    #[serde(default)]
    pub suspend: bool,
}

/// The Kubernetes Secret of a SecretSync.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TargetSecret {
    /// Its name; without one, that of the SecretSync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("is no name of a Secret: small letters, digits, - and ., as in web-db"))]
    pub name: Option<String>,
    /// Its type, as in `kubernetes.io/tls`; without one, `Opaque`. Kubernetes lets nobody change it: with another type the
    /// Secret has to be deleted first.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("!self.startsWith('homelab.dev/') && self != 'kubernetes.io/service-account-token'").message("is a type that others write: homelab itself, or the cluster"))]
    pub type_: Option<String>,
    /// Labels of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('homelab.dev/'))").message("labels that start with homelab.dev/ are homelab's own"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('homelab.dev/'))").message("annotations that start with homelab.dev/ are homelab's own"))]
    pub annotations: BTreeMap<String, String>,
}

/// One key of one secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SyncedKey {
    /// Its name in the Kubernetes Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')").message("is no key of a Secret: letters, digits, -, _ and ."))]
    pub key: String,
    /// `MOUNT/PATH` in the store, as in `kv/web/db`.
    #[schemars(length(min = 3, max = 512))]
    pub path: String,
    /// Its name in the store; without one, `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub property: Option<String>,
    /// This version of the secret; without one, the newest that is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub version: Option<u64>,
    /// How the value is written in the store; without one, as it is. The Kubernetes Secret gets the bytes behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<Decoding>,
}

/// How a value is written in the store.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Decoding {
    /// RFC 4648 base64: for what is no text, as a keystore.
    Base64,
}

/// All keys of one secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SyncedPath {
    /// `MOUNT/PATH` in the store, as in `kv/web/db`.
    #[schemars(length(min = 3, max = 512))]
    pub path: String,
    /// Put in front of each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub prefix: Option<String>,
    /// This version of the secret; without one, the newest that is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub version: Option<u64>,
}

/// Text with values in it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// The secrets that the texts may name. They do not appear in the Kubernetes Secret by themselves.
    #[schemars(length(min = 1, max = 32))]
    pub secrets: Vec<NamedSecret>,
    /// Key of the Kubernetes Secret to text. `${NAME.KEY}` is replaced by that key of that secret, `${NAME.KEY|ENCODING}` by
    /// its `base64`, `url` (percent encoding) or `json` form (with quotes); `$${` stands for `${`.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64, "additionalProperties" = {"type": "string", "maxLength": 262144}))]
    pub data: BTreeMap<String, String>,
}

/// A secret that a template names.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NamedSecret {
    /// Its name in the texts.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z_][A-Za-z0-9_]*$')").message("is no name for a template: letters, digits and _, as in db"))]
    pub name: String,
    /// `MOUNT/PATH` in the store, as in `kv/web/db`.
    #[schemars(length(min = 3, max = 512))]
    pub path: String,
    /// This version of the secret; without one, the newest that is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub version: Option<u64>,
}

/// A secret of the store that is made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GeneratedSecret {
    /// `MOUNT/PATH` in the store, as in `kv/web/db`. `serviceAccount` needs `read` and `create` there, to rotate also `update`.
    #[schemars(length(min = 3, max = 512))]
    pub path: String,
    /// Its keys.
    #[schemars(length(min = 1, max = 32))]
    pub values: Vec<GeneratedValue>,
    /// Age at which the next version is made, as in `720h`; without it only on request (annotation
    /// `homelab.dev/rotate`, any new value).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s))+$') && duration(self) >= duration('1m')").message("must be a duration of at least 1m, as in 24h or 720h"))]
    pub rotate_every: Option<String>,
}

/// One key of a secret that is made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.text), has(self.password), has(self.uuid), has(self.keyPair), has(self.accounts)].filter(x, x).size() == 1")
    .message("a value is exactly one of text, password, uuid, keyPair, accounts"))]
pub struct GeneratedValue {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// This text, which is no secret: a user's name beside its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub text: Option<String>,
    /// A password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<GeneratedPassword>,
    /// A random UUID (version 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<GeneratedUuid>,
    /// An Ed25519 key, PEM (PKCS #8), with its public half beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<GeneratedKeyPair>,
    /// The name of one of two accounts, in turn, so that whoever still uses the other one goes on while this one's password
    /// is new: for databases and whatever else knows one password an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<GeneratedAccounts>,
}

/// How a password is made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GeneratedPassword {
    /// How many characters; without it, 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 1024))]
    pub length: Option<u16>,
    /// Which characters, each once; without it, ASCII letters and digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 94))]
    pub alphabet: Option<String>,
}

/// A UUID has no settings.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GeneratedUuid {}

/// Two accounts of one service. Their passwords are kept under their names, for whoever sets them there; that of the one in
/// use is also under `passwordKey`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.a != self.b").message("the two accounts have different names"))]
pub struct GeneratedAccounts {
    /// Name of the first.
    #[schemars(length(min = 1, max = 253))]
    pub a: String,
    /// Name of the second.
    #[schemars(length(min = 1, max = 253))]
    pub b: String,
    /// Key of the password of the one in use; without it, `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: Option<String>,
    /// How passwords are made.
    #[serde(default)]
    pub password: GeneratedPassword,
}

/// How a key pair is made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GeneratedKeyPair {
    /// Name of the public half; without it, `KEY.pub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub public_key: Option<String>,
}

/// What becomes of a Secret that is no longer wanted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Deletion {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays as it is, and belongs to nobody.
    Orphan,
}

/// What is known about a SecretSync. Losing it loses nothing.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretSyncStatus {
    /// The generation that the conditions speak about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the Secret holds what the store does. `Reconciling`: it will, by itself. `Stalled`: somebody has to change
    /// something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Name of the Kubernetes Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// What the Secret was made of, `PATH@VERSION` each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
}

fn default_refresh() -> String {
    "1h".into()
}

fn default_account() -> String {
    "default".into()
}
