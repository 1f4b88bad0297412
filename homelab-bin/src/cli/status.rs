//! `homelab status`: the daemon, GitSyncs and Apps at a glance.

use anyhow::Result;
use homelab_core::condition;
use homelab_gitops::api::v1alpha1::GitSync;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::cluster::{Cluster, failed, now};
use super::output::{self, Table, age, state};
use super::{app, watch};
use crate::args::{Global, Status};
use crate::daemon::LEASE;

/// Version of what `-o json` prints.
const FORMAT: u32 = 1;

pub(crate) async fn run(global: &Global, args: Status) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let all = args.listing.all_namespaces || global.namespace.is_none();
    watch(args.listing.watch, async || page(&cluster, all, args).await).await
}

async fn page(cluster: &Cluster, all: bool, args: Status) -> Result<String> {
    let daemon = daemon(cluster).await?;
    let syncs = syncs(cluster, all).await?;
    let apps = app::list(cluster, all).await?;
    if let Some(format) = args.listing.output.format {
        let syncs: Vec<_> = syncs
            .iter()
            .map(|s| json!({"namespace": s.namespace(), "name": s.name_any(), "status": s.status}))
            .collect();
        let apps: Vec<_> = apps
            .iter()
            .map(|a| json!({"namespace": a.namespace(), "name": a.name_any(), "status": a.status}))
            .collect();
        let daemon = json!({"namespace": cluster.daemon, "leader": daemon.leader, "alive": daemon.alive});
        return output::rendered(&json!({"format": FORMAT, "daemon": daemon, "gitSyncs": syncs, "apps": apps}), format);
    }
    let mut text = format!("{}\n", daemon.words);
    let mut table = Table::new(["NAMESPACE", "GITSYNC", "READY", "REVISION", "OBJECTS", "AGE", "STATUS"]);
    syncs.iter().for_each(|sync| table.row(sync_row(sync)));
    if !syncs.is_empty() {
        text.push_str(&format!("\n{}", table.text()));
    }
    let mut table = Table::new(app::summary_heads(true));
    apps.iter().for_each(|app| table.row(app::summary_row(app, true)));
    if !apps.is_empty() {
        text.push_str(&format!("\n{}", table.text()));
    }
    if syncs.is_empty() && apps.is_empty() {
        output::note(&app::nothing(cluster, all, "GitSync and no App"));
    }
    Ok(text)
}

/// What the Lease says about the daemon.
pub(super) struct Daemon {
    leader: Option<String>,
    pub(super) alive: bool,
    pub(super) words: String,
}

pub(super) async fn daemon(cluster: &Cluster) -> Result<Daemon> {
    let leases = Api::<Lease>::namespaced(cluster.client.clone(), &cluster.daemon);
    let action = format!("read Lease {}/{LEASE}", cluster.daemon);
    let lease = leases.get_opt(LEASE).await.map_err(|error| failed(&action, &error))?;
    let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
    let renewed = spec.renew_time.map(|time| time.0);
    let duration = i64::from(spec.lease_duration_seconds.unwrap_or(15));
    let leader = spec.holder_identity.filter(|holder| !holder.is_empty());
    let (Some(holder), Some(renewed)) = (leader.clone(), renewed) else {
        let words = format!(
            "daemon: {} in namespace {} (--daemon-namespace names another)",
            state("none leads", Some(false)),
            cluster.daemon
        );
        return Ok(Daemon { leader: None, alive: false, words });
    };
    let alive = now().duration_since(renewed).as_secs() <= duration;
    let ago = age(renewed, now());
    let words = match alive {
        true => format!("daemon: {holder} {} (renewed {ago} ago)", state("leads", Some(true))),
        false => format!(
            "daemon: {holder} {} for {ago}; look at its pod in namespace {}",
            state("is silent", Some(false)),
            cluster.daemon
        ),
    };
    Ok(Daemon { leader, alive, words })
}

async fn syncs(cluster: &Cluster, all: bool) -> Result<Vec<GitSync>> {
    let api = match all {
        true => Api::<GitSync>::all(cluster.client.clone()),
        false => Api::<GitSync>::namespaced(cluster.client.clone(), &cluster.namespace),
    };
    let mut items =
        api.list(&kube::api::ListParams::default()).await.map_err(|error| failed("list GitSyncs", &error))?.items;
    items.sort_by_key(|sync| (sync.namespace(), sync.name_any()));
    Ok(items)
}

fn sync_row(sync: &GitSync) -> [String; 7] {
    let status = sync.status.clone().unwrap_or_default();
    let ready = condition::get(&status.conditions, condition::READY);
    let word = ready.map_or("Unknown", |ready| ready.status.as_str());
    let good = match word {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    };
    let objects = status.inventory.map_or_else(|| "-".into(), |i| format!("{}/{} healthy", i.healthy, i.objects));
    [
        sync.namespace().unwrap_or_default(),
        sync.name_any(),
        state(word, good),
        status.revision.unwrap_or_else(|| "-".into()),
        objects,
        sync.creation_timestamp().map_or_else(|| "-".into(), |time| age(time.0, now())),
        ready.map(|ready| ready.message.clone()).unwrap_or_default(),
    ]
}
