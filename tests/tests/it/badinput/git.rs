//! Git that is down, wrong, closed or broken.

use anyhow::{Result, ensure};
use homelab_tests::case::Case;
use homelab_tests::wait;
use serde_json::json;

const GOOD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good, namespace: NAMESPACE}\ndata: {a: b}\n";

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_forge_that_is_down_is_said_and_what_runs_goes_on() -> Result<()> {
    let case = Case::new("gitdown").await?;
    let ns = case.namespace.clone();
    case.repo.write("good.yaml", &GOOD.replace("NAMESPACE", &ns))?;
    let first = case.repo.push("first").await?;
    case.sync("home", json!({})).await?;
    case.applied("home", &first).await?;
    case.forge.set_down(true);
    case.says("GitSync", "home", ("Ready", "False", "GitServerFailed")).await?;
    case.told("GitSync", "home", "GitServerFailed").await?;
    ensure!(case.cluster.get("v1", "ConfigMap", &ns, "good").await?.is_some(), "what was applied is gone");
    case.forge.set_down(false);
    case.applied("home", &first).await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_wrong_address_and_wrong_credentials_are_told_apart() -> Result<()> {
    let case = Case::new("giturl").await?;
    let ns = case.namespace.clone();
    case.repo.write("good.yaml", &GOOD.replace("NAMESPACE", &ns))?;
    let first = case.repo.push("first").await?;
    case.sync("absent", json!({"url": case.forge.url("nothing-here")})).await?;
    case.sync("nobody", json!({"url": case.cluster.host_url("http", 1) + "/home.git"})).await?;
    case.sync("branch", json!({"ref": {"branch": "no-such-branch"}})).await?;
    for (name, reason) in
        [("absent", "RepositoryNotFound"), ("nobody", "GitUnreachable"), ("branch", "ReferenceNotFound")]
    {
        case.says("GitSync", name, ("Ready", "False", reason)).await?;
        case.told("GitSync", name, reason).await?;
    }
    case.forge.require("me", "right");
    let login = |password: &str| {
        let meta = json!({"name": "login", "namespace": ns});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"username": "me", "password": password}})
    };
    case.cluster.apply(&login("wrong")).await?;
    case.sync("home", json!({"secretRef": {"name": "login"}})).await?;
    let message = case.says("GitSync", "home", ("Ready", "False", "CredentialsRefused")).await?;
    ensure!(message.contains("secretRef") && !message.contains("wrong"), "{message}");
    case.cluster.apply(&login("right")).await?;
    case.applied("home", &first).await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn nothing_is_written_when_a_file_or_an_object_is_wrong() -> Result<()> {
    let case = Case::new("gitfile").await?;
    let ns = case.namespace.clone();
    case.repo.write("good.yaml", &GOOD.replace("NAMESPACE", &ns))?;
    case.repo.write("broken.yaml", "apiVersion: v1\nkind: [ConfigMap\n")?;
    case.repo.push("a broken file").await?;
    case.sync("home", json!({})).await?;
    let message = case.says("GitSync", "home", ("Stalled", "True", "RenderFailed")).await?;
    ensure!(message.contains("broken.yaml"), "the file is not named: {message}");
    case.told("GitSync", "home", "broken.yaml").await?;

    case.repo
        .write("broken.yaml", &GOOD.replace("NAMESPACE", &ns).replace("good", "typo").replace("\ndata:", "\ndta:"))?;
    case.repo.push("an unknown field").await?;
    let message = case.says("GitSync", "home", ("Stalled", "True", "ObjectInvalid")).await?;
    ensure!(message.contains("typo") && message.contains("dta"), "object and field are not named: {message}");
    ensure!(case.cluster.get("v1", "ConfigMap", &ns, "good").await?.is_none(), "something was written");

    case.repo.replace("broken.yaml", "\ndta:", "\ndata:")?;
    let right = case.repo.push("right").await?;
    case.applied("home", &right).await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_failure_after_the_dry_run_is_finished_by_retry() -> Result<()> {
    let case = Case::new("gitretry").await?;
    let ns = case.namespace.clone();
    case.repo.write("good.yaml", &GOOD.replace("NAMESPACE", &ns))?;
    case.repo.write("other.yaml", &GOOD.replace("NAMESPACE", "t-not-there-yet"))?;
    let commit = case.repo.push("into a namespace that is not there").await?;
    case.sync("home", json!({})).await?;
    case.says("GitSync", "home", ("Ready", "False", "")).await?;
    let meta = json!({"name": "t-not-there-yet"});
    case.cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})).await?;
    let applied = case.applied("home", &commit).await;
    case.cluster.delete("v1", "Namespace", "", "t-not-there-yet").await?;
    applied?;
    wait::until("good", homelab_tests::case::LIMIT, async || {
        match case.cluster.get("v1", "ConfigMap", &ns, "good").await {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    case.finish().await
}
