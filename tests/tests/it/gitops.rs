//! Git is what the cluster holds.

use anyhow::{Result, ensure};
use homelab_tests::case::{Case, LIMIT};
use serde_json::{Value, json};

fn settings(namespace: &str, name: &str, greeting: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{greeting: {greeting}}}\n"
    )
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_push_is_applied_repaired_and_pruned() -> Result<()> {
    let case = Case::new("push").await?;
    let ns = case.namespace.clone();
    case.repo.write("a.yaml", &settings(&ns, "a", "hello"))?;
    case.repo.write("b.yaml", &settings(&ns, "b", "hello"))?;
    let first = case.repo.push("two objects").await?;
    case.sync("home", json!({})).await?;
    case.applied("home", &first).await?;

    let id = ("v1", "ConfigMap", ns.as_str(), "a");
    case.cluster.delete(id.0, id.1, id.2, id.3).await?;
    case.cluster.wait_for(id, "made again", LIMIT, |_| true).await?;
    let mut foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": ns}});
    foreign["data"] = json!({"greeting": "changed by hand"});
    case.cluster.apply(&foreign).await?;
    case.cluster.wait_for(id, "repaired", LIMIT, |o| o["data"]["greeting"] == "hello").await?;

    case.repo.remove("b.yaml")?;
    case.repo.replace("a.yaml", "hello", "good morning")?;
    let second = case.repo.push("one object").await?;
    case.applied("home", &second).await?;
    ensure!(case.cluster.get("v1", "ConfigMap", &ns, "b").await?.is_none(), "b was not pruned");
    let third = case.repo.revert().await?;
    case.applied("home", &third).await?;
    ensure!(case.cluster.get("v1", "ConfigMap", &ns, "b").await?.is_some(), "b did not come back with the revert");
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_signed_webhook_is_a_poll_and_an_unsigned_one_is_not() -> Result<()> {
    let case = Case::new("hook").await?;
    let ns = case.namespace.clone();
    case.repo.write("a.yaml", &settings(&ns, "a", "hello"))?;
    let first = case.repo.push("first").await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook", "namespace": ns}, "stringData": {"secret": "s3cret"}});
    case.cluster.apply(&secret).await?;
    case.sync("home", json!({"interval": "1h", "webhookSecretRef": {"name": "hook"}})).await?;
    case.applied("home", &first).await?;
    case.repo.replace("a.yaml", "hello", "later")?;
    let second = case.repo.push("second").await?;
    let url = format!("{}/hooks/{ns}/home", case.daemon.hooks_url(&case.cluster));
    ensure!(homelab_tests::forge::hook(&url, "wrong").await? == 401, "a wrongly signed webhook was not refused");
    ensure!(homelab_tests::forge::hook(&url, "s3cret").await? == 202, "a signed webhook was not accepted");
    case.applied("home", &second).await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn writes_are_made_as_the_account_and_not_as_the_daemon() -> Result<()> {
    let case = Case::new("account").await?;
    let ns = case.namespace.clone();
    case.repo.write("a.yaml", &settings(&ns, "a", "hello"))?;
    case.repo.push("first").await?;
    case.sync("home", json!({"serviceAccount": "default"})).await?;
    let message = case.says("GitSync", "home", ("Ready", "False", "AccountNotAllowed")).await?;
    ensure!(message.contains(&format!("system:serviceaccount:{ns}:default")), "{message}");
    let none: Option<Value> = case.cluster.get("v1", "ConfigMap", &ns, "a").await?;
    ensure!(none.is_none(), "something was written without a right");
    case.finish().await
}
