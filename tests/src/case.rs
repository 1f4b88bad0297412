//! A namespace of its own with a daemon, a Git server and a repository: what nearly every end-to-end test starts with.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::cluster::{Cluster, condition, summary};
use crate::daemon::Daemon;
use crate::forge::{Forge, git};
use crate::repo::Repo;
use crate::wait;

/// Longest wait for anything that should happen. Generous: the node has two cores for all tests.
pub const LIMIT: Duration = Duration::from_secs(150);
/// The App's file in the repository.
pub const APP_FILE: &str = "web/app.yaml";

/// One test's world.
pub struct Case {
    /// The cluster.
    pub cluster: Cluster,
    /// The namespace.
    pub namespace: String,
    /// The daemon of that namespace, on this host.
    pub daemon: Daemon,
    /// The Git server.
    pub forge: Forge,
    /// Its repository.
    pub repo: Repo,
}

impl Case {
    /// A new one; `stem` goes into the namespace's name.
    pub async fn new(stem: &str) -> Result<Self> {
        Self::with(stem, &[]).await
    }

    /// A new one whose daemon gets more flags.
    pub async fn with(stem: &str, flags: &[&str]) -> Result<Self> {
        let cluster = Cluster::from_env().await?;
        let namespace = cluster.namespace(stem).await?;
        let daemon = Daemon::start(&cluster, &namespace, flags).await?;
        let forge = Forge::start(cluster.host).await?;
        let repo = forge.create("home").await?;
        Ok(Self { cluster, namespace, daemon, forge, repo })
    }

    /// Takes the namespace away while the daemon still lives, so that finalizers are answered. Not called by a test that
    /// fails: then everything stays to be looked at.
    pub async fn finish(mut self) -> Result<()> {
        let admin = format!("homelab-admin-{}", self.namespace);
        for (api_version, kind) in [("homelab.dev/v1alpha1", "GitSync"), ("homelab.dev/v1alpha1", "App")] {
            for object in self.cluster.list(api_version, kind, &self.namespace, "").await? {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                self.cluster.delete(api_version, kind, &self.namespace, name).await?;
                self.gone((api_version, kind, &self.namespace, name)).await?;
            }
        }
        self.cluster.delete("v1", "Namespace", "", &self.namespace).await?;
        self.cluster.delete("homelab.dev/v1alpha1", "ClusterSecretPolicy", "", &admin).await?;
        self.cluster.delete("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", &admin).await?;
        self.daemon.hush();
        Ok(())
    }

    /// Waits until an object is gone.
    pub async fn gone(&self, (api_version, kind, namespace, name): (&str, &str, &str, &str)) -> Result<()> {
        wait::until(&format!("{kind} {name} to go"), LIMIT, async || {
            match self.cluster.get(api_version, kind, namespace, name).await {
                Ok(None) => Ok(()),
                Ok(Some(object)) => Err(summary(&object)),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await
    }

    /// Applies a GitSync `name` of the repository, with more fields of the spec.
    pub async fn sync(&self, name: &str, more: Value) -> Result<()> {
        let mut spec =
            json!({"url": self.repo.url, "interval": "5s", "prune": true, "serviceAccount": "homelab-admin"});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let meta = json!({"name": name, "namespace": self.namespace});
        let object = json!({"apiVersion": "homelab.dev/v1alpha1", "kind": "GitSync", "metadata": meta, "spec": spec});
        self.cluster.apply(&object).await.map(drop)
    }

    /// Waits until GitSync `name` has applied `commit` and is Ready.
    pub async fn applied(&self, name: &str, commit: &str) -> Result<Value> {
        let id = ("homelab.dev/v1alpha1", "GitSync", self.namespace.as_str(), name);
        let good = |o: &Value| o["status"]["lastAppliedRevision"] == commit && condition(o, "Ready").0 == "True";
        self.cluster.wait_for(id, &format!("{commit:.10} applied"), LIMIT, good).await
    }

    /// Waits until a condition of an object of ours has this status and reason; returns its message.
    pub async fn says(&self, kind: &str, name: &str, (type_, status, reason): (&str, &str, &str)) -> Result<String> {
        let id = ("homelab.dev/v1alpha1", kind, self.namespace.as_str(), name);
        let good = |o: &Value| {
            let (now, why, _) = condition(o, type_);
            now == status && (reason.is_empty() || why == reason)
        };
        let object = self.cluster.wait_for(id, &format!("{type_}={status} {reason}"), LIMIT, good).await?;
        Ok(condition(&object, type_).2)
    }

    /// Sees that an Event about an object of ours contains `text`.
    pub async fn told(&self, kind: &str, name: &str, text: &str) -> Result<()> {
        wait::until(&format!("an Event about {kind} {name} with {text:?}"), Duration::from_secs(20), async || {
            let events = self.cluster.events(&self.namespace, kind, name).await.map_err(|e| format!("{e:#}"))?;
            if events.iter().any(|e| e.contains(text)) { Ok(()) } else { Err(format!("Events: {events:?}")) }
        })
        .await
    }

    /// `homelab kv put kv/NAMESPACE/NAME PAIR`.
    pub async fn put(&self, name: &str, pair: &str) -> Result<()> {
        let path = format!("kv/{}/{name}", self.namespace);
        let output = self.daemon.cli(&self.cluster, ["kv", "put", &path, pair]).await?;
        ensure!(output.status.success(), "homelab kv put {path}: {}", output.complaint());
        Ok(())
    }

    /// Seals `plain` (YAML) as the secret `path` of repository `home`, as a file of the working copy.
    pub async fn seal(&self, file: &str, path: &str, plain: &str) -> Result<()> {
        // A checkout of its own is set up: hooks would look for the program on the PATH.
        let scratch = tempfile::TempDir::new()?;
        git(scratch.path(), ["init", "--quiet"]).await?;
        let program = || Ok::<_, anyhow::Error>(self.daemon.program(&self.cluster)?.cwd(scratch.path()));
        program()?.args(["seal", "--install", "--repository", "home"]).run_ok().await?;
        let out = self.repo.path(file).display().to_string();
        let args = ["seal", "--repository", "home", "--path", path, "--out", &out, "-"];
        program()?.args(args).stdin(plain).run_ok().await.with_context(|| format!("seal {file}")).map(drop)
    }

    /// Writes the example's chart and an App `web` of version 1 into the working copy, with its policy.
    pub fn write_app(&self, strategy: &str) -> Result<()> {
        let chart = crate::workspace().join("examples/home/apps/web/chart");
        self.repo.copy(&chart, "web/chart")?;
        let fill = |text: &str| text.replace("NAMESPACE", &self.namespace).replace("STRATEGY", strategy);
        self.repo.write("web/policy.yaml", &fill(include_str!("case/policy.yaml")))?;
        self.repo.write(APP_FILE, &fill(include_str!("case/app.yaml")))
    }

    /// The App, once it serves and does nothing else.
    pub async fn settled(&self) -> Result<Value> {
        let calm = |app: &Value| {
            let seen = app["status"]["observedGeneration"] == app["metadata"]["generation"];
            seen && condition(app, "Ready").0 == "True" && condition(app, "Reconciling").0 != "True"
        };
        let id = ("homelab.dev/v1alpha1", "App", self.namespace.as_str(), "web");
        self.cluster.wait_for(id, "serving and at rest", LIMIT, calm).await
    }

    /// The URL of a Service of the namespace, as this host reaches it.
    pub async fn url(&self, service: &str) -> Result<String> {
        let object = self.cluster.get("v1", "Service", &self.namespace, service).await?;
        let object = object.with_context(|| format!("there is no Service {service}"))?;
        Ok(format!("http://{}/", object["spec"]["clusterIP"].as_str().unwrap_or_default()))
    }

    /// Pushes version 1 with the secret `db` and waits until it serves; returns the URL of the App's Service.
    pub async fn running(&self) -> Result<String> {
        self.put("db", "password=first").await?;
        self.write_app("blueGreen: {keepWarm: 1h}")?;
        self.repo.push("version 1").await?;
        self.sync("home", json!({})).await?;
        self.settled().await?;
        self.url("web").await
    }

    /// Pushes the App with `to` instead of `from`.
    pub async fn change(&self, from: &str, to: &str) -> Result<String> {
        self.repo.replace(APP_FILE, from, to)?;
        self.repo.push(&format!("change to {to}")).await
    }
}

/// Asks a URL once.
pub async fn ask(url: &str) -> Result<Value> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
    Ok(client.get(url).send().await?.error_for_status()?.json().await?)
}
