//! What brings secrets into a pod. Pure; only [`server`] listens.
//!
//! [`inject`] changes a pod or pod template so that it never starts without its secrets and no secret is in its spec: an
//! init container, `homelab-agent`, logs in with a token of the pod's own ServiceAccount, reads each secret at the exact
//! version written in its environment, and writes it to a volume in memory. The other containers see one folder a secret
//! (a file a key, `subPath` of that volume), or variables which the kubelet reads from a file in it (`fileKeyRef`).
//!
//! Pods of Apps are changed at render (the stamp). Pods outside Apps opt in with the label `homelab.dev/inject: "true"`
//! and say what they want in an annotation ([`parse_annotation`]); the webhook in [`server`] changes them.

use homelab_core::meta::label;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;

mod annotation;
mod clash;
mod pod;
#[cfg(feature = "server")]
pub mod server;
mod webhook;
mod wish;

pub use annotation::{Wanted, format_annotation, parse_annotation};
pub use pod::{carried, is_refreshed};
#[cfg(feature = "controller")]
pub(crate) use webhook::WEBHOOK;
pub use webhook::{WebhookSettings, WebhookTarget, policy_name, validating_policy, webhook_configuration};

#[cfg(test)]
mod tests;

/// Name of our init container.
pub const AGENT: &str = "homelab-agent";
/// Name of the sidecar that keeps secrets as new as they are in the store.
pub const REFRESHER: &str = "homelab-refresh";
/// Name of the volume in memory.
pub const VOLUME: &str = "homelab-secrets";
/// Name of the volume with the agent's token.
pub const TOKEN_VOLUME: &str = "homelab-token";
/// Where the agent sees the volume in memory.
pub const AGENT_ROOT: &str = "/homelab/secrets";
/// Where the agent sees its token.
pub const TOKEN_FOLDER: &str = "/var/run/secrets/homelab.dev";
/// Version of what [`inject`] writes into the agent's environment.
pub const FORMAT: u32 = 1;
/// Exit code of the agent that gave up because something was away (EX_TEMPFAIL of sysexits.h).
pub const TEMPORARY: i32 = 75;
/// Value of the label that opts a pod in.
pub const OPTED_IN: (&str, &str) = (label::INJECT, "true");

/// What every injected pod needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectConfig {
    /// Image whose entry point is the program `homelab-agent`.
    pub image: String,
    /// URL of the secret server as pods reach it, as in `https://homelab-secrets.homelab.svc:8200`.
    pub addr: String,
    /// Certificates (PEM) that the server's certificate is checked against. Public.
    pub ca_pem: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
}

/// One secret as it has to appear in pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedSecret {
    /// `MOUNT/PATH`, as in `kv/web/db`.
    pub path: String,
    /// Exact version.
    pub version: u64,
    /// Names of its keys at that version (not secret).
    pub keys: Vec<String>,
    /// Where it goes.
    #[serde(rename = "as")]
    pub target: SecretTarget,
}

/// What a pod outside Apps wants to have as new as it is in the store, while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// How often it is looked, seconds.
    pub every: u32,
    /// Paths, of those that go to files.
    pub paths: Vec<String>,
}

/// Where a secret goes in the pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretTarget {
    /// One file a key under this folder, in memory.
    Files(String),
    /// One variable a key, this prefix + key.
    Env(String),
}

/// Adds what brings `secrets` into `template` (a Pod, or `metadata` + `spec` of a pod template).
///
/// Idempotent: what an earlier call added is replaced; with no secrets it is only taken away. On an error the template
/// is unchanged.
pub fn inject(template: &mut Value, secrets: &[InjectedSecret], config: &InjectConfig) -> Result<(), Error> {
    inject_refreshed(template, secrets, None, config)
}

/// The same, with a sidecar (KEP-753) that writes newer versions of some of them in place.
pub fn inject_refreshed(
    template: &mut Value,
    secrets: &[InjectedSecret],
    refresh: Option<&Refresh>,
    config: &InjectConfig,
) -> Result<(), Error> {
    let wishes = wish::wishes(secrets)?;
    let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) else {
        return Err(Error::Invalid("the pod template has no spec".into()));
    };
    let mut pod = spec.clone();
    pod::strip(&mut pod)?;
    if !wishes.is_empty() {
        clash::check(&pod, &wishes)?;
        pod::add(&mut pod, &wishes, refresh, config);
    }
    *spec = pod;
    Ok(())
}
