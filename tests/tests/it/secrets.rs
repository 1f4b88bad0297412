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

fn deployment(namespace: &str, secrets: &str) -> Value {
    let mut template = pod(namespace, secrets);
    let labels =
        template["metadata"]["labels"].as_object_mut().map(|labels| labels.insert("app".into(), "owned".into()));
    assert!(labels.is_some(), "the pod has labels");
    template["metadata"]["namespace"].take();
    template["metadata"]["name"].take();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "owned", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "owned"}},
            "template": {"metadata": template["metadata"], "spec": template["spec"]}},
    })
}

/// The one pod of the Deployment that lives.
async fn owned_pod(case: &Case) -> Result<Value, String> {
    let pods =
        case.cluster.list("v1", "Pod", &case.namespace, "app=owned").await.map_err(|error| format!("{error:#}"))?;
    let of =
        |pod: &Value| pod["metadata"]["labels"]["app"] == "owned" && pod["metadata"]["deletionTimestamp"].is_null();
    match pods.into_iter().filter(of).collect::<Vec<_>>().as_slice() {
        [pod] => Ok(pod.clone()),
        pods => Err(format!("{} pods", pods.len())),
    }
}

async fn has_secret(case: &Case, value: &str) -> Result<()> {
    answers(case, "", value).await
}

async fn answers(case: &Case, place: &str, value: &str) -> Result<()> {
    wait::until("the pod to have its secret", LIMIT, async || {
        let pod = owned_pod(case).await?;
        let address = pod["status"]["podIP"].as_str().ok_or("no address yet")?;
        let answer = homelab_tests::case::ask(&format!("http://{address}:8080/{place}")).await;
        let answer = answer.map_err(|error| format!("{error:#}"))?;
        if answer["secret"]["password"] == value { Ok(()) } else { Err("the pod has no secret".into()) }
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn who_was_refused_while_the_daemon_was_away_is_woken() -> Result<()> {
    let mut case = Case::new("nudge").await?;
    let ns = case.namespace.clone();
    case.put("db", "password=first").await?;
    allow(&case).await?;
    case.daemon.stop(Duration::from_secs(15)).await?;
    case.cluster.apply(&deployment(&ns, &format!("kv/{ns}/db=files:/run/secrets/db"))).await?;
    // Each refusal doubles the wait before the next try, from 5 ms on: after so many nobody tries for 20 s.
    wait::until("the pods to be refused again and again", LIMIT, async || {
        let events = case.cluster.list("v1", "Event", &ns, "").await.map_err(|error| format!("{error:#}"))?;
        let refused =
            |event: &&Value| event["reason"] == "FailedCreate" && event["message"].to_string().contains("homelab");
        let times: u64 = events.iter().filter(refused).filter_map(|event| event["count"].as_u64()).sum();
        if times >= 12 { Ok(()) } else { Err(format!("{times} times")) }
    })
    .await?;
    case.daemon.restart().await?;
    has_secret(&case, "first").await?;
    let sets = case.cluster.list("apps/v1", "ReplicaSet", &ns, "").await?;
    let woken = sets.iter().any(|set| set["metadata"]["annotations"]["homelab.dev/nudged-at"].is_string());
    ensure!(woken, "Kubernetes tried again by itself before it was asked to");
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_pod_that_slipped_past_the_webhook_is_made_anew() -> Result<()> {
    let mut case = Case::new("slipped").await?;
    let ns = case.namespace.clone();
    case.put("db", "password=first").await?;
    allow(&case).await?;
    case.daemon.kill().await?;
    let gone = case.daemon.cli(&case.cluster, ["uninstall"]).await?;
    ensure!(gone.status.success() && gone.complaint().contains("MutatingWebhookConfiguration"), "{}", gone.complaint());
    case.cluster.apply(&deployment(&ns, &format!("kv/{ns}/db=files:/run/secrets/db"))).await?;
    case.cluster.wait_healthy(("apps/v1", "Deployment", ns.as_str(), "owned"), LIMIT).await?;
    let slipped = owned_pod(&case).await.map_err(anyhow::Error::msg)?;
    ensure!(slipped["spec"]["initContainers"].is_null(), "nobody was there to add the agent");
    case.daemon.restart().await?;
    has_secret(&case, "first").await?;
    let said = case.cluster.list("v1", "Event", &ns, "").await?;
    ensure!(said.iter().any(|event| event["reason"] == "NotInjected"), "no Event says why the pod went");
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn files_follow_the_store_where_a_pod_asks_for_it_and_jobs_end() -> Result<()> {
    let case = Case::new("refresh").await?;
    let ns = case.namespace.clone();
    case.put("db", "password=first").await?;
    allow(&case).await?;
    let secrets = format!("kv/{ns}/db=files:/run/secrets/db");
    let mut owned = deployment(&ns, &secrets);
    owned["spec"]["template"]["metadata"]["annotations"]["homelab.dev/refresh"] = json!("10s");
    case.cluster.apply(&owned).await?;
    has_secret(&case, "first").await?;
    let before = owned_pod(&case).await.map_err(anyhow::Error::msg)?;
    case.put("db", "password=second").await?;
    answers(&case, "live", "second").await?;
    let after = owned_pod(&case).await.map_err(anyhow::Error::msg)?;
    ensure!(before["metadata"]["uid"] == after["metadata"]["uid"], "it is the same pod");
    ensure!(after["status"]["containerStatuses"][0]["restartCount"] == 0, "nothing was restarted");
    let path = format!("kv/{ns}/db");
    let held = case.daemon.cli(&case.cluster, ["secrets", "where", &path]).await?;
    ensure!(held.text().contains("follows the store"), "{} {}", held.text(), held.complaint());

    // A sidecar keeps no Job from its end.
    let mut template = owned["spec"]["template"].clone();
    template["spec"] = json!({"restartPolicy": "Never", "containers": [{"name": "app", "args": ["--version"],
        "image": "homelab.dev/homelab-agent:dev", "imagePullPolicy": "IfNotPresent"}]});
    template["metadata"]["labels"]["app"] = json!("once");
    let meta = json!({"name": "once", "namespace": ns});
    case.cluster
        .apply(&json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}))
        .await?;
    let done = |job: &Value| job["status"]["succeeded"] == 1;
    case.cluster.wait_for(("batch/v1", "Job", ns.as_str(), "once"), "done", LIMIT, done).await?;
    case.finish().await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_pod_of_the_strictest_namespace_reads_its_secrets_as_its_own_user() -> Result<()> {
    let case = Case::new("strict").await?;
    let ns = case.namespace.clone();
    let level = "pod-security.kubernetes.io/enforce=restricted";
    case.cluster.kubectl(["label", "namespace", &ns, level]).await?;
    case.put("db", "password=first").await?;
    allow(&case).await?;
    let mut strict = deployment(&ns, &format!("kv/{ns}/db=files:/run/secrets/db"));
    let spec = &mut strict["spec"]["template"]["spec"];
    spec["securityContext"] = json!({"runAsNonRoot": true, "runAsUser": 12345, "runAsGroup": 12345, "seccompProfile": {"type": "RuntimeDefault"}});
    spec["containers"][0]["securityContext"] = json!({"allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    case.cluster.apply(&strict).await?;
    has_secret(&case, "first").await?;
    let pod = owned_pod(&case).await.map_err(anyhow::Error::msg)?;
    let agent = &pod["spec"]["initContainers"][0];
    ensure!(agent["resources"]["requests"]["memory"].is_string() && agent["resources"]["limits"]["memory"].is_string());
    ensure!(agent["securityContext"]["runAsUser"] == 12345, "{}", agent["securityContext"]);

    // A copy of it without our container is no way around us.
    let mut bare = pod.clone();
    (bare["apiVersion"], bare["kind"]) = (json!("v1"), json!("Pod"));
    bare["metadata"] = json!({"name": "bare", "namespace": ns, "labels": pod["metadata"]["labels"]});
    bare["spec"]["initContainers"] = json!([]);
    let refused = case.cluster.apply(&bare).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains("homelab.dev/secrets") || refused.contains("injected-pods"), "{refused}");
    case.finish().await
}
