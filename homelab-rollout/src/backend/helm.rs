//! Helm releases, by the `helm` program; records and live objects are read natively.
//!
//! A slot is one release. The program runs with a cleared environment, folders of its own and as the slot's account; our
//! post-renderer plugin stamps everything it renders. Helm does not wait for workloads, we do.
#![expect(clippy::disallowed_methods, reason = "runs helm: files, and the clock for locks that a killed helm left")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homelab_core::class::Class;
use homelab_core::client::{Clients, Kinds, chain, classify, explain};
use homelab_core::meta::label;
use homelab_core::process::{Output, ProcessError, Program};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::Value;

use super::chart;
use crate::deployer::{Deployer, Deployment, Mode, Release, SlotRef, SlotState};
use crate::error::Error;
use crate::revision;
use crate::stamp::{self, StampInput, stream};
use record::Record;

mod live;
mod record;
mod setup;
mod words;

/// Field manager of everything that Helm applies: the name of its program.
const MANAGER: &str = "helm";

/// How Helm is run.
#[derive(Clone, Debug)]
pub struct HelmConfig {
    /// The program `helm`.
    pub helm: PathBuf,
    /// The program that stamps, our own.
    pub stamp: PathBuf,
    /// Its arguments.
    pub stamp_args: Vec<String>,
    /// What that program needs to make its injector; opaque here.
    pub injector: Value,
    /// How long hooks may run, and so how long a foreign helm may hold a release with hooks.
    pub timeout: Duration,
    /// How long a helm that we did not start may hold a release without hooks before it counts as killed.
    pub grace: Duration,
    /// Records that are kept of a release.
    pub history: u32,
}

impl HelmConfig {
    /// The usual one.
    pub fn new(helm: impl Into<PathBuf>, stamp: impl Into<PathBuf>, injector: Value) -> Self {
        Self {
            helm: helm.into(),
            stamp: stamp.into(),
            stamp_args: vec!["stamp".into()],
            injector,
            timeout: Duration::from_secs(300),
            grace: Duration::from_secs(20),
            history: 5,
        }
    }
}

/// Held while helm works on a release.
type Lock = Arc<tokio::sync::Mutex<()>>;

/// The engine.
pub struct HelmDeployer {
    clients: Clients,
    kinds: Kinds,
    config: HelmConfig,
    home: setup::Home,
    started: Timestamp,
    locks: Mutex<HashMap<(String, String), Lock>>,
}

impl HelmDeployer {
    /// Makes the folders that helm runs in (gone with this value), with a kubeconfig for `kube` that only we can read.
    pub fn start(kube: &kube::Config, clients: Clients, config: HelmConfig) -> Result<Self, Error> {
        let home = setup::Home::make(kube, &config)?;
        let kinds = Kinds::new(clients.own());
        Ok(Self { clients, kinds, config, home, started: Timestamp::now(), locks: Mutex::default() })
    }

    fn client(&self, slot: &SlotRef) -> Result<Client, Error> {
        let failed =
            |e| Error::Api { action: format!("act as {}", slot.account), message: explain(&e), class: classify(&e) };
        self.clients.of(&slot.account).map_err(failed)
    }

    /// One helm at a time for a release.
    async fn lock(&self, slot: &SlotRef) -> tokio::sync::OwnedMutexGuard<()> {
        let key = (namespace(slot).to_owned(), slot.release.clone());
        let lock = self.locks.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        lock.lock_owned().await
    }

    fn helm(&self, slot: &SlotRef, command: &str) -> Program {
        // No --kube-as-group: the API server knows the groups of a ServiceAccount, and asking for them would need the right
        // to impersonate groups.
        self.home
            .program(&self.config.helm)
            .arg(command)
            .arg(&slot.release)
            .args(["--namespace", namespace(slot), "--kube-as-user", &slot.account.username()])
            .timeout(self.config.timeout + Duration::from_secs(60))
            .output_limit(64 << 20)
    }

    async fn run(&self, slot: &SlotRef, command: &str, program: Program) -> Result<Output, Error> {
        let action = format!("helm {command} {}", slot.release);
        match program.run_ok().await {
            Ok(output) => Ok(output),
            Err(ProcessError::Failed { stderr, .. }) => Err(words::failed(action, &stderr)),
            Err(error) => Err(Error::Api { action, message: chain(&error), class: error.class() }),
        }
    }

    async fn records(&self, client: &Client, slot: &SlotRef) -> Result<Vec<Record>, Error> {
        record::read(client, namespace(slot), &slot.release).await
    }

    /// Writes what helm and the stamp read.
    fn prepare(&self, slot: &SlotRef, deployment: &Deployment) -> Result<Prepared, Error> {
        let folder = self.home.temporary()?;
        chart::unpack(&deployment.revision.archive, &folder.path().join("chart"))?;
        let values = revision::substitute(&deployment.revision.values, slot);
        let input = StampInput {
            format: stamp::FORMAT,
            app: slot.app.name.clone(),
            release: slot.release.clone(),
            colour: slot.colour,
            revision: deployment.revision.id.clone(),
            mode: deployment.mode.clone(),
            secrets: deployment.revision.secrets.clone(),
            injector: self.config.injector.clone(),
        };
        let input = serde_json::to_value(input).map_err(|e| Error::Invalid(format!("stamp input: {e}")))?;
        for (name, content) in [("values.json", values), ("stamp.json", input)] {
            let path = folder.path().join(name);
            std::fs::write(&path, content.to_string()).map_err(|e| chart::io("write", &path, &e))?;
        }
        Ok(Prepared { folder })
    }

    async fn template(
        &self,
        slot: &SlotRef,
        files: &Prepared,
        exists: bool,
        dry_run: &str,
    ) -> Result<Vec<Value>, Error> {
        let program = files.pass(self.helm(slot, "template")).arg("--skip-crds").arg(format!("--dry-run={dry_run}"));
        let program = if exists { program.arg("--is-upgrade") } else { program };
        let output = self.run(slot, "template", program).await.map_err(|e| files.explained(e))?;
        let mut objects = stream::objects(&output.text())?;
        for object in &mut objects {
            live::complete(object, slot, &self.kinds).await?;
        }
        Ok(objects)
    }

    /// Renders against the cluster's own versions and kinds; a chart whose kinds come with it is rendered without.
    async fn rendered(&self, slot: &SlotRef, files: &Prepared, exists: bool) -> Result<Vec<Value>, Error> {
        match self.template(slot, files, exists, "server").await {
            Err(error) if error.to_string().contains("no matches for kind") && files.has_crds() => {
                self.template(slot, files, exists, "client").await
            }
            result => result,
        }
    }

    /// Takes away what a killed helm left: a lock that nothing else clears, or a half-done uninstall.
    async fn recover(&self, client: &Client, slot: &SlotRef) -> Result<(), Error> {
        let records = self.records(client, slot).await?;
        let Some(newest) = records.first() else { return Ok(()) };
        if newest.status == "uninstalling" {
            return self.uninstall(slot).await;
        }
        if !newest.is_pending() {
            return Ok(());
        }
        self.wait_for_foreign_helm(slot, newest)?;
        let last = records.iter().skip(1).find(|r| matches!(r.status.as_str(), "deployed" | "superseded"));
        let Some(last) = last else { return self.uninstall(slot).await };
        let program = self.helm(slot, "rollback").arg(last.number.to_string()).arg("--no-hooks");
        self.run(slot, "rollback", force(slot, program)).await.map(|_| ())
    }

    /// No helm of ours runs (we hold the lock), but one of a daemon before us may.
    fn wait_for_foreign_helm(&self, slot: &SlotRef, newest: &Record) -> Result<(), Error> {
        let Some(since) = newest.deployed_at.filter(|at| *at < self.started) else { return Ok(()) };
        let patience = if newest.has_hooks { self.config.timeout } else { self.config.grace };
        let left =
            SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX) - Timestamp::now().duration_since(since);
        if left <= SignedDuration::ZERO {
            return Ok(());
        }
        Err(Error::Api {
            action: format!("deploy release {}", slot.release),
            message: format!(
                "record {} is {}: another helm runs, or was killed; healed in {}s",
                newest.number,
                newest.status,
                left.as_secs() + 1
            ),
            class: Class::Retry,
        })
    }

    async fn uninstall(&self, slot: &SlotRef) -> Result<(), Error> {
        let timeout = format!("{}s", self.config.timeout.as_secs());
        let program = self.helm(slot, "uninstall").args(["--ignore-not-found", "--timeout", &timeout]);
        self.run(slot, "uninstall", program).await.map(|_| ())
    }

    async fn upgrade(&self, slot: &SlotRef, deployment: &Deployment, files: &Prepared) -> Result<(), Error> {
        let revision = &deployment.revision;
        let idle = deployment.mode == Mode::Idle;
        let mode = if idle { "idle" } else { "serving" };
        let labels =
            format!("{}={},{}={},{}={mode}", label::APP, slot.app.name, label::REVISION, revision.id, label::MODE);
        let program = files
            .pass(self.helm(slot, "upgrade"))
            .args(["--install", "--skip-crds", "--server-side=true", "--reset-values", "--hide-notes"])
            .args(["--labels", &labels, "--history-max", &self.config.history.to_string()])
            .args(["--timeout", &format!("{}s", self.config.timeout.as_secs())])
            .args(["--description", &format!("revision {}, {mode}: {}", revision.id, revision.reason)]);
        let program = if idle { program.arg("--no-hooks") } else { program };
        self.run(slot, "upgrade", force(slot, program)).await.map(|_| ()).map_err(|e| files.explained(e))
    }
}

/// Somebody may have scaled a colour behind Helm's back. A colour that is deployed to has no traffic, so Helm takes its
/// fields back; a release that serves (`rolling`) is not forced.
fn force(slot: &SlotRef, program: Program) -> Program {
    if slot.colour.is_some() { program.arg("--force-conflicts") } else { program }
}

fn namespace(slot: &SlotRef) -> &str {
    slot.app.namespace.as_deref().unwrap_or("default")
}

/// A folder with chart, values and stamp input; gone with this value.
struct Prepared {
    folder: tempfile::TempDir,
}

impl Prepared {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pass(&self, program: Program) -> Program {
        program
            .arg(self.path("chart"))
            .arg("--values")
            .arg(self.path("values.json"))
            .args(["--post-renderer", setup::PLUGIN])
            .env("HOMELAB_STAMP", self.path("stamp.json"))
    }

    fn crds(&self) -> Result<Vec<Value>, Error> {
        let mut objects = vec![];
        for (path, content) in chart::read(&self.path("chart"))? {
            let yaml = [".yaml", ".yml", ".json"].iter().any(|end| path.ends_with(end));
            if yaml && (path.starts_with("crds/") || path.contains("/crds/")) {
                objects.extend(stream::objects(&String::from_utf8_lossy(&content))?);
            }
        }
        Ok(objects)
    }

    fn has_crds(&self) -> bool {
        self.crds().is_ok_and(|crds| !crds.is_empty())
    }

    /// Helm swallows what its plugin says; the stamp leaves it in a file for us.
    fn explained(&self, error: Error) -> Error {
        match std::fs::read_to_string(self.path("stamp.json.error")) {
            Ok(message) if !message.trim().is_empty() => Error::Invalid(message.trim().to_owned()),
            _ => error,
        }
    }
}

#[async_trait]
impl Deployer for HelmDeployer {
    async fn observe(&self, slot: &SlotRef) -> Result<SlotState, Error> {
        let client = self.client(slot)?;
        let records = self.records(&client, slot).await?;
        let Some(newest) = records.first() else { return Ok(SlotState::default()) };
        let base = records.iter().find(|r| r.status == "deployed").unwrap_or(newest);
        let idle = newest.labels.get(label::MODE).map(String::as_str) == Some("idle");
        let revision = newest.labels.get(label::REVISION).cloned();
        let mut state = live::observe(&client, &self.kinds, slot, base).await?;
        if let Some(revision) = revision.as_deref().filter(|_| !idle) {
            state.failed.extend(live::failed_pods(&client, slot, revision).await?);
        }
        let (number, status, description) = (newest.number, newest.state(), newest.description.clone());
        let at = newest.deployed_at;
        state.release = Some(Release { number, revision, idle, status, description, at });
        Ok(state)
    }

    async fn render(&self, slot: &SlotRef, deployment: &Deployment) -> Result<Vec<Value>, Error> {
        let files = self.prepare(slot, deployment)?;
        let exists = !self.records(&self.client(slot)?, slot).await?.is_empty();
        self.rendered(slot, &files, exists).await
    }

    async fn deploy(&self, slot: &SlotRef, deployment: &Deployment) -> Result<(), Error> {
        let _lock = self.lock(slot).await;
        let client = self.client(slot)?;
        let files = self.prepare(slot, deployment)?;
        self.recover(&client, slot).await?;
        let exists = !self.records(&client, slot).await?.is_empty();
        let objects = self.rendered(slot, &files, exists).await?;
        live::check(&client, &self.kinds, &objects).await?;
        live::apply_crds(&client, &self.kinds, files.crds()?).await?;
        self.upgrade(slot, deployment, &files).await
    }

    async fn repair(&self, slot: &SlotRef) -> Result<(), Error> {
        let _lock = self.lock(slot).await;
        let client = self.client(slot)?;
        let records = self.records(&client, slot).await?;
        let Some(deployed) = records.iter().find(|r| r.status == "deployed") else { return Ok(()) };
        live::repair(&client, &self.kinds, slot, deployed).await
    }

    async fn remove(&self, slot: &SlotRef) -> Result<(), Error> {
        let _lock = self.lock(slot).await;
        if self.records(&self.client(slot)?, slot).await?.is_empty() {
            return Ok(());
        }
        self.uninstall(slot).await
    }
}

#[cfg(test)]
mod tests;
