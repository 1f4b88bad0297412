//! The store, and pods outside Apps.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use homelab_tests::case::{Case, LIMIT};
use homelab_tests::wait;
use serde_json::{Value, json};

#[tokio::test]
#[ignore = "needs a cluster"]
async fn what_was_answered_survives_a_kill() -> Result<()> {
    let mut case = Case::new("durable").await?;
    let path = format!("kv/{}/db", case.namespace);
    case.put("db", "password=first").await?;
    case.put("db", "password=second").await?;
    case.daemon.kill().await?;
    case.daemon.restart().await?;
    let newest = case.daemon.cli(&case.cluster, ["kv", "get", &path, "--field", "password"]).await?;
    ensure!(newest.text() == "second", "{newest:?} {}", newest.complaint());
    let first = case.daemon.cli(&case.cluster, ["kv", "get", &path, "--field", "password", "--version", "1"]).await?;
    ensure!(first.text() == "first", "{first:?} {}", first.complaint());
    let refused = case.daemon.cli(&case.cluster, ["kv", "put", &path, "password=third", "--cas", "1"]).await?;
    ensure!(!refused.status.success(), "check-and-set with an old version was accepted");
    case.daemon.stop(Duration::from_secs(15)).await?;
    case.daemon.restart().await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_store_that_was_put_back_takes_no_writes_until_somebody_accepts_it() -> Result<()> {
    let mut case = Case::new("putback").await?;
    let path = format!("kv/{}/db", case.namespace);
    case.put("db", "password=first").await?;
    case.daemon.stop(Duration::from_secs(15)).await?;
    let store = case.daemon.data().join("store.redb");
    let backup = tokio::fs::read(&store).await?;
    case.daemon.restart().await?;
    let before = copied_head(&case).await?;
    case.put("db", "password=second").await?;
    wait::until("the head to be copied", LIMIT, async || match copied_head(&case).await {
        Ok(head) if head != before => Ok(()),
        head => Err(format!("{head:?}")),
    })
    .await?;
    case.daemon.stop(Duration::from_secs(15)).await?;
    tokio::fs::write(&store, backup).await?;

    case.daemon.launch()?;
    case.daemon.not_ready("accept-rollback").await?;
    let read = case.daemon.cli(&case.cluster, ["kv", "get", &path, "--field", "password"]).await?;
    ensure!(read.text() == "first", "reads go on: {}", read.complaint());
    let refused = case.daemon.cli(&case.cluster, ["kv", "put", &path, "password=third"]).await?;
    ensure!(refused.complaint().contains("homelab secrets accept-rollback"), "{}", refused.complaint());
    let accepted = case.daemon.cli(&case.cluster, ["secrets", "accept-rollback"]).await?;
    ensure!(accepted.status.success(), "{}", accepted.complaint());
    case.daemon.wait_ready().await?;
    case.put("db", "password=third").await?;
    case.finish().await
}

async fn copied_head(case: &Case) -> Result<Value> {
    let found = case.cluster.get("v1", "ConfigMap", &case.namespace, "homelab-head").await?;
    Ok(found.context("there is no ConfigMap homelab-head")?["data"].clone())
}

fn pod(namespace: &str, secrets: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "lone", "namespace": namespace, "labels": {"homelab.dev/inject": "true"},
            "annotations": {"homelab.dev/secrets": secrets}},
        "spec": {"containers": [{"name": "app", "image": "homelab.dev/testapp:dev", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "SECRET_DIR", "value": "/run/secrets/db"}]}]},
    })
}

async fn allow(case: &Case) -> Result<()> {
    let spec = json!({"rules": [{"serviceAccounts": ["default"], "paths": [format!("kv/{}/*", case.namespace)], "capabilities": ["read"]}]});
    let meta = json!({"name": "all", "namespace": case.namespace});
    case.cluster
        .apply(&json!({"apiVersion": "homelab.dev/v1alpha1", "kind": "SecretPolicy", "metadata": meta, "spec": spec}))
        .await?;
    case.says("SecretPolicy", "all", ("Ready", "True", "")).await.map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_pod_outside_apps_gets_its_secret_or_does_not_start() -> Result<()> {
    let mut case = Case::new("inject").await?;
    let ns = case.namespace.clone();
    let wish = format!("kv/{ns}/db=files:/run/secrets/db");
    case.put("db", "password=first").await?;
    allow(&case).await?;
    case.cluster.apply(&pod(&ns, &wish)).await?;
    let id = ("v1", "Pod", ns.as_str(), "lone");
    let running = case.cluster.wait_healthy(id, LIMIT).await?;
    let address = running["status"]["podIP"].as_str().unwrap_or_default();
    let answer = homelab_tests::case::ask(&format!("http://{address}:8080/")).await?;
    ensure!(answer["secret"]["password"] == "first", "{answer}");
    case.cluster.delete(id.0, id.1, id.2, id.3).await?;
    case.gone(id).await?;

    case.daemon.kill().await?;
    let refused = case.cluster.apply(&pod(&ns, &wish)).await;
    ensure!(refused.is_err(), "a pod that wants secrets was let in while nobody could give them");
    case.daemon.restart().await?;
    let denied = case.cluster.apply(&pod(&ns, "kv/other/db=files:/run/secrets/db")).await;
    let error = denied.err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(error.contains("kv/other/db"), "a denied path must be named: {error:?}");
    case.finish().await
}
