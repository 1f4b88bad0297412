//! `homelab sync`: ask a GitSync to fetch now, and wait until it has applied.
#![expect(clippy::disallowed_methods, reason = "waiting looks at the clock")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use homelab_core::condition;
use homelab_core::meta::{annotation, manager};
use homelab_gitops::api::v1alpha1::{GitSync, GitSyncStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::cluster::{Cluster, failed, now};
use super::output;
use super::patience::Vigil;
use crate::args::{Global, Sync};

const POLL: Duration = Duration::from_millis(300);

pub(crate) async fn run(global: &Global, args: Sync) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let syncs = Api::<GitSync>::namespaced(cluster.client.clone(), &cluster.namespace);
    let name = format!("GitSync {}/{}", cluster.namespace, args.name);
    let found = syncs.get_opt(&args.name).await.map_err(|error| failed(&format!("read {name}"), &error))?;
    let sync = found
        .with_context(|| format!("there is no {name}; `homelab status -A` shows all, -n names another namespace"))?;
    if sync.spec.suspend {
        bail!("{name} is suspended; set spec.suspend to false first");
    }
    let asked = now().to_string();
    let patch = json!({"metadata": {"annotations": {annotation::SYNC_REQUESTED_AT: asked}}});
    let params = PatchParams { field_manager: Some(manager::CLI.into()), ..PatchParams::default() };
    let patched = syncs.patch_metadata(&args.name, &params, &Patch::Merge(&patch)).await;
    patched.map_err(|error| failed(&format!("ask {name} to sync"), &error))?;
    if args.no_wait {
        output::note(&format!("asked {name} to sync"));
        return Ok(());
    }
    let until = Instant::now() + args.timeout;
    let mut vigil = Vigil::begin();
    loop {
        let current = syncs.get_status(&args.name).await.map_err(|error| failed(&format!("read {name}"), &error))?;
        let status = current.status.unwrap_or_default();
        if let Some(end) = ended(&status, &asked) {
            return end
                .map(|revision| output::note(&format!("{name} holds {revision}")))
                .map_err(|why| anyhow::anyhow!("{name}: {why}"));
        }
        if Instant::now() >= until {
            bail!("{name} is not done after {}s: {}", args.timeout.as_secs(), waits(&status));
        }
        if status.last_handled_sync.as_deref() != Some(asked.as_str()) {
            let asked = || format!("{name} is not fetched; it was asked to be, and will be when the daemon runs");
            vigil.look(&cluster, &name).await.with_context(asked)?;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether the sync that was asked for has ended: the commit that is applied, or why it failed.
fn ended(status: &GitSyncStatus, asked: &str) -> Option<Result<String, String>> {
    if status.last_handled_sync.as_deref() != Some(asked) {
        return None;
    }
    if condition::is_true(&status.conditions, condition::RECONCILING) {
        return None;
    }
    let ready = condition::get(&status.conditions, condition::READY)?;
    match ready.status.as_str() {
        "True" => Some(Ok(status.last_applied_revision.clone().unwrap_or_default())),
        "False" => Some(Err(ready.message.clone())),
        _ => None,
    }
}

fn waits(status: &GitSyncStatus) -> String {
    if !status.waiting_for.is_empty() {
        return format!("it waits for {}", status.waiting_for.join("; "));
    }
    let ready = condition::get(&status.conditions, condition::READY).map(|ready| ready.message.clone());
    ready
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| "the daemon has not answered; see `homelab status`".into())
}
