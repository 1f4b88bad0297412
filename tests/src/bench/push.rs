//! Push (webhook) → first request answered by the new version, by phase.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use homelab_core::meta::label;
use serde_json::{Value, json};

use super::process::sample;
use super::{Number, median};
use crate::case::{Case, LIMIT};
use crate::forge::hook;
use crate::load::{Intensity, Load};
use crate::wait;

const PHASES: [&str; 5] =
    ["hook → applied", "applied → release", "release → pods ready", "pods ready → switch", "switch → first answer"];
const PAUSE: Duration = Duration::from_millis(20);
const KEY: &str = "bench";

pub(super) async fn measure(case: &Case, pushes: usize) -> Result<Vec<Number>> {
    let meta = json!({"name": "hook", "namespace": case.namespace});
    case.cluster
        .apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"secret": KEY}}))
        .await?;
    case.sync("home", json!({"interval": "1h", "webhookSecretRef": {"name": "hook"}})).await?;
    let load = Load::start(&case.url("web").await?, Intensity::default())?;
    let id = case.daemon.id().context("the daemon does not run")?;
    let (before, start) = (sample(id)?, Instant::now());
    let mut rounds = Vec::new();
    for round in 0..pushes {
        rounds.push(one(case, &load, round + 1).await?);
    }
    let after = sample(id)?;
    let report = load.stop().await;
    ensure!(report.failed == 0, "{} requests failed: {:?}", report.failed, report.reasons());
    let middle = |at: usize| median(&mut rounds.iter().map(|round| round[at]).collect::<Vec<_>>());
    let mut numbers: Vec<Number> =
        PHASES.iter().enumerate().map(|(at, phase)| Number::new(*phase, middle(at), "s")).collect();
    let whole = median(&mut rounds.iter().map(|round| round.iter().sum()).collect::<Vec<f64>>());
    numbers.push(Number::new("push (hook) → first answer of the new version", whole, "s"));
    let share = (after.cpu - before.cpu) / start.elapsed().as_secs_f64() * 100.0;
    numbers.push(Number::new("daemon in rollouts: memory, peak", after.peak, "MiB").goal(40.0));
    numbers.push(Number::new("daemon in rollouts: CPU", share, "% of a core"));
    Ok(numbers)
}

/// One push; seconds of each phase.
async fn one(case: &Case, load: &Load, round: usize) -> Result<[f64; 5]> {
    case.settled().await?;
    let (from, to) = (format!("VERSION: \"{round}\""), format!("VERSION: \"{}\"", round + 1));
    let active = serving(case).await.map_err(anyhow::Error::msg)?;
    let commit = case.change(&from, &to).await?;
    let (start, since) = (Instant::now(), load.elapsed());
    let url = format!("{}/hooks/{}/home", case.daemon.hooks_url(&case.cluster), case.namespace);
    ensure!(hook(&url, KEY).await? == 202, "the webhook was refused");
    let mut times = [0.0; 5];
    let mut last = start;
    let mut lap = |at: usize| {
        times[at] = last.elapsed().as_secs_f64();
        last = Instant::now();
    };
    let version = (round + 1).to_string();
    wait::often("the App to be applied", LIMIT, PAUSE, async || {
        let app = get(case, "homelab.dev/v1alpha1", "App", "web").await?;
        (app.pointer("/spec/helm/values/env/VERSION") == Some(&json!(version)))
            .then_some(())
            .ok_or_else(|| commit.clone())
    })
    .await?;
    lap(0);
    let idle = if active == "blue" { "web-green" } else { "web-blue" };
    wait::often("the release", LIMIT, PAUSE, async || {
        let deployment = get(case, "apps/v1", "Deployment", idle).await?;
        let env = deployment.pointer("/spec/template/spec/containers/0/env").cloned().unwrap_or_default();
        let is_new = env.as_array().into_iter().flatten().any(|e| e["name"] == "VERSION" && e["value"] == *version);
        is_new.then_some(()).ok_or_else(|| env.to_string())
    })
    .await?;
    lap(1);
    wait::often("ready pods", LIMIT, PAUSE, async || {
        let deployment = get(case, "apps/v1", "Deployment", idle).await?;
        let status = &deployment["status"];
        let ready = status["updatedReplicas"] == deployment["spec"]["replicas"]
            && status["readyReplicas"] == status["updatedReplicas"];
        (ready && status["observedGeneration"] == deployment["metadata"]["generation"])
            .then_some(())
            .ok_or_else(|| status.to_string())
    })
    .await?;
    lap(2);
    wait::often("the switch", LIMIT, PAUSE, async || {
        let colour = serving(case).await?;
        (colour != active).then_some(()).ok_or(colour)
    })
    .await?;
    lap(3);
    let switched = load.elapsed();
    let first = load.wait_for("of the new version", since, LIMIT, |a| a.version == version).await?;
    // The first answer may have come before the switch was seen.
    times[4] = first.saturating_sub(switched).as_secs_f64();
    Ok(times)
}

async fn get(case: &Case, api_version: &str, kind: &str, name: &str) -> Result<Value, String> {
    let object = case.cluster.get(api_version, kind, &case.namespace, name).await.map_err(|e| format!("{e:#}"))?;
    object.ok_or_else(|| format!("there is no {kind} {name}"))
}

/// The colour that the App's Service selects.
async fn serving(case: &Case) -> Result<String, String> {
    let service = get(case, "v1", "Service", "web").await?;
    Ok(service["spec"]["selector"][label::COLOUR].as_str().unwrap_or_default().to_owned())
}
