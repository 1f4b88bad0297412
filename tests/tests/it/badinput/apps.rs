//! Charts that do not render, images that do not exist, secrets that are not there or not allowed.

use anyhow::{Result, ensure};
use homelab_tests::case::{APP_FILE, Case, ask};
use serde_json::json;

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_chart_that_does_not_render_leaves_what_serves() -> Result<()> {
    let case = Case::new("chart").await?;
    let url = case.running().await?;
    case.repo.write("web/chart/templates/broken.yaml", "{{ fail \"this chart is broken\" }}\n")?;
    case.repo.push("break the chart").await?;
    let message = complaint(&case, "this chart is broken").await?;
    ensure!(message.contains("broken.yaml"), "the file is not named: {message}");
    case.told("App", "web", "this chart is broken").await?;
    ensure!(ask(&url).await?["version"] == "1", "version 1 no longer answers");
    case.repo.remove("web/chart/templates/broken.yaml")?;
    case.repo.push("mend the chart").await?;
    case.settled().await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn an_image_that_does_not_exist_fails_the_revision_only() -> Result<()> {
    let case = Case::new("image").await?;
    let url = case.running().await?;
    case.change("tag: dev", "tag: no-such-tag").await?;
    let message = case.says("App", "web", ("Failed", "True", "")).await?;
    ensure!(message.contains("no-such-tag"), "the image is not named: {message}");
    case.says("App", "web", ("Ready", "True", "")).await?;
    ensure!(ask(&url).await?["version"] == "1", "version 1 no longer answers");
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_secret_that_is_missing_or_denied_starts_nothing() -> Result<()> {
    let case = Case::new("nosecret").await?;
    let ns = case.namespace.clone();
    case.write_app("blueGreen: {keepWarm: 1h}")?;
    case.repo.push("an App whose secret nobody wrote").await?;
    case.sync("home", json!({})).await?;
    let path = format!("kv/{ns}/db");
    complaint(&case, &path).await?;
    case.told("App", "web", &path).await?;
    ensure!(case.cluster.list("v1", "Pod", &ns, "").await?.is_empty(), "a pod was started without its secret");

    case.put("db", "password=first").await?;
    case.settled().await?;
    let url = case.url("web").await?;
    case.repo.replace(APP_FILE, &path, "kv/somebody-else/db")?;
    case.repo.push("another namespace's secret").await?;
    let message = complaint(&case, "kv/somebody-else/db").await?;
    ensure!(message.contains("default"), "the account is not named: {message}");
    ensure!(ask(&url).await?["secret"]["password"] == "first", "what served no longer does");
    case.finish().await
}

/// Waits until a condition or the message of the App contains `text`.
async fn complaint(case: &Case, text: &str) -> Result<String> {
    let id = ("homelab.dev/v1alpha1", "App", case.namespace.as_str(), "web");
    let app = case
        .cluster
        .wait_for(id, &format!("saying {text:?}"), homelab_tests::case::LIMIT, |app| {
            app["status"].to_string().contains(text)
        })
        .await?;
    let conditions = app["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let mut messages = conditions.iter().filter_map(|c| c["message"].as_str()).filter(|m| m.contains(text));
    let found = messages.next_back().map(ToOwned::to_owned);
    Ok(found.unwrap_or_else(|| app["status"]["message"].as_str().unwrap_or_default().to_owned()))
}
