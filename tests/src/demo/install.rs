//! Installing and removing.

use std::time::Duration;

use anyhow::{Context, Result};

use super::output::say;
use super::{SYSTEM, WEB};
use crate::cluster::Cluster;

/// `helm install` of the chart, waited for.
pub(super) async fn install(cluster: &Cluster, shared: bool) -> Result<String> {
    let chart = crate::workspace().join("charts/homelab").display().to_string();
    let storage = storage(cluster).await?;
    let mut args = vec!["upgrade", "--install", "homelab", &chart, "--namespace", SYSTEM, "--create-namespace"];
    args.extend(["--set", "image.tag=dev", "--set", "agent.image.tag=dev", "--set", storage]);
    let only = format!("namespaces={{{SYSTEM},{WEB}}}");
    if shared {
        args.extend(["--set", &only]);
    }
    say(format!("helm {}", args.join(" ")));
    cluster.helm(args).await?;
    let id = ("apps/v1", "Deployment", SYSTEM, "homelab");
    cluster.wait_healthy(id, Duration::from_secs(120)).await?;
    Ok("homelab runs in the cluster, installed by helm from charts/homelab".into())
}

/// A claim where the cluster makes volumes by itself; else a folder that lasts as long as the pod.
async fn storage(cluster: &Cluster) -> Result<&'static str> {
    let classes = cluster.list("storage.k8s.io/v1", "StorageClass", "", "").await?;
    let key = "storageclass.kubernetes.io/is-default-class";
    let default = classes.iter().any(|class| class["metadata"]["annotations"][key] == "true");
    Ok(if default { "storage.accessMode=ReadWriteOnce" } else { "storage.type=emptyDir" })
}

/// Takes everything away again, as far as it goes; each thing that stays is said.
pub(super) async fn remove(cluster: &Cluster) {
    let limit = Duration::from_secs(90);
    let removed = async {
        gone(cluster, ("homelab.dev/v1alpha1", "GitSync", SYSTEM, "home"), limit).await?;
        gone(cluster, ("homelab.dev/v1alpha1", "App", WEB, "web"), limit).await?;
        gone(cluster, ("v1", "Namespace", "", WEB), limit).await?;
        cluster.helm(["uninstall", "homelab", "--namespace", SYSTEM, "--ignore-not-found"]).await?;
        gone(cluster, ("v1", "Namespace", "", SYSTEM), limit).await
    };
    if let Err(error) = removed.await {
        say(format!("not everything could be taken away again: {error:#}"));
    }
}

/// Deletes one object and waits until it is gone.
async fn gone(
    cluster: &Cluster,
    (api_version, kind, namespace, name): (&str, &str, &str, &str),
    limit: Duration,
) -> Result<()> {
    if cluster.get(api_version, kind, namespace, name).await?.is_none() {
        return Ok(());
    }
    cluster.delete(api_version, kind, namespace, name).await?;
    crate::wait::until(&format!("{kind} {name} to go"), limit, async || {
        match cluster.get(api_version, kind, namespace, name).await {
            Ok(None) => Ok(()),
            Ok(Some(object)) => Err(format!("it is there, with finalizers {}", object["metadata"]["finalizers"])),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await
    .context("deleting")
}
