//! A local port that leads to the daemon's pod, through the API server.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::cli::cluster::failed;

/// Labels that the chart puts on the daemon's pods, and on those that keep secrets where these are others.
const DAEMON: &str = "app.kubernetes.io/name=homelab,app.kubernetes.io/component=daemon";
const SECRETS: &str = "app.kubernetes.io/name=homelab,app.kubernetes.io/component=secrets";

/// A local port; it closes when this is dropped.
pub(crate) struct Forward {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Opens a port to `port` of a pod of the daemon, a ready one if there is one; none if there is no such pod.
pub(crate) async fn open(client: kube::Client, namespace: &str, port: u16) -> Result<Option<Forward>> {
    let pods = Api::<Pod>::namespaced(client, namespace);
    match find(&pods, namespace, DAEMON).await? {
        Some(name) => forward(pods, name, port).await.map(Some),
        None => Ok(None),
    }
}

/// The same for a pod that keeps secrets.
pub(crate) async fn open_secrets(client: kube::Client, namespace: &str, port: u16) -> Result<Option<Forward>> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    match find(&pods, namespace, SECRETS).await? {
        Some(name) => forward(pods, name, port).await.map(Some),
        None => open(client, namespace, port).await,
    }
}

async fn find(pods: &Api<Pod>, namespace: &str, labels: &str) -> Result<Option<String>> {
    let found = pods
        .list(&ListParams::default().labels(labels))
        .await
        .map_err(|error| failed(&format!("look for the daemon's pod in namespace {namespace}"), &error))?;
    Ok(best(&found.items).and_then(|pod| pod.metadata.name.clone()))
}

/// One that is not ready may wait for us: for `secrets unseal` or `accept-rollback`.
fn best(pods: &[Pod]) -> Option<&Pod> {
    pods.iter().find(|pod| is_ready(pod)).or_else(|| pods.iter().find(|pod| is_running(pod)))
}

async fn forward(pods: Api<Pod>, name: String, port: u16) -> Result<Forward> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("open a local port")?;
    let address = listener.local_addr().context("open a local port")?;
    let task = tokio::spawn(serve(listener, pods, name, port)).abort_handle();
    Ok(Forward { address, task })
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && phase == Some("Running")
}

/// One that ends is Ready until it does.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    is_running(pod) && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn serve(listener: TcpListener, pods: Api<Pod>, name: String, port: u16) {
    while let Ok((connection, _)) = listener.accept().await {
        let (pods, name) = (pods.clone(), name.clone());
        tokio::spawn(async move {
            if let Err(error) = join(connection, &pods, &name, port).await {
                tracing::warn!("port-forward to pod {name}: {error:#}");
            }
        });
    }
}

async fn join(mut connection: TcpStream, pods: &Api<Pod>, name: &str, port: u16) -> Result<()> {
    let mut forwarder = pods.portforward(name, &[port]).await?;
    let mut stream = forwarder.take_stream(port).context("the API server opened no stream")?;
    tokio::io::copy_bidirectional(&mut connection, &mut stream).await?;
    drop(stream);
    forwarder.join().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ready_pod_is_taken_and_never_one_that_ends() {
        let pod = |name: &str, ready: bool, ends: bool| -> Pod {
            let deleted = ends.then_some("2026-01-01T00:00:00Z");
            serde_json::from_value(json!({
                "metadata": {"name": name, "deletionTimestamp": deleted},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
            }))
            .expect("a pod")
        };
        let chosen = |pods: &[Pod]| best(pods).and_then(|pod| pod.metadata.name.clone());
        let (old, new, ready) = (pod("old", true, true), pod("new", false, false), pod("ready", true, false));
        assert_eq!(chosen(&[old.clone(), new.clone(), ready]).as_deref(), Some("ready"));
        assert_eq!(chosen(&[old.clone(), new]).as_deref(), Some("new"));
        assert_eq!(chosen(&[old]), None);
    }
}
