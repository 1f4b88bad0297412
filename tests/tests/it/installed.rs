//! The chart, installed by helm as a user would: what only shows in the cluster's own pods.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homelab_core::process::Output;
use homelab_tests::cluster::Cluster;
use homelab_tests::daemon::homelab;
use homelab_tests::{wait, workspace};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(150);
/// Its name keeps cluster-wide objects apart from those of other tests.
const RELEASE: &str = "inst-homelab";

struct Release {
    cluster: Cluster,
    namespace: String,
    /// Of the pods that ask for secrets: those beside the daemon never get any.
    apps: String,
}

impl Release {
    async fn install(stem: &str, values: &[&str]) -> Result<Self> {
        let cluster = Cluster::from_env().await?;
        homelab_tests::daemon::install(&cluster).await?;
        let namespace = cluster.namespace(stem).await?;
        let chart = workspace().join("charts/homelab").display().to_string();
        let apps = cluster.namespace(&format!("{stem}-apps")).await?;
        let only = format!("namespaces={{{namespace},{apps}}}");
        let mut args = vec!["install", RELEASE, &chart, "--namespace", &namespace, "--skip-crds"];
        for value in ["image.tag=dev", "agent.image.tag=dev", &only].iter().chain(values) {
            args.extend(["--set", value]);
        }
        cluster.helm(args).await?;
        Ok(Self { cluster, namespace, apps })
    }

    async fn healthy(&self, deployment: &str) -> Result<()> {
        let id = ("apps/v1", "Deployment", self.namespace.as_str(), deployment);
        self.cluster.wait_healthy(id, LIMIT).await.map(drop)
    }

    /// What `homelab ARGS` prints, as the chart's administrator.
    async fn cli<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String> {
        Ok(self.run(args).await?.text())
    }

    async fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<Output> {
        let program = homelab(&self.cluster)?.env("HOMELAB_DAEMON_NAMESPACE", &self.namespace).args(args);
        Ok(program.run_ok().await?)
    }

    /// Slots of the store whose keys lie in the Secret, and the entries in there.
    async fn keys(&self) -> Result<(Vec<String>, Vec<String>)> {
        let listed: Value = serde_json::from_str(&self.cli(["secrets", "slots", "list", "-o", "json"]).await?)?;
        let ids = listed["slots"].as_array().context("slots are a list")?.iter().filter_map(|slot| slot["id"].as_str());
        let secret = self.cluster.get("v1", "Secret", &self.namespace, "homelab-key").await?;
        let entries =
            secret.context("there is no Secret homelab-key")?["data"].as_object().cloned().unwrap_or_default();
        Ok((ids.map(str::to_owned).collect(), entries.into_iter().map(|(name, _)| name).collect()))
    }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn secrets_in_a_deployment_of_their_own_and_a_store_in_the_cluster_from_install_to_uninstall() -> Result<()> {
    let it = Release::install("chart", &["split=true", "storage.type=kubernetes"]).await?;
    let (ns, apps, keeper) = (it.namespace.clone(), it.apps.clone(), format!("{RELEASE}-secrets"));
    for deployment in [RELEASE, &keeper] {
        it.healthy(deployment).await?;
    }
    let path = format!("kv/{apps}/db");
    it.cli(["kv", "put", &path, "password=first"]).await?;
    let place = it.run(["secrets", "where"]).await?;
    ensure!(place.complaint().contains("as safe as plain Secrets"), "{} {}", place.text(), place.complaint());

    // The key that the first start made gives way to a new one, which the next start opens the store by.
    let (slots, entries) = it.keys().await?;
    ensure!(slots.len() == 1 && entries == ["store.key"], "{slots:?} {entries:?}");
    it.cli(["secrets", "rekey", "kubernetes-secret", "--replace", &slots[0]]).await?;
    let (new, entries) = it.keys().await?;
    ensure!(new.len() == 1 && new != slots && entries == [format!("{}.key", new[0])], "{new:?} {entries:?}");
    it.cluster.kubectl(["rollout", "restart", "deployment", &keeper, "-n", &ns]).await?;
    it.cluster.kubectl(["rollout", "status", "deployment", &keeper, "-n", &ns, "--timeout=120s"]).await?;
    ensure!(it.cli(["kv", "get", &path, "--field", "password"]).await? == "first", "the store is as it was");

    // A pod outside Apps, by the webhook that the daemon wrote.
    let policy = json!({
        "apiVersion": "homelab.dev/v1alpha1", "kind": "SecretPolicy", "metadata": {"name": "db", "namespace": apps},
        "spec": {"rules": [{"serviceAccounts": ["default"], "paths": [path], "capabilities": ["read"]}]},
    });
    it.cluster.apply(&policy).await?;
    let webhook = format!("homelab-{ns}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "lone", "namespace": apps, "labels": {"homelab.dev/inject": "true"},
            "annotations": {"homelab.dev/secrets": format!("{path}=files:/run/secrets/db")}},
        "spec": {"containers": [{"name": "app", "image": "homelab.dev/testapp:dev", "imagePullPolicy": "IfNotPresent"}]},
    });
    wait::until("the pod to be let in", LIMIT, async || it.cluster.apply(&pod).await.map_err(|e| format!("{e:#}")))
        .await?;
    let id = ("v1", "Pod", apps.as_str(), "lone");
    let lone = it.cluster.wait_healthy(id, LIMIT).await?;
    ensure!(lone["spec"]["initContainers"][0]["name"] == "homelab-agent", "it was let in without its secrets");

    let healthy = it.run(["doctor"]).await?;
    ensure!(healthy.text().contains("with the CA that is published"), "{}", healthy.text());

    it.cluster.helm(["uninstall", RELEASE, "--namespace", &ns, "--wait"]).await?;
    let left = it.cluster.list("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "", "").await?;
    ensure!(left.iter().all(|found| found["metadata"]["name"] != webhook.as_str()), "the webhook is left");
    let policies = it.cluster.list("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "", "").await?;
    let ours = format!("{webhook}-injected-pods");
    ensure!(policies.iter().all(|found| found["metadata"]["name"] != ours.as_str()), "the policy is left");
    it.cluster.delete("v1", "Namespace", "", &apps).await?;
    it.cluster.delete("v1", "Namespace", "", &ns).await.map(drop)
}
