//! Waiting for what a cluster does by itself: what is waited for is said whenever it changes.
#![expect(clippy::disallowed_methods, reason = "waiting looks at the clock")]

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use homelab_core::health::health;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use reqwest::Method;
use serde::Serialize;

use super::server;
use crate::args::Global;
use crate::cli::cluster::{Cluster, failed};
use crate::cli::kv::Client;
use crate::cli::output;

const LOOK: Duration = Duration::from_secs(1);
/// What comes in passing is not worth a line.
const SAID: Duration = Duration::from_secs(3);
const OURS: &str = "app.kubernetes.io/name=homelab";

/// When everything has to be there.
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Tries until it works.
    pub(super) async fn until<T>(&self, what: &str, attempt: impl AsyncFn() -> Result<T>) -> Result<T> {
        let (start, mut said) = (Instant::now(), String::new());
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => output::chain(&error),
            };
            if Instant::now() >= self.0 {
                bail!("waited for {what}: {error} (--timeout gives it longer; the same command goes on from here)");
            }
            if error != said && start.elapsed() >= SAID {
                output::note(&format!("waiting for {what}: {error}"));
                said = error;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Waits until the pods of the release are as they should be.
pub(super) async fn daemon(cluster: &Cluster, deadline: &Deadline) -> Result<()> {
    deadline.until("homelab to run", async || running(cluster).await).await?;
    output::note("homelab runs");
    Ok(())
}

async fn running(cluster: &Cluster) -> Result<()> {
    let all = ListParams::default().labels(OURS);
    let deployments = Api::<Deployment>::namespaced(cluster.client.clone(), &cluster.daemon).list(&all).await;
    let deployments = deployments.map_err(|error| failed("list our Deployments", &error))?.items;
    if deployments.is_empty() {
        bail!("there is no Deployment with the label {OURS} in namespace {}", cluster.daemon);
    }
    for deployment in deployments {
        let state = health(&of_type(&deployment, "apps/v1", "Deployment")?);
        if !state.is_current() {
            bail!("Deployment {}: {}{}", deployment.name_any(), state.message(), pods(cluster, &all).await);
        }
    }
    Ok(())
}

/// What its pods say; nothing if they say nothing.
async fn pods(cluster: &Cluster, all: &ListParams) -> String {
    let Ok(pods) = Api::<Pod>::namespaced(cluster.client.clone(), &cluster.daemon).list(all).await else {
        return String::new();
    };
    let words = pods.items.iter().filter_map(|pod| {
        let state = health(&of_type(pod, "v1", "Pod").ok()?);
        (!state.is_current()).then(|| format!("; pod {}: {}", pod.name_any(), state.message()))
    });
    words.collect()
}

/// Logs in as the owner, and waits until the policy that lets it is in force.
pub(super) async fn admin(global: &Global, deadline: &Deadline) -> Result<Client> {
    let attempt = async || {
        let client = Client::connect(global, &server()).await?;
        client.call(Method::GET, "sys/homelab/keys", None, "look at the store").await?;
        Ok(client)
    };
    deadline.until("the secret server to let us in", attempt).await
}

/// Lists leave out what they are of.
fn of_type(object: &impl Serialize, api_version: &str, kind: &str) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = api_version.into();
    value["kind"] = kind.into();
    Ok(value)
}

/// As in `2 min 5 s`.
pub(super) fn minutes(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_told_with_its_cause() {
        let never = async || -> Result<()> { bail!("no pod runs") };
        let error = Deadline::after(Duration::ZERO).until("homelab to run", never).await.expect_err("it never comes");
        assert!(error.to_string().starts_with("waited for homelab to run: no pod runs"), "{error}");
        assert_eq!(Deadline::after(Duration::ZERO).until("it", async || Ok(7)).await.expect("there"), 7);
    }

    #[test]
    fn times() {
        assert_eq!(minutes(Duration::from_secs(59)), "59 s");
        assert_eq!(minutes(Duration::from_secs(125)), "2 min 5 s");
    }
}
