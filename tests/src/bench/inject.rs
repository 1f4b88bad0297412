//! How secrets come into pods: the agent beside OpenBao's, its sidecar, the webhook, a changed secret, a store that comes
//! back.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homelab_core::meta::TOKEN_AUDIENCE;
use reqwest::Certificate;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Number, median, output};
use crate::case::{Case, LIMIT};
use crate::load::{Intensity, Load};

pub(super) mod agent;
mod store;
mod webhook;

/// How often a secret is changed.
const CHANGES: usize = 3;

/// What everything that asks the secret server needs.
pub(super) struct Access {
    folder: TempDir,
    /// A token of the pods' account for our audience.
    token: PathBuf,
    pem: String,
    http: reqwest::Client,
    address: String,
}

impl Access {
    pub(super) async fn new(case: &Case) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let token = folder.path().join("token");
        std::fs::write(&token, jwt(case, "default").await?)?;
        let ca = case.cluster.get("v1", "ConfigMap", &case.namespace, "homelab-ca").await?;
        let ca = ca.context("no ConfigMap homelab-ca")?;
        let pem = ca["data"]["ca.crt"].as_str().context("the ConfigMap homelab-ca has no key ca.crt")?.to_owned();
        let http = reqwest::Client::builder().tls_certs_only([Certificate::from_pem(pem.as_bytes())?]).build()?;
        Ok(Self { folder, token, pem, http, address: case.daemon.secrets_url(&case.cluster) })
    }

    /// Logs in with a token of a ServiceAccount; gives the one of the secret server.
    async fn login(&self, jwt: &str) -> Result<String> {
        let url = format!("{}/v1/auth/kubernetes/login", self.address);
        let answer =
            self.http.post(url).json(&json!({"role": "homelab-agent", "jwt": jwt})).send().await?.error_for_status()?;
        let answer: Value = answer.json().await?;
        Ok(answer["auth"]["client_token"].as_str().context("a login without a token")?.to_owned())
    }
}

async fn jwt(case: &Case, account: &str) -> Result<String> {
    let audience = format!("--audience={TOKEN_AUDIENCE}");
    let made = case.cluster.kubectl(["create", "token", account, "-n", &case.namespace, &audience]).await?;
    Ok(made.text().trim().to_owned())
}

/// Measures everything, prints a table and writes `target/bench/inject.json`.
pub async fn run() -> Result<()> {
    let case = Case::new("inject").await?;
    let mut numbers = Vec::new();
    let measured = measure(&case, &mut numbers).await;
    output::table(&numbers);
    super::write("inject", &numbers)?;
    measured?;
    case.finish().await
}

async fn measure(case: &Case, numbers: &mut Vec<Number>) -> Result<()> {
    case.running().await?;
    let access = Access::new(case).await?;
    output::say("version 1 runs; measuring the agent beside OpenBao's");
    numbers.extend(agent::measure(case, &access, true).await?);
    output::say("measuring the sidecar");
    numbers.push(agent::sidecar(case, &access).await?);
    output::say("measuring the webhook");
    numbers.extend(webhook::measure(case, &access).await?);
    output::say(format!("measuring {CHANGES} changes of a secret"));
    numbers.push(changes(case).await?);
    output::say("measuring the backup of many secrets, and its return");
    numbers.extend(store::measure(case, &access).await?);
    Ok(())
}

/// `homelab kv put` → the first answer of a pod that has it.
async fn changes(case: &Case) -> Result<Number> {
    let load = Load::start(&case.url("web").await?, Intensity::default())?;
    let mut times = Vec::new();
    for round in 0..CHANGES {
        case.settled().await?;
        let since = load.elapsed();
        let start = Instant::now();
        case.put("db", &format!("password=changed-{round}")).await?;
        let wanted = format!("password=changed-{round}");
        load.wait_for("with the new secret", since, LIMIT, |answer| answer.secret == wanted).await?;
        times.push(start.elapsed().as_secs_f64());
    }
    let report = load.stop().await;
    ensure!(report.failed == 0, "{} requests failed: {:?}", report.failed, report.reasons());
    Ok(Number::new("changed secret → first answer of a pod that has it (blue-green)", median(&mut times), "s"))
}

/// The value that this share of all is not above.
pub(super) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
