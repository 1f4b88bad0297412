//! `homelab app`: see Apps, and write requests to them.

mod explain;
mod request;
mod show;

use anyhow::{Context as _, Result};
use homelab_rollout::api::v1alpha1::App;
use homelab_rollout::request::Verb;
use kube::{Api, ResourceExt as _};

use crate::args::{App as Command, Global};
use crate::cli::cluster::{Cluster, failed};

pub(crate) use show::{nothing, summary_heads, summary_row};

pub(crate) async fn run(global: &Global, command: Command) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    match command {
        Command::List { listing } => show::list(&cluster, listing).await,
        Command::Status { name, watch, output } => show::status(&cluster, &name, watch, output).await,
        Command::History { name, output } => show::history(&cluster, &name, output).await,
        Command::Explain { name, format } => explain::run(&cluster, &name, format).await,
        Command::Promote { request } => request::run(&cluster, Verb::Promote, &request, None).await,
        Command::Approve { request } => request::run(&cluster, Verb::Approve, &request, None).await,
        Command::Abort { request } => request::run(&cluster, Verb::Abort, &request, None).await,
        Command::Pause { request } => request::run(&cluster, Verb::Pause, &request, None).await,
        Command::Resume { request } => request::run(&cluster, Verb::Resume, &request, None).await,
        Command::Retry { request } => request::run(&cluster, Verb::Retry, &request, None).await,
        Command::Rollback { request, revision } => request::run(&cluster, Verb::Rollback, &request, revision).await,
    }
}

/// One App of the namespace.
async fn get(cluster: &Cluster, name: &str) -> Result<App> {
    let apps = Api::<App>::namespaced(cluster.client.clone(), &cluster.namespace);
    let found =
        apps.get_opt(name).await.map_err(|error| failed(&format!("read App {}/{name}", cluster.namespace), &error))?;
    found.with_context(|| {
        format!(
            "there is no App {name} in namespace {}; `homelab app list -A` shows all, -n names another namespace",
            cluster.namespace
        )
    })
}

/// The Apps of the namespace, or of all, by namespace and name.
pub(crate) async fn list(cluster: &Cluster, all: bool) -> Result<Vec<App>> {
    let apps = match all {
        true => Api::<App>::all(cluster.client.clone()),
        false => Api::<App>::namespaced(cluster.client.clone(), &cluster.namespace),
    };
    let mut items =
        apps.list(&kube::api::ListParams::default()).await.map_err(|error| failed("list Apps", &error))?.items;
    items.sort_by_key(|app| (app.namespace(), app.name_any()));
    Ok(items)
}
