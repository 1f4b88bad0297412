//! `homelab app list|status|history`.

use anyhow::Result;
use homelab_rollout::api::v1alpha1::{App, AppStatus, HistoryEntry};
use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::json;

use crate::args::{Listing, Output};
use crate::cli::cluster::{Cluster, now};
use crate::cli::output::{self, Table, age, state};
use crate::cli::watch;

/// Version of what `-o json` prints.
const FORMAT: u32 = 1;

/// One App for programs.
#[derive(Serialize)]
struct Item<'a> {
    namespace: String,
    name: String,
    status: Option<&'a AppStatus>,
}

impl<'a> Item<'a> {
    fn of(app: &'a App) -> Self {
        Self { namespace: app.namespace().unwrap_or_default(), name: app.name_any(), status: app.status.as_ref() }
    }
}

pub(super) async fn list(cluster: &Cluster, listing: Listing) -> Result<()> {
    watch(listing.watch, async || {
        let apps = super::list(cluster, listing.all_namespaces).await?;
        if let Some(format) = listing.output.format {
            let items: Vec<_> = apps.iter().map(Item::of).collect();
            return output::rendered(&json!({"format": FORMAT, "items": items}), format);
        }
        if apps.is_empty() {
            output::note(&nothing(cluster, listing.all_namespaces, "App"));
        }
        let mut table = Table::new(summary_heads(listing.all_namespaces));
        for app in &apps {
            table.row(summary_row(app, listing.all_namespaces));
        }
        Ok(table.text())
    })
    .await
}

/// "No App in namespace web", for people.
pub(crate) fn nothing(cluster: &Cluster, all: bool, kind: &str) -> String {
    match all {
        true => format!("there is no {kind} in any namespace"),
        false => format!("there is no {kind} in namespace {} (-A shows all namespaces)", cluster.namespace),
    }
}

/// Heads of a table of Apps.
pub(crate) fn summary_heads(all: bool) -> Vec<&'static str> {
    let heads = ["NAME", "READY", "PHASE", "ACTIVE", "TARGET", "AGE", "MESSAGE"];
    all.then_some("NAMESPACE").into_iter().chain(heads).collect()
}

/// An App in one line.
pub(crate) fn summary_row(app: &App, all: bool) -> Vec<String> {
    let status = app.status.clone().unwrap_or_default();
    let cells = [
        app.name_any(),
        condition(&status, "Ready"),
        phase(&status.phase),
        active(&status),
        status.target.clone().unwrap_or_else(|| "-".into()),
        app.creation_timestamp().map_or_else(|| "-".into(), |time| age(time.0, now())),
        status.message.clone(),
    ];
    all.then(|| app.namespace().unwrap_or_default()).into_iter().chain(cells).collect()
}

fn phase(phase: &str) -> String {
    match phase {
        "" => state("Unseen", None),
        "Serving" => state(phase, Some(true)),
        "Failed" | "Stalled" => state(phase, Some(false)),
        _ => state(phase, None),
    }
}

fn active(status: &AppStatus) -> String {
    match &status.active {
        None => "-".into(),
        Some(active) => match &active.colour {
            Some(colour) => format!("{colour}@{}", active.revision),
            None => active.revision.clone(),
        },
    }
}

fn condition(status: &AppStatus, type_: &str) -> String {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .map_or_else(|| "Unknown".into(), |c| c.status.clone())
}

pub(super) async fn status(cluster: &Cluster, name: &str, again: bool, out: Output) -> Result<()> {
    watch(again, async || {
        let app = super::get(cluster, name).await?;
        if let Some(format) = out.format {
            return output::rendered(&json!({"format": FORMAT, "app": Item::of(&app)}), format);
        }
        Ok(picture(&app))
    })
    .await
}

/// An App on one page.
pub(super) fn picture(app: &App) -> String {
    let status = app.status.clone().unwrap_or_default();
    let mut text =
        format!("App {}/{}  {}\n", app.namespace().unwrap_or_default(), app.name_any(), phase(&status.phase));
    if !status.message.is_empty() {
        text.push_str(&format!("{}\n", status.message));
    }
    if status.observed_generation != app.metadata.generation {
        text.push_str("(the daemon has not looked at the newest spec yet)\n");
    }
    text.push_str(&format!("active {}, wanted {}\n", active(&status), status.target.as_deref().unwrap_or("-")));
    for table in [slots(&status), gates(&status), conditions(&status)].into_iter().flatten() {
        text.push_str(&format!("\n{}", table.text()));
    }
    if let Some(request) = &status.last_request {
        text.push_str(&format!("\nlast request: {} {}: {}\n", request.verb, request.outcome, request.message));
    }
    text
}

fn slots(status: &AppStatus) -> Option<Table> {
    let mut table = Table::new(["RELEASE", "COLOUR", "REVISION", "MODE", "WEIGHT", "READY PODS", "PROBLEMS"]);
    for slot in &status.slots {
        let weight = slot.colour.as_ref().and_then(|colour| status.weights.get(colour));
        table.row([
            slot.release.clone(),
            slot.colour.clone().unwrap_or_else(|| "-".into()),
            slot.revision.clone().unwrap_or_else(|| "-".into()),
            slot.mode.clone(),
            weight.map_or_else(|| "-".into(), |weight| format!("{weight}%")),
            slot.ready_endpoints.to_string(),
            slot.problems.join("; "),
        ]);
    }
    (!status.slots.is_empty()).then_some(table)
}

fn gates(status: &AppStatus) -> Option<Table> {
    let mut table = Table::new(["GATE", "REVISION", "VERDICT", "AGE", "DETAIL"]);
    for gate in &status.gates {
        let verdict = match gate.verdict.as_str() {
            "passed" => state("passed", Some(true)),
            "failed" => state("failed", Some(false)),
            other => state(other, None),
        };
        table.row([gate.name.clone(), gate.revision.clone(), verdict, age(gate.at.0, now()), gate.detail.clone()]);
    }
    (!status.gates.is_empty()).then_some(table)
}

fn conditions(status: &AppStatus) -> Option<Table> {
    let mut table = Table::new(["CONDITION", "STATUS", "SINCE", "REASON", "MESSAGE"]);
    for condition in &status.conditions {
        table.row([
            condition.type_.clone(),
            condition.status.clone(),
            age(condition.last_transition_time.0, now()),
            condition.reason.clone(),
            condition.message.clone(),
        ]);
    }
    (!status.conditions.is_empty()).then_some(table)
}

pub(super) async fn history(cluster: &Cluster, name: &str, out: Output) -> Result<()> {
    let app = super::get(cluster, name).await?;
    let status = app.status.unwrap_or_default();
    if let Some(format) = out.format {
        let shown =
            json!({"format": FORMAT, "namespace": cluster.namespace, "name": name, "revisions": status.history});
        return output::data(&shown, format);
    }
    let serves = status.active.as_ref().map(|active| active.revision.as_str());
    let mut table = Table::new(["REVISION", "STATE", "AGE", "CHART", "SECRETS", "REASON"]);
    for entry in &status.history {
        table.row([
            entry.revision.clone(),
            word(entry, serves),
            age(entry.created.0, now()),
            entry.chart.clone(),
            if entry.secrets.is_empty() { "-".into() } else { entry.secrets.join(",") },
            match &entry.cannot_return {
                Some(why) => format!("cannot return: {why}"),
                None => entry.failed.as_ref().or(entry.rolled_back.as_ref()).unwrap_or(&entry.reason).clone(),
            },
        ]);
    }
    table.print(&format!("App {}/{name} keeps no revision yet", cluster.namespace))
}

fn word(entry: &HistoryEntry, serves: Option<&str>) -> String {
    match (&entry.failed, &entry.activated_at) {
        _ if serves == Some(entry.revision.as_str()) => state("serves", Some(true)),
        _ if entry.cannot_return.is_some() => state("gone", Some(false)),
        _ if entry.rolled_back.is_some() => state("rolled back", None),
        (Some(_), _) => state("failed", Some(false)),
        (None, Some(_)) => "served".into(),
        (None, None) => "new".into(),
    }
}
