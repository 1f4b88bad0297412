//! A home cluster with homelab as its chart installs it, and pods of every kind of owner that ask for a secret.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homelab_core::process::Program;
use homelab_tests::cluster::{Cluster, condition};
use homelab_tests::daemon::homelab;
use homelab_tests::{case, wait, workspace};
use serde_json::{Value, json};

const SYSTEM: &str = "homelab";
const NAMESPACE: &str = "home";
const LONG: Duration = Duration::from_secs(180);
/// Pods of the four workloads.
const PODS: usize = 2 + 2 + 1 + 1;

pub(crate) struct Home {
    cluster: Cluster,
    /// The store's directory on the node.
    _disk: tempfile::TempDir,
}

impl Home {
    pub(crate) async fn install() -> Result<Self> {
        let cluster = Cluster::from_env().await.context("run `cargo xtask test --suite power-cut`")?;
        let disk = tempfile::TempDir::new()?;
        let chart = workspace().join("charts/homelab").display().to_string();
        let place = format!("storage.hostPath={}", disk.path().join("homelab").display());
        let args = ["install", "homelab", &chart, "--namespace", SYSTEM, "--create-namespace"];
        let values = ["image.tag=dev", "agent.image.tag=dev", "storage.type=hostPath", &place];
        cluster.helm(args.into_iter().chain(values.into_iter().flat_map(|value| ["--set", value]))).await?;
        let home = Self { cluster, _disk: disk };
        home.daemon_ready().await?;
        home.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})).await?;
        let rule = json!({"serviceAccounts": ["default"], "paths": ["kv/home/*"], "capabilities": ["read"]});
        home.apply(&object("homelab.dev/v1alpha1", "SecretPolicy", "db", json!({"rules": [rule]}))).await?;
        let put = homelab(&home.cluster)?.args(["kv", "put", "kv/home/db", "password=kept"]);
        put.env("HOMELAB_DAEMON_NAMESPACE", SYSTEM).run_ok().await?;
        for workload in workloads() {
            home.apply(&workload).await?;
        }
        Ok(home)
    }

    async fn apply(&self, object: &Value) -> Result<()> {
        // A policy that was just made is not yet in force everywhere.
        wait::until("an object to be applied", LONG, async || {
            self.cluster.apply(object).await.map(drop).map_err(|error| format!("{error:#}"))
        })
        .await
    }

    pub(crate) async fn daemon_ready(&self) -> Result<()> {
        // What the API server says just after a power cut is from before: the daemon has to say it.
        wait::until("the daemon to be ready", LONG, async || {
            let pods = self.cluster.list("v1", "Pod", SYSTEM, "app.kubernetes.io/component=daemon").await;
            let pods = pods.map_err(|error| format!("{error:#}"))?;
            let address = pods.iter().find_map(|pod| pod["status"]["podIP"].as_str()).ok_or("it has no address")?;
            let answer =
                reqwest::get(format!("http://{address}:9090/readyz")).await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await
    }

    /// Waits until every opted-in pod is Ready; gives their uids.
    pub(crate) async fn pods_ready(&self, limit: Duration) -> Result<Vec<String>> {
        wait::until("all opted-in pods to be Ready", limit, async || {
            let pods = self.pods().await?;
            let waits =
                |pod: &&Value| condition(pod, "Ready").0 != "True" || !pod["metadata"]["deletionTimestamp"].is_null();
            let waiting: Vec<_> = pods.iter().filter(waits).map(|pod| describe(pod)).collect();
            if pods.len() != PODS || !waiting.is_empty() {
                return Err(format!("{} of {PODS} pods; not Ready: {waiting:?}", pods.len()));
            }
            Ok(pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned)).collect())
        })
        .await
    }

    async fn pods(&self) -> Result<Vec<Value>, String> {
        let pods = self.cluster.list("v1", "Pod", NAMESPACE, "homelab.dev/inject=true").await;
        pods.map_err(|error| format!("{error:#}"))
    }

    /// Everything that runs is killed and all memory is lost; then the power comes back.
    pub(crate) async fn cut(&self) -> Result<()> {
        let xtask =
            std::env::var_os("HOMELAB_TEST_XTASK").map(PathBuf::from).context("HOMELAB_TEST_XTASK is not set")?;
        let name = std::env::var("HOMELAB_TEST_CLUSTER").context("HOMELAB_TEST_CLUSTER is not set")?;
        for verb in ["cut", "up"] {
            let run = Program::new(&xtask).args(["cluster", verb, "--name", &name]).timeout(LONG).cwd(workspace());
            let env = ["PATH", "HOME", "CARGO_HOME", "GOPATH"].into_iter();
            let env = env.filter_map(|key| Some((key, std::env::var_os(key)?)));
            env.fold(run, |run, (key, value)| run.env(key, value))
                .run_ok()
                .await
                .with_context(|| format!("cluster {verb}"))?;
        }
        Ok(())
    }

    pub(crate) async fn scale_daemon(&self, replicas: u32) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.cluster.kubectl(["scale", "deployment", "homelab", "-n", SYSTEM, &replicas]).await?;
        if replicas.ends_with("=0") {
            self.cluster.kubectl(["wait", "pod", "-n", SYSTEM, "--all", "--for=delete", "--timeout=60s"]).await?;
        }
        Ok(())
    }

    pub(crate) async fn delete_pods(&self) -> Result<()> {
        let all = ["delete", "pod", "-n", NAMESPACE, "-l", "homelab.dev/inject=true", "--now", "--timeout=90s"];
        self.cluster.kubectl(all).await.map(drop)
    }

    /// Waits until owners of pods were told that our webhook does not answer.
    pub(crate) async fn refused(&self) -> Result<()> {
        wait::until("owners to be refused", LONG, async || {
            let events = self.cluster.list("v1", "Event", NAMESPACE, "").await.map_err(|error| format!("{error:#}"))?;
            let refused = |event: &&Value| {
                event["reason"] == "FailedCreate" && event["message"].to_string().contains("inject.homelab.dev")
            };
            let count = events.iter().filter(refused).count();
            if count >= 2 { Ok(()) } else { Err(format!("{count} Events")) }
        })
        .await
    }

    pub(crate) async fn have_their_secret(&self) -> Result<()> {
        for pod in self.pods().await.map_err(anyhow::Error::msg)? {
            let address = pod["status"]["podIP"].as_str().context("a pod has an address")?;
            let answer = case::ask(&format!("http://{address}:8080/")).await?;
            ensure!(answer["secret"]["password"] == "kept", "{}: {answer}", describe(&pod));
        }
        Ok(())
    }
}

fn object(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

fn workloads() -> Vec<Value> {
    let template = |app: &str| {
        json!({
            "metadata": {"labels": {"app": app, "homelab.dev/inject": "true"},
                "annotations": {"homelab.dev/secrets": "kv/home/db=files:/run/secrets/db"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                "name": "app", "image": "homelab.dev/testapp:dev", "imagePullPolicy": "IfNotPresent",
                "env": [{"name": "SECRET_DIR", "value": "/run/secrets/db"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            }]},
        })
    };
    let spec = |app: &str| json!({"selector": {"matchLabels": {"app": app}}, "template": template(app)});
    let with = |app: &str, key: &str, value: Value| {
        let mut spec = spec(app);
        spec[key] = value;
        spec
    };
    let mut set = with("db", "serviceName", json!("db"));
    set["replicas"] = json!(2);
    set["podManagementPolicy"] = json!("Parallel");
    vec![
        object("apps/v1", "Deployment", "web", with("web", "replicas", json!(2))),
        object("apps/v1", "Deployment", "worker", with("worker", "replicas", json!(1))),
        object("apps/v1", "StatefulSet", "db", set),
        object("apps/v1", "DaemonSet", "each", spec("each")),
    ]
}

/// Name and what its containers wait for.
fn describe(pod: &Value) -> String {
    let state = |kind: &str| pod["status"][kind].as_array().into_iter().flatten().map(|c| c["state"].to_string());
    let states: Vec<_> = state("initContainerStatuses").chain(state("containerStatuses")).collect();
    format!("{} {}", pod["metadata"]["name"].as_str().unwrap_or("?"), states.join(" "))
}
