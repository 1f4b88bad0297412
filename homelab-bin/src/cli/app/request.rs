//! Requests: one annotation on the App, and the wait for its answer in `status.lastRequest`.
#![expect(clippy::disallowed_methods, reason = "a request has a random id, and waiting looks at the clock")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use homelab_core::meta::{annotation, manager};
use homelab_rollout::api::v1alpha1::{App, RequestStatus};
use homelab_rollout::request::{Request, Verb};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::args;
use crate::cli::cluster::{Cluster, failed};
use crate::cli::output;
use crate::cli::patience::Vigil;

const POLL: Duration = Duration::from_millis(300);

pub(super) async fn run(cluster: &Cluster, verb: Verb, args: &args::Request, revision: Option<String>) -> Result<()> {
    // Reading first tells "no such App" apart from "may not", in words that help.
    super::get(cluster, &args.name).await?;
    let request = Request {
        id: id()?,
        verb,
        revision,
        by: cluster.username().await?,
        reason: args.reason.clone().unwrap_or_default(),
    };
    write(cluster, &args.name, &request).await?;
    let app = format!("App {}/{}", cluster.namespace, args.name);
    if args.no_wait {
        output::note(&format!("asked {app} to {verb}; `homelab app status {}` shows the answer", args.name));
        return Ok(());
    }
    let answer = wait(cluster, &args.name, &request.id, args.timeout).await?;
    match answer.outcome.as_str() {
        "accepted" => {
            output::note(&format!("{app}: {verb} accepted: {}", answer.message));
            Ok(())
        }
        outcome => bail!("{app}: {verb} {outcome}: {}", answer.message),
    }
}

async fn write(cluster: &Cluster, name: &str, request: &Request) -> Result<()> {
    let apps = Api::<App>::namespaced(cluster.client.clone(), &cluster.namespace);
    // A merge patch: unlike an apply it never makes an App.
    let patch = json!({"metadata": {"annotations": {annotation::REQUEST: request.to_string()}}});
    let params = PatchParams { field_manager: Some(manager::CLI.into()), ..PatchParams::default() };
    let action = format!("ask App {}/{name} to {}", cluster.namespace, request.verb);
    apps.patch_metadata(name, &params, &Patch::Merge(&patch)).await.map(drop).map_err(|error| failed(&action, &error))
}

async fn wait(cluster: &Cluster, name: &str, id: &str, timeout: Duration) -> Result<RequestStatus> {
    let apps = Api::<App>::namespaced(cluster.client.clone(), &cluster.namespace);
    let until = Instant::now() + timeout;
    let whom = format!("App {}/{name}", cluster.namespace);
    let mut vigil = Vigil::begin();
    loop {
        let app = apps.get_status(name).await.map_err(|error| failed(&format!("read {whom}"), &error))?;
        if let Some(answer) = app.status.and_then(|status| status.last_request).filter(|answer| answer.id == id) {
            return Ok(answer);
        }
        if Instant::now() >= until {
            bail!(
                "{whom} has not answered in {}s; the request stays written and is answered when the daemon runs (`homelab status`)",
                timeout.as_secs()
            );
        }
        vigil.look(cluster, &whom).await.with_context(|| {
            format!("{whom} has not answered; the request stays written and is answered when the daemon runs")
        })?;
        tokio::time::sleep(POLL).await;
    }
}

fn id() -> Result<String> {
    let mut bytes = [0; 5];
    getrandom::fill(&mut bytes).context("make a random id")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
