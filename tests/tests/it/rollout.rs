//! Rollouts under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use homelab_tests::case::{APP_FILE, Case, LIMIT, ask};
use homelab_tests::load::{Answer, Intensity, Load};
use serde_json::json;

const SURE: Duration = Duration::from_secs(3);

async fn takes_over(load: &Load, what: &str, since: Duration, wanted: impl Fn(&Answer) -> bool + Copy) -> Result<()> {
    load.wait_for(what, since, LIMIT, wanted).await?;
    load.wait_until_only(what, SURE, LIMIT, wanted).await
}

async fn nothing_failed(load: Load) -> Result<()> {
    let report = load.stop().await;
    ensure!(
        report.failed == 0 && report.requests > 0,
        "{} of {} requests failed: {:?}",
        report.failed,
        report.requests,
        report.reasons()
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn secret_push_and_rollback_without_a_failed_request() -> Result<()> {
    let case = Case::new("bluegreen").await?;
    let url = case.running().await?;
    let load = Load::start(&url, Intensity::default())?;
    takes_over(&load, "version 1", Duration::ZERO, |a| a.version == "1" && a.secret == "password=first").await?;
    case.put("db", "password=second").await?;
    takes_over(&load, "the second secret", load.elapsed(), |a| a.secret == "password=second").await?;
    case.settled().await?;
    case.change("VERSION: \"1\"", "VERSION: \"2\"").await?;
    takes_over(&load, "version 2", load.elapsed(), |a| a.version == "2").await?;
    case.settled().await?;
    let since = load.elapsed();
    let output = case.daemon.cli(&case.cluster, ["app", "rollback", "web", "-n", &case.namespace]).await?;
    ensure!(output.status.success(), "{}", output.complaint());
    takes_over(&load, "version 1 again", since, |a| a.version == "1" && a.secret == "password=second").await?;
    nothing_failed(load).await?;
    case.finish().await
}

/// Lets the pods of the namespace read what is sealed for `git/home/web/`.
async fn let_pods_read(case: &Case) -> Result<String> {
    let name = format!("sealed-{}", case.namespace);
    let subject = json!({"serviceAccount": format!("{}/default", case.namespace)});
    let rules = json!([{"subjects": [subject], "paths": ["git/home/web/*"], "capabilities": ["read"]}]);
    let (kind, meta) = ("ClusterSecretPolicy", json!({"name": name}));
    let policy =
        json!({"apiVersion": "homelab.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": {"rules": rules}});
    case.cluster.apply(&policy).await?;
    Ok(name)
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_sealed_file_that_is_pushed_is_a_new_revision_and_a_rollback_brings_its_earlier_value() -> Result<()> {
    let mut case = Case::new("sealedgit").await?;
    let policy = let_pods_read(&case).await?;
    case.seal("web/db.sealed.yaml", "web/db", "password: first\n").await?;
    case.write_app("blueGreen: {keepWarm: 1h}")?;
    case.repo.replace(APP_FILE, &format!("kv/{}/db", case.namespace), "git/home/web/db")?;
    case.repo.push("version 1").await?;
    case.sync("home", json!({})).await?;
    case.settled().await?;
    let load = Load::start(&case.url("web").await?, Intensity::default())?;
    takes_over(&load, "the first value", Duration::ZERO, |a| a.secret == "password=first").await?;

    let since = load.elapsed();
    case.seal("web/db.sealed.yaml", "web/db", "password: second\n").await?;
    case.repo.push("another value").await?;
    takes_over(&load, "the second value", since, |a| a.secret == "password=second").await?;
    case.settled().await?;
    let written = case.daemon.cli(&case.cluster, ["kv", "put", "git/home/web/db", "password=third"]).await?;
    ensure!(written.complaint().contains("edit in Git: web/db.sealed.yaml"), "{}", written.complaint());

    let since = load.elapsed();
    let output = case.daemon.cli(&case.cluster, ["app", "rollback", "web", "-n", &case.namespace]).await?;
    ensure!(output.status.success(), "{}", output.complaint());
    takes_over(&load, "the first value again", since, |a| a.secret == "password=first").await?;
    nothing_failed(load).await?;

    case.repo.write("web/bad.sealed.yaml", "homelab: sealed/1\nrepository: home\n")?;
    case.repo.push("a file that was cut").await?;
    let message = case.says("GitSync", "home", ("Ready", "False", "SealedFilesBroken")).await?;
    ensure!(message.contains("web/bad.sealed.yaml"), "{message}");
    case.forge.set_down(true);
    case.daemon.kill().await?;
    case.daemon.restart().await?;
    let read = case.daemon.cli(&case.cluster, ["kv", "get", "git/home/web/db", "--field", "password"]).await?;
    ensure!(read.text() == "second", "without the forge: {:?} {}", read.text(), read.complaint());
    case.forge.set_down(false);
    case.cluster.delete("homelab.dev/v1alpha1", "ClusterSecretPolicy", "", &policy).await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_destroyed_secret_version_is_left_behind_and_never_comes_back() -> Result<()> {
    let case = Case::new("destroy").await?;
    let url = case.running().await?;
    let load = Load::start(&url, Intensity::default())?;
    case.put("db", "password=second").await?;
    takes_over(&load, "the second secret", load.elapsed(), |a| a.secret == "password=second").await?;
    let app = case.settled().await?;
    let second = app["status"]["active"]["revision"].as_str().unwrap_or_default().to_owned();
    let path = format!("kv/{}/db", case.namespace);
    let since = load.elapsed();
    let destroyed = case.daemon.cli(&case.cluster, ["kv", "destroy", &path, "--versions", "2"]).await?;
    let said = format!("{}{}", destroyed.text(), destroyed.complaint());
    ensure!(destroyed.status.success() && said.contains("web") && said.contains(&second), "{said}");
    takes_over(&load, "the secret that is left", since, |a| a.secret == "password=first").await?;
    case.settled().await?;
    let args = ["app", "rollback", "web", "-n", &case.namespace, "--revision", &second];
    let refused = case.daemon.cli(&case.cluster, args).await?;
    ensure!(!refused.status.success() && refused.complaint().contains("destroyed"), "{}", refused.complaint());
    nothing_failed(load).await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_dead_value_is_replaced_in_both_colours_and_a_rollback_keeps_the_new_one() -> Result<()> {
    let case = Case::new("cut").await?;
    case.put("db", "password=first").await?;
    case.write_app("blueGreen: {keepWarm: 1h}")?;
    let files = "as: {files: /run/secrets/db}";
    case.repo.replace(APP_FILE, files, &format!("{files}\n      onChange: cut"))?;
    case.repo.push("version 1").await?;
    case.sync("home", json!({})).await?;
    case.settled().await?;
    case.change("VERSION: \"1\"", "VERSION: \"2\"").await?;
    let load = Load::start(&case.url("web").await?, Intensity::default())?;
    takes_over(&load, "version 2", Duration::ZERO, |a| a.version == "2" && a.secret == "password=first").await?;
    let before = case.settled().await?;

    case.put("db", "password=second").await?;
    takes_over(&load, "the new value in the same version", load.elapsed(), |a| {
        a.version == "2" && a.secret == "password=second"
    })
    .await?;
    for (colour, version) in [("web-blue", "1"), ("web-green", "2")] {
        let url = case.url(colour).await?;
        homelab_tests::wait::until(&format!("the new value in {colour}"), LIMIT, async || {
            let answer = ask(&url).await.map_err(|error| format!("{error:#}"))?;
            let good = answer["version"] == version && answer["secret"]["password"] == "second";
            if good { Ok(()) } else { Err(answer.to_string()) }
        })
        .await?;
    }
    let after = case.settled().await?;
    let (was, is) = (&before["status"]["active"], &after["status"]["active"]);
    ensure!(was == is && was.is_object(), "no colour took over: {was} {is}");

    let since = load.elapsed();
    let output = case.daemon.cli(&case.cluster, ["app", "rollback", "web", "-n", &case.namespace]).await?;
    ensure!(output.status.success(), "{}", output.complaint());
    takes_over(&load, "version 1 with the new value", since, |a| a.version == "1" && a.secret == "password=second")
        .await?;
    nothing_failed(load).await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_failing_gate_gets_no_traffic_and_is_not_retried() -> Result<()> {
    let case = Case::new("gate").await?;
    let url = case.running().await?;
    let load = Load::start(&url, Intensity::default())?;
    case.change("VERSION: \"1\"", "VERSION: \"2\"\n        HEALTH_STATUS: \"503\"").await?;
    let message = case.says("App", "web", ("Failed", "True", "")).await?;
    ensure!(message.contains("smoke") && message.contains("503"), "{message}");
    case.told("App", "web", "smoke").await?;
    case.says("App", "web", ("Ready", "True", "")).await?;
    let report = load.report();
    ensure!(report.answers.keys().all(|a| a.version == "1"), "version 2 was given traffic: {:?}", report.answers);
    case.change("VERSION: \"2\"\n        HEALTH_STATUS: \"503\"", "VERSION: \"3\"").await?;
    takes_over(&load, "version 3", load.elapsed(), |a| a.version == "3").await?;
    case.settled().await?;
    // Now the idle colour has pods, which are well: what they answer says nothing about version 4.
    case.change("VERSION: \"3\"", "VERSION: \"4\"\n        HEALTH_STATUS: \"503\"").await?;
    case.says("App", "web", ("Failed", "True", "")).await?;
    let report = load.report();
    ensure!(report.answers.keys().all(|a| a.version != "4"), "version 4 was given traffic: {:?}", report.answers);
    nothing_failed(load).await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_kill_in_the_middle_is_resumed() -> Result<()> {
    let mut case = Case::new("crash").await?;
    let url = case.running().await?;
    let load = Load::start(&url, Intensity::default())?;
    let since = load.elapsed();
    case.change("VERSION: \"1\"", "VERSION: \"2\"").await?;
    case.says("App", "web", ("Reconciling", "True", "")).await?;
    // A kill every few seconds lands in other phases of the rollout each time.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        case.daemon.kill().await?;
        case.daemon.restart().await?;
    }
    takes_over(&load, "version 2", since, |a| a.version == "2").await?;
    case.settled().await?;
    nothing_failed(load).await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn rolling_is_one_release_with_the_apps_own_name() -> Result<()> {
    let case = Case::new("rolling").await?;
    case.put("db", "password=first").await?;
    case.write_app("rolling: {}")?;
    case.repo.replace(APP_FILE, "  routes: [{port: http}]\n", "")?;
    case.repo.replace(APP_FILE, "  gates: [{name: smoke, http: {path: /healthz}}]\n", "")?;
    case.repo.push("version 1").await?;
    case.sync("home", json!({})).await?;
    case.settled().await?;
    let answer = ask(&case.url("web").await?).await?;
    ensure!(answer["version"] == "1" && answer["secret"]["password"] == "first", "{answer}");
    case.put("db", "password=second").await?;
    let url = case.url("web").await?;
    homelab_tests::wait::until("the second secret", LIMIT, async || match ask(&url).await {
        Ok(answer) if answer["secret"]["password"] == "second" => Ok(()),
        Ok(answer) => Err(answer.to_string()),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    let releases = case.cluster.helm(["list", "--namespace", &case.namespace, "--short"]).await?.text();
    ensure!(releases.trim() == "web", "releases: {releases}");
    case.finish().await
}
