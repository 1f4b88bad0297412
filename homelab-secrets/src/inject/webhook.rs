//! The objects that make the API server ask us about opted-in pods, and refuse those that got past us.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{AGENT, OPTED_IN, VOLUME};

/// How the API server reaches the webhook, and for which pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Name of the objects, `homelab` unless several daemons share a cluster.
    pub name: String,
    /// Certificates (PEM) that the webhook's own is checked against.
    pub ca_pem: String,
    /// Where it listens.
    pub target: WebhookTarget,
    /// Only pods of these namespaces; none for all.
    pub namespaces: Option<Vec<String>>,
    /// The daemon's own namespace, whose pods are never touched, so that the daemon can start without itself.
    pub own_namespace: Option<String>,
}

/// Where the webhook listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookTarget {
    /// A base URL, `https://HOST:PORT`.
    Url(String),
    /// A Service in the cluster.
    Service {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Port.
        port: u16,
    },
}

/// Name of the webhook in its configuration; the API server names it in each refusal.
pub(crate) const WEBHOOK: &str = "pods.inject.homelab.dev";
impl WebhookSettings {
    /// Namespaces whose pods are never touched: a webhook that is down must not keep the cluster or itself from starting.
    pub fn left_alone(&self) -> Vec<String> {
        let mut never = vec!["kube-system".to_owned()];
        never.extend(self.own_namespace.clone());
        never
    }
}

/// Path of the webhook.
pub(super) const PATH: &str = "/mutate/pods";

/// The MutatingWebhookConfiguration: fails closed, for opted-in pods only.
pub fn webhook_configuration(settings: &WebhookSettings) -> Value {
    let bundle = base64::engine::general_purpose::STANDARD.encode(&settings.ca_pem);
    let client = match &settings.target {
        WebhookTarget::Url(url) => json!({"url": format!("{}{PATH}", url.trim_end_matches('/')), "caBundle": bundle}),
        WebhookTarget::Service { namespace, name, port } => json!({
            "service": {"namespace": namespace, "name": name, "port": port, "path": PATH}, "caBundle": bundle,
        }),
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": settings.name},
        "webhooks": [{
            "name": WEBHOOK,
            "admissionReviewVersions": ["v1"],
            "clientConfig": client,
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": namespace_selector(settings),
            "objectSelector": object_selector(),
            "reinvocationPolicy": "Never",
            "rules": [pods_rule()],
            "sideEffects": "None",
            "timeoutSeconds": 10,
        }],
    })
}

/// Name of the policy behind the webhook configuration `webhook`; the API server names it in each refusal.
pub fn policy_name(webhook: &str) -> String {
    format!("{webhook}-injected-pods")
}

/// The ValidatingAdmissionPolicy and its binding: an opted-in pod without our parts is refused, also while the daemon is
/// down or its webhook configuration is gone.
pub fn validating_policy(settings: &WebhookSettings) -> [Value; 2] {
    let name = policy_name(&settings.name);
    let agent = format!(
        "has(object.spec.initContainers) && object.spec.initContainers.exists(c, c.name == '{AGENT}' && has(c.env) && \
         c.env.exists(e, e.name == 'HOMELAB_SECRETS'))"
    );
    let volume = format!(
        "has(object.spec.volumes) && object.spec.volumes.exists(v, v.name == '{VOLUME}' && has(v.emptyDir) && \
         has(v.emptyDir.medium) && v.emptyDir.medium == 'Memory')"
    );
    let (label, value) = OPTED_IN;
    let message = |what: &str| {
        format!(
            "the pod asks for secrets (label {label}: {value:?}) but has no {what}: the webhook did not see it; is \
             MutatingWebhookConfiguration {} there, and does homelab run?",
            settings.name
        )
    };
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": namespace_selector(settings),
                "objectSelector": object_selector(),
                "resourceRules": [pods_rule()],
            },
            "validations": [
                {"expression": agent, "message": message("init container homelab-agent"), "reason": "Forbidden"},
                {"expression": volume, "message": message("volume homelab-secrets in memory"), "reason": "Forbidden"},
            ],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    [policy, binding]
}

fn pods_rule() -> Value {
    json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced"})
}

fn object_selector() -> Value {
    let (label, value) = OPTED_IN;
    json!({"matchLabels": {label: value}})
}

fn namespace_selector(settings: &WebhookSettings) -> Value {
    let key = "kubernetes.io/metadata.name";
    let never = settings.left_alone();
    let mut expressions = vec![json!({"key": key, "operator": "NotIn", "values": never})];
    if let Some(namespaces) = &settings.namespaces {
        expressions.push(json!({"key": key, "operator": "In", "values": namespaces}));
    }
    json!({"matchExpressions": expressions})
}
