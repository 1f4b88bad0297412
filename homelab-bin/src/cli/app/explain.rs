//! `homelab app explain`: why an App is as it is.
#![expect(clippy::disallowed_methods, reason = "HOMELAB_DEBUG_ADDR names the debug listener of a daemon on a host")]

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::show;
use crate::args::{ExplainFormat, Format};
use crate::cli::cluster::{Cluster, failed, now};
use crate::cli::forward;
use crate::cli::output::{self, Table, age};

/// Port of the debug listener in the daemon's pod, as the chart sets it.
const DEBUG: u16 = 9091;

/// Newest events that are shown.
const EVENTS: usize = 15;

pub(super) async fn run(cluster: &Cluster, name: &str, format: Option<ExplainFormat>) -> Result<()> {
    let app = super::get(cluster, name).await?;
    if format == Some(ExplainFormat::Case) {
        return case(cluster, name).await;
    }
    output::bytes(show::picture(&app).as_bytes())?;
    output::line("")?;
    events(cluster, &app.uid().unwrap_or_default()).await?.print("no events: nothing happened lately")
}

/// Spec, observation and time as the daemon last saw them: a test case of the planner.
async fn case(cluster: &Cluster, name: &str) -> Result<()> {
    let given = std::env::var("HOMELAB_DEBUG_ADDR").ok();
    let forward = match given {
        Some(_) => None,
        None => forward::open(cluster.client.clone(), &cluster.daemon, DEBUG).await?,
    };
    let Some(address) = given.or_else(|| forward.as_ref().map(|forward| forward.address.to_string())) else {
        bail!(
            "no pod of the daemon is ready in namespace {} (for a daemon on a host set HOMELAB_DEBUG_ADDR to its --listen-debug)",
            cluster.daemon
        );
    };
    let url = format!("http://{address}/cases/{}/{name}", cluster.namespace);
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(std::time::Duration::from_secs(30))
        .build()
        .context("prepare the connection")?;
    let answer = client.get(url).send().await.context("ask the daemon's debug listener")?;
    let good = answer.status().is_success();
    let text = answer.text().await.context("read the daemon's answer")?;
    if !good {
        bail!("{}", text.trim());
    }
    let case: serde_json::Value = serde_json::from_str(&text).context("read the daemon's answer")?;
    output::data(&case, Format::Yaml)
}

async fn events(cluster: &Cluster, uid: &str) -> Result<Table> {
    let api = Api::<Event>::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = api.list(&ListParams::default().fields(&format!("involvedObject.uid={uid}"))).await;
    let mut events = found.map_err(|error| failed("list its events", &error))?.items;
    events.sort_by_key(time);
    let mut table = Table::new(["AGE", "TYPE", "REASON", "WHAT HAPPENED"]);
    for event in events.iter().rev().take(EVENTS).rev() {
        table.row([
            time(event).map_or_else(|| "-".into(), |at| age(at, now())),
            event.type_.clone().unwrap_or_default(),
            event.reason.clone().unwrap_or_default(),
            event.message.clone().unwrap_or_default(),
        ]);
    }
    Ok(table)
}

fn time(event: &Event) -> Option<jiff::Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|t| t.0);
    let last = event.last_timestamp.as_ref().map(|t| t.0);
    series.or(last).or_else(|| event.event_time.as_ref().map(|t| t.0))
}
