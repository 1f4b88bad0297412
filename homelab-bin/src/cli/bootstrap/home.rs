//! The repository that the cluster holds, and its Apps.
#![expect(clippy::disallowed_methods, reason = "reads the file with the credentials")]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use homelab_core::condition;
use homelab_core::meta::manager;
use homelab_gitops::api::v1alpha1::GitSync;
use homelab_rollout::api::v1alpha1::App;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::waiting::Deadline;
use crate::args::Repository;
use crate::cli::cluster::{Cluster, failed};
use crate::cli::output;
use crate::daemon::OWNER;

const SYNC: &str = "home";
/// Secret with the credentials for the repository.
const CREDENTIALS: &str = "home-git";

/// What the API server would refuse, after everything else was done.
pub(super) fn check(repository: &Repository) -> Result<()> {
    let Some(url) = &repository.url else { return Ok(()) };
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        bail!("--repo {url}: the daemon fetches by https:// or http://");
    }
    if url.split("://").nth(1).is_some_and(|rest| rest.split('/').next().is_some_and(|host| host.contains('@'))) {
        bail!("--repo: credentials do not belong into the URL; --repo-token FILE and --repo-user take them");
    }
    if let Some(file) = &repository.repo_token {
        token(file)?;
    }
    Ok(())
}

fn token(file: &std::path::Path) -> Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read the token in {}", file.display()))?;
    let text = text.trim_end_matches(['\n', '\r']).to_owned();
    if text.is_empty() {
        bail!("there is no token in {}", file.display());
    }
    Ok(text)
}

/// Has the daemon follow the repository, as the owner.
pub(super) async fn follow(cluster: &Cluster, repository: &Repository) -> Result<()> {
    let url = repository.url.as_deref().unwrap_or_default();
    if let Some(file) = &repository.repo_token {
        credentials(cluster, repository.repo_user.as_deref(), token(file)?).await?;
    }
    let syncs = Api::<GitSync>::namespaced(cluster.client.clone(), &cluster.daemon);
    let object = sync(&cluster.daemon, url, repository);
    let name = format!("GitSync {}/{SYNC}", cluster.daemon);
    let applied = syncs.patch(SYNC, &params(), &Patch::Apply(&object)).await;
    applied.map_err(|error| failed(&format!("apply {name}"), &error))?;
    output::note(&format!("{name} follows {url}"));
    Ok(())
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(manager::CLI.into()), ..PatchParams::default() }
}

fn sync(namespace: &str, url: &str, repository: &Repository) -> Value {
    let mut spec = json!({
        "url": url, "path": repository.path, "interval": "1m", "prune": true, "serviceAccount": OWNER,
    });
    if let Some(branch) = &repository.branch {
        spec["ref"] = json!({"branch": branch});
    }
    if repository.repo_token.is_some() {
        spec["secretRef"] = json!({"name": CREDENTIALS});
    }
    json!({
        "apiVersion": "homelab.dev/v1alpha1", "kind": "GitSync",
        "metadata": {"name": SYNC, "namespace": namespace}, "spec": spec,
    })
}

async fn credentials(cluster: &Cluster, user: Option<&str>, token: String) -> Result<()> {
    let bytes = |text: String| ByteString(text.into_bytes());
    let data = match user {
        Some(user) => {
            BTreeMap::from([("username".to_owned(), bytes(user.to_owned())), ("password".to_owned(), bytes(token))])
        }
        None => BTreeMap::from([("token".to_owned(), bytes(token))]),
    };
    let metadata = ObjectMeta { name: Some(CREDENTIALS.into()), ..ObjectMeta::default() };
    let secret = Secret { metadata, data: Some(data), ..Secret::default() };
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), &cluster.daemon);
    let applied = secrets.patch(CREDENTIALS, &params(), &Patch::Apply(&secret)).await;
    applied.map(drop).map_err(|error| failed(&format!("apply Secret {}/{CREDENTIALS}", cluster.daemon), &error))
}

/// Waits until all that Git holds is applied and healthy, and every App serves.
pub(super) async fn ready(cluster: &Cluster, deadline: &Deadline) -> Result<()> {
    let (revision, apps) = deadline.until("the repository", async || look(cluster).await).await?;
    let apps = if apps == 1 { "its App is".into() } else { format!("its {apps} Apps are") };
    output::note(&format!("the cluster holds {revision}; {apps} Ready"));
    Ok(())
}

/// Revision and number of Apps, once everything is Ready.
async fn look(cluster: &Cluster) -> Result<(String, usize)> {
    let syncs = Api::<GitSync>::namespaced(cluster.client.clone(), &cluster.daemon);
    let sync = syncs.get(SYNC).await.map_err(|error| failed(&format!("read GitSync {SYNC}"), &error))?;
    let status = sync.status.clone().unwrap_or_default();
    if status.observed_generation != sync.metadata.generation {
        bail!("GitSync {SYNC} is not seen by the daemon yet");
    }
    is_ready(&status.conditions, &format!("GitSync {SYNC}"))?;
    let apps = Api::<App>::all(cluster.client.clone()).list(&ListParams::default()).await;
    let apps = apps.map_err(|error| failed("list Apps", &error))?.items;
    for app in &apps {
        let name = format!("App {}/{}", app.namespace().unwrap_or_default(), app.name_any());
        is_ready(app.status.as_ref().map_or(&[][..], |status| &status.conditions), &name)?;
    }
    Ok((status.revision.unwrap_or_else(|| "it".into()), apps.len()))
}

fn is_ready(conditions: &[Condition], name: &str) -> Result<()> {
    match condition::get(conditions, condition::READY) {
        Some(ready) if ready.status == "True" => Ok(()),
        Some(ready) => bail!("{name}: {}", ready.message),
        None => bail!("{name} has not begun"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(url: &str) -> Repository {
        Repository {
            url: Some(url.into()),
            branch: Some("main".into()),
            path: "clusters/home".into(),
            repo_token: None,
            repo_user: None,
        }
    }

    #[test]
    fn an_address_that_the_daemon_can_not_use_is_refused_at_the_start() {
        assert!(check(&repository("https://git.example/me/home.git")).is_ok());
        let wrong = |url: &str| check(&repository(url)).expect_err("refused").to_string();
        assert!(wrong("git@git.example:me/home.git").contains("https://"));
        let error = wrong("https://me:planted@git.example/home.git");
        assert!(error.contains("--repo-token") && !error.contains("planted"), "{error}");
    }

    #[test]
    fn the_owner_follows_the_repository() {
        let object = sync("homelab", "https://git.example/me/home.git", &repository("https://git.example/me/home.git"));
        insta::assert_json_snapshot!(object["spec"], @r#"
        {
          "interval": "1m",
          "path": "clusters/home",
          "prune": true,
          "ref": {
            "branch": "main"
          },
          "serviceAccount": "homelab-admin",
          "url": "https://git.example/me/home.git"
        }
        "#);
    }
}
