//! The cluster that `KUBECONFIG` names.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use homelab_core::apply::{ApplyOptions, DeleteOptions, api_for, apply, delete};
use homelab_core::client::{Kind, Kinds, chain};
use homelab_core::health::{Health, health};
use homelab_core::meta::ObjectRef;
use homelab_core::process::{Output, Program};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::wait;

/// Who the harness is among the owners of fields.
const MANAGER: &str = "homelab-tests";
/// What to do when there is no cluster.
const NONE: &str = "KUBECONFIG is not set: start a cluster with `cargo xtask cluster up` and take its variables with \
                    `eval \"$(cargo xtask cluster env)\"`, or name the kubeconfig of one that you have";

/// Access to a cluster and to the programs that go with it.
pub struct Cluster {
    /// As an administrator.
    pub client: Client,
    /// The file that gives access.
    pub kubeconfig: PathBuf,
    /// The address of this host as pods and the API server see it.
    pub host: IpAddr,
    kinds: Kinds,
}

impl Cluster {
    /// By `KUBECONFIG` and `HOMELAB_HOST_IP`.
    pub async fn from_env() -> Result<Self> {
        crate::crypto();
        let kubeconfig = std::env::var_os("KUBECONFIG").filter(|v| !v.is_empty()).map(PathBuf::from).context(NONE)?;
        let read =
            Kubeconfig::read_from(&kubeconfig).with_context(|| format!("{} gives no access", kubeconfig.display()))?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let server = config.cluster_url.host().map(ToOwned::to_owned).unwrap_or_default();
        let client = Client::try_from(config)?;
        client
            .apiserver_version()
            .await
            .with_context(|| format!("the cluster of {} does not answer", kubeconfig.display()))?;
        let host = match std::env::var("HOMELAB_HOST_IP") {
            Ok(ip) => ip.parse().with_context(|| format!("HOMELAB_HOST_IP is no address: {ip}"))?,
            Err(_) => address_towards(&server).context("set HOMELAB_HOST_IP to this host's address as pods see it")?,
        };
        Ok(Self { kinds: Kinds::new(client.clone()), client, kubeconfig, host })
    }

    /// A URL of this host as pods and the API server reach it.
    pub fn host_url(&self, scheme: &str, port: u16) -> String {
        match self.host {
            IpAddr::V4(ip) => format!("{scheme}://{ip}:{port}"),
            IpAddr::V6(ip) => format!("{scheme}://[{ip}]:{port}"),
        }
    }

    async fn kind(&self, api_version: &str, kind: &str) -> Result<Kind> {
        Ok(self.kinds.resolve(api_version, kind).await?)
    }

    /// Applies one object, by force.
    pub async fn apply(&self, object: &Value) -> Result<Value> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = self.kind(&text("apiVersion"), &text("kind")).await?;
        let options = ApplyOptions { force: true, ..ApplyOptions::default() };
        let applied = apply(&self.client, &kind.resource, kind.namespaced, object, MANAGER, options).await?;
        Ok(serde_json::to_value(applied)?)
    }

    /// Applies every document of a YAML stream.
    pub async fn apply_yaml(&self, yaml: &str) -> Result<()> {
        for object in documents(yaml)? {
            self.apply(&object).await?;
        }
        Ok(())
    }

    /// One object; none if it or its kind is not there. `namespace` is passed by for cluster-scoped kinds.
    pub async fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
        let Ok(found) = self.kind(api_version, kind).await else { return Ok(None) };
        let target = ObjectRef::namespaced("", kind, namespace, name);
        let object = api_for(&self.client, &found.resource, found.namespaced, &target)?.get_opt(name).await?;
        object.map(|o| Ok(serde_json::to_value(o)?)).transpose()
    }

    /// All objects of a kind in a namespace, by labels (`""`: all).
    pub async fn list(&self, api_version: &str, kind: &str, namespace: &str, labels: &str) -> Result<Vec<Value>> {
        let found = self.kind(api_version, kind).await?;
        let target = ObjectRef::namespaced("", kind, namespace, "");
        let params = ListParams::default().labels(labels);
        let list = api_for(&self.client, &found.resource, found.namespaced, &target)?.list(&params).await?;
        list.items.iter().map(|o| Ok(serde_json::to_value(o)?)).collect()
    }

    /// Deletes one object; false if it was not there.
    pub async fn delete(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<bool> {
        let found = self.kind(api_version, kind).await?;
        let target = ObjectRef::namespaced(&found.resource.group, kind, namespace, name);
        Ok(delete(&self.client, &found.resource, found.namespaced, &target, DeleteOptions::default()).await?)
    }

    /// Waits until an object satisfies `good`; what it last was is told otherwise.
    pub async fn wait_for(
        &self,
        (api_version, kind, namespace, name): (&str, &str, &str, &str),
        what: &str,
        limit: Duration,
        good: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait::until(&format!("{kind} {namespace}/{name}: {what}"), limit, async || {
            match self.get(api_version, kind, namespace, name).await {
                Ok(Some(object)) if good(&object) => Ok(object),
                Ok(Some(object)) => Err(summary(&object)),
                Ok(None) => Err("it does not exist".into()),
                Err(error) => Err(chain(error.as_ref())),
            }
        })
        .await
    }

    /// Waits until an object is what its spec says.
    pub async fn wait_healthy(&self, id: (&str, &str, &str, &str), limit: Duration) -> Result<Value> {
        self.wait_for(id, "healthy", limit, |object| health(object) == Health::Current).await
    }

    /// `kubectl`, as an administrator.
    pub async fn kubectl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<Output> {
        self.program("HOMELAB_KUBECTL", "kubectl").args(args).run_ok().await.context("kubectl failed")
    }

    /// `helm`, as an administrator.
    pub async fn helm<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<Output> {
        let program = self.program("HOMELAB_HELM", "helm").args(args).timeout(Duration::from_secs(300));
        program.run_ok().await.context("helm failed")
    }

    /// A program of the host that reaches this cluster, by the variable that names it or from PATH.
    pub fn program(&self, variable: &str, name: &str) -> Program {
        let path = std::env::var_os(variable).filter(|v| !v.is_empty()).map_or_else(|| on_path(name), PathBuf::from);
        Program::new(path)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", std::env::var_os("HOME").unwrap_or_else(|| "/root".into()))
    }

    /// A new namespace whose name begins with `t-` and `stem`.
    pub async fn namespace(&self, stem: &str) -> Result<String> {
        let name = format!("t-{stem}-{:06x}", rand::random::<u32>() & 0xff_ffff);
        let labels = json!({"app.kubernetes.io/managed-by": MANAGER});
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
            .await?;
        let account = ("v1", "ServiceAccount", name.as_str(), "default");
        self.wait_for(account, "made by the cluster", Duration::from_secs(30), |_| true).await?;
        Ok(name)
    }

    /// The Events about one object, as `Reason: note`, oldest first.
    pub async fn events(&self, namespace: &str, kind: &str, name: &str) -> Result<Vec<String>> {
        let mut events = self.list("events.k8s.io/v1", "Event", namespace, "").await?;
        events.retain(|e| e["regarding"]["kind"] == kind && e["regarding"]["name"] == name);
        events.sort_by_key(|e| e["eventTime"].as_str().unwrap_or_default().to_owned());
        let text = |e: &Value, key: &str| e.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(events.iter().map(|e| format!("{}: {}", text(e, "reason"), text(e, "note"))).collect())
    }
}

/// Every document of a YAML stream.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in yaml.split("\n---") {
        let object: Value = serde_saphyr::from_str(document).context("a document is not YAML")?;
        if !object.is_null() {
            objects.push(object);
        }
    }
    Ok(objects)
}

/// A condition's status, reason and message; empty when it is not there.
pub fn condition(object: &Value, type_: &str) -> (String, String, String) {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|c| c["type"] == type_);
    let text = |key: &str| found.and_then(|c| c.get(key)).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// The conditions of an object in one line, for messages.
pub fn summary(object: &Value) -> String {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let each = conditions.into_iter().flatten().map(|c| {
        let text = |key: &str| c.get(key).and_then(Value::as_str).unwrap_or_default();
        format!("{}={} ({}: {})", text("type"), text("status"), text("reason"), text("message"))
    });
    let conditions = each.collect::<Vec<_>>().join("; ");
    let state = match health(object) {
        Health::Current => "current".to_owned(),
        other => other.message().to_owned(),
    };
    if conditions.is_empty() { state } else { format!("{state}; {conditions}") }
}

/// The program `name` on PATH; itself if there is none, so that its start fails with its name.
fn on_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()).unwrap_or_else(|| name.into())
}

/// The address from which this host talks to `server`.
fn address_towards(server: &str) -> Result<IpAddr> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect((server, 443))?;
    let ip = socket.local_addr()?.ip();
    if ip.is_unspecified() {
        bail!("no route to {server}");
    }
    Ok(ip)
}
