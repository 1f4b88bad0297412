//! `homelab secrets where PATH`: who has which version of a secret.

use anyhow::{Result, ensure};
use homelab_core::meta::label;
use homelab_secrets::api::v1alpha1::SecretSync;
use homelab_secrets::inject::{carried, is_refreshed};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use reqwest::Method;
use serde::Serialize;

use crate::args::{Global, Output, Server};
use crate::cli::cluster::{Cluster, failed};
use crate::cli::kv::Client;
use crate::cli::output::{self, Table};

/// Version of what `-o json` prints.
const FORMAT: u32 = 1;

/// A pod, or a Secret that is kept equal to the store.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Holder {
    namespace: String,
    kind: &'static str,
    name: String,
    version: u64,
    /// Of a pod: its App and colour; of a Secret: its SecretSync.
    of: String,
    state: String,
}

pub(super) async fn run(global: &Global, server: &Server, path: &str, out: Output) -> Result<()> {
    let path = path.trim_matches('/');
    ensure!(path.contains('/'), "`{path}` is no path of a secret; write MOUNT/PATH, as in kv/web/db");
    let cluster = Cluster::connect(global).await?;
    let mut holders = pods(&cluster, path).await?;
    holders.extend(synced(&cluster, path).await?);
    holders.sort();
    let newest = newest(global, server, path).await;
    if let Some(format) = out.format {
        let shown = serde_json::json!({ "format": FORMAT, "path": path, "newest": newest, "holders": holders });
        return output::data(&shown, format);
    }
    table(&holders).print(&format!("nothing in the cluster has {path}"))?;
    match newest {
        Some(newest) => output::note(&format!("the newest version of {path} is {newest}")),
        None => output::note(&format!("the newest version of {path} is not known to you: `homelab kv history {path}`")),
    }
    Ok(())
}

fn table(holders: &[Holder]) -> Table {
    let mut table = Table::new(["NAMESPACE", "KIND", "NAME", "VERSION", "OF", "STATE"]);
    for Holder { namespace, kind, name, version, of, state } in holders {
        table.row([namespace.as_str(), *kind, name, &version.to_string(), of, state]);
    }
    table
}

async fn pods(cluster: &Cluster, path: &str) -> Result<Vec<Holder>> {
    let mut holders = Vec::new();
    for labels in [format!("{}=true", label::INJECT), format!("{},!{}", label::APP, label::INJECT)] {
        let pods = Api::<Pod>::all(cluster.client.clone()).list(&ListParams::default().labels(&labels)).await;
        let pods = pods.map_err(|error| failed("list the pods of all namespaces", &error))?;
        holders.extend(pods.items.iter().filter_map(|pod| holder(pod, path)));
    }
    Ok(holders)
}

fn holder(pod: &Pod, path: &str) -> Option<Holder> {
    let (_, version) = carried(pod.spec.as_ref()?).into_iter().find(|(carried, _)| carried == path)?;
    let follows = if is_refreshed(pod.spec.as_ref()?) { ", follows the store" } else { "" };
    let labels = pod.labels();
    let of = [label::APP, label::COLOUR].iter().filter_map(|key| labels.get(*key).map(String::as_str));
    Some(Holder {
        namespace: pod.namespace().unwrap_or_default(),
        kind: "Pod",
        name: pod.name_any(),
        version,
        of: of.collect::<Vec<_>>().join(" "),
        state: format!("{}{follows}", state(pod)),
    })
}

fn state(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".into();
    }
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    match conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True") {
        true => "Ready".into(),
        false => status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Unknown".into()),
    }
}

async fn synced(cluster: &Cluster, path: &str) -> Result<Vec<Holder>> {
    let syncs = Api::<SecretSync>::all(cluster.client.clone()).list(&ListParams::default()).await;
    match syncs {
        Ok(syncs) => Ok(syncs.items.iter().filter_map(|sync| synced_holder(sync, path)).collect()),
        // A cluster whose definitions are of an earlier version.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(failed("list the SecretSyncs of all namespaces", &error)),
    }
}

fn synced_holder(sync: &SecretSync, path: &str) -> Option<Holder> {
    let status = sync.status.as_ref()?;
    let version = status.versions.iter().find_map(|held| held.strip_prefix(path)?.strip_prefix('@')?.parse().ok())?;
    let ready = status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    Some(Holder {
        namespace: sync.namespace().unwrap_or_default(),
        kind: "Secret",
        name: status.secret.clone().unwrap_or_else(|| sync.name_any()),
        version,
        of: format!("SecretSync {}", sync.name_any()),
        state: if ready { "Ready".into() } else { "not Ready".into() },
    })
}

/// None: whoever asks may not know, or nobody answers.
async fn newest(global: &Global, server: &Server, path: &str) -> Option<u64> {
    let (mount, rest) = path.split_once('/')?;
    let client = Client::connect(global, server).await.ok()?;
    let found = client.call(Method::GET, &format!("{mount}/metadata/{rest}"), None, "look").await.ok()?;
    found["data"]["current_version"].as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(wish: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "web", "labels": {label::APP: "web", label::COLOUR: "blue"}},
            "spec": {"containers": [], "initContainers": [
                {"name": "homelab-agent", "env": [{"name": "HOMELAB_SECRETS", "value": wish.to_string()}]},
            ]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .expect("a pod")
    }

    #[test]
    fn a_pod_has_exactly_the_paths_that_its_agent_brings() {
        let wish = json!({"format": 1, "secrets": [{"path": "kv/web/db", "version": 4}, {"path": "kv/web/db2", "version": 1}]});
        let found = holder(&pod(&wish), "kv/web/db").expect("it has it");
        let expected = ("web-1", 4, "web blue", "Ready");
        assert_eq!((found.name.as_str(), found.version, found.of.as_str(), found.state.as_str()), expected);
        assert!(holder(&pod(&wish), "kv/web").is_none() && holder(&pod(&json!("nonsense")), "kv/web/db").is_none());
    }

    #[test]
    fn a_synced_secret_has_what_its_status_says() {
        let sync = |versions: Value| -> SecretSync {
            serde_json::from_value(json!({
                "apiVersion": "homelab.dev/v1alpha1", "kind": "SecretSync", "metadata": {"name": "db", "namespace": "web"},
                "spec": {}, "status": {"secret": "web-db", "versions": versions, "conditions": []},
            }))
            .expect("a SecretSync")
        };
        let found = synced_holder(&sync(json!(["kv/web/db2@1", "kv/web/db@7"])), "kv/web/db").expect("it has it");
        assert_eq!((found.name.as_str(), found.version, found.kind), ("web-db", 7, "Secret"));
        assert!(synced_holder(&sync(json!(["kv/web/db2@1"])), "kv/web/db").is_none());
    }
}
