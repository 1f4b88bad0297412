//! Objects of External Secrets.

use serde_json::{Value, json};

/// How often it looks whether a secret has changed.
const REFRESH: &str = "2s";

fn object(kind: &str, (namespace, name): (&str, &str), spec: Value) -> Value {
    let version = if kind == "PushSecret" { "v1alpha1" } else { "v1" };
    json!({
        "apiVersion": format!("external-secrets.io/{version}"), "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// The rights of the account `eso`.
pub(crate) fn by_policy(namespace: &str, capabilities: &[&str]) -> Value {
    let rule =
        json!({"serviceAccounts": ["eso"], "paths": [format!("kv/{namespace}/*")], "capabilities": capabilities});
    json!({
        "apiVersion": "homelab.dev/v1alpha1", "kind": "SecretPolicy",
        "metadata": {"name": "eso", "namespace": namespace}, "spec": {"rules": [rule]},
    })
}

/// The secret server as a store, with the CA that the daemon publishes.
pub(crate) fn store(namespace: &str, name: &str, server: &str, login: &Value) -> Value {
    let vault = json!({
        "server": server, "path": "kv", "version": "v2", "auth": login,
        "caProvider": {"type": "ConfigMap", "name": "homelab-ca", "key": "ca.crt"},
    });
    object("SecretStore", (namespace, name), json!({"provider": {"vault": vault}}))
}

/// A Secret of the same name with what `wish` says.
pub(crate) fn external(namespace: &str, name: &str, store: &str, wish: &Value) -> Value {
    let mut spec = json!({"refreshInterval": REFRESH, "secretStoreRef": {"name": store, "kind": "SecretStore"}});
    for (key, value) in wish.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    object("ExternalSecret", (namespace, name), spec)
}

/// A key of a Secret, to be written to `path`.
pub(crate) fn pushed(namespace: &str, name: &str, store: &str, (secret, key): (&str, &str), path: &str) -> Value {
    let matched = json!({"secretKey": key, "remoteRef": {"remoteKey": path, "property": key}});
    let spec = json!({
        "refreshInterval": REFRESH, "secretStoreRefs": [{"name": store, "kind": "SecretStore"}],
        "selector": {"secret": {"name": secret}}, "data": [{"match": matched}],
    });
    object("PushSecret", (namespace, name), spec)
}
