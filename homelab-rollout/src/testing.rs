//! In-memory stand-ins for the engine and the ports.
#![expect(clippy::disallowed_methods, reason = "the stand-ins have a clock of their own")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use homelab_core::class::Class;
use homelab_core::meta::{Account, label};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::deployer::{Deployer, Deployment, Mode, Release, ReleaseStatus, ServiceInfo, SlotRef, SlotState};
use crate::error::Error;
use crate::ports::{
    Artifact, ArtifactSource, Artifacts, Holder, PortError, ResolvedSecret, SecretVersions, Traffic,
    TrafficCapabilities, TrafficConfirmation, TrafficRoute, TrafficSplit, TrafficState,
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An engine whose releases are healthy as soon as they are deployed.
#[derive(Clone, Debug, Default)]
pub struct MemoryDeployer(Arc<Mutex<BTreeMap<String, SlotState>>>);

impl MemoryDeployer {
    /// What a slot holds, by `NAMESPACE/RELEASE`.
    pub fn state(&self, slot: &str) -> Option<SlotState> {
        lock(&self.0).get(slot).cloned()
    }

    /// Changes what a slot holds, as people and clusters do.
    pub fn change(&self, slot: &str, change: impl FnOnce(&mut SlotState)) {
        lock(&self.0).entry(slot.into()).and_modify(change);
    }
}

fn key(slot: &SlotRef) -> String {
    format!("{}/{}", slot.app.namespace.as_deref().unwrap_or_default(), slot.release)
}

fn labels(slot: &SlotRef) -> BTreeMap<String, String> {
    BTreeMap::from([("app".into(), slot.release.clone())])
}

#[async_trait]
impl Deployer for MemoryDeployer {
    async fn observe(&self, slot: &SlotRef) -> Result<SlotState, Error> {
        Ok(self.state(&key(slot)).unwrap_or_default())
    }

    async fn render(&self, slot: &SlotRef, deployment: &Deployment) -> Result<Vec<Value>, Error> {
        let mut pod_labels = labels(slot);
        pod_labels.insert(label::REVISION.into(), deployment.revision.id.clone());
        let name = &slot.release;
        let service = json!({"ports": [{"name": "http", "port": 80, "targetPort": 8080}], "selector": labels(slot)});
        Ok(vec![
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"template": {"metadata": {"labels": pod_labels}}}}),
        ])
    }

    async fn deploy(&self, slot: &SlotRef, deployment: &Deployment) -> Result<(), Error> {
        let mut slots = lock(&self.0);
        let number = slots.get(&key(slot)).and_then(|state| state.release.as_ref()).map_or(1, |old| old.number + 1);
        let service = ServiceInfo {
            name: slot.release.clone(),
            ports: vec![(Some("http".into()), 80, json!(8080))],
            selector: labels(slot),
        };
        let release = Release {
            number,
            revision: Some(deployment.revision.id.clone()),
            idle: deployment.mode == Mode::Idle,
            status: ReleaseStatus::Deployed,
            description: "deployed".into(),
            at: Some(Timestamp::now()),
        };
        let secrets = deployment.revision.secrets.iter().map(|secret| (secret.path.clone(), secret.version)).collect();
        let state = SlotState { release: Some(release), services: vec![service], secrets, ..SlotState::default() };
        slots.insert(key(slot), state);
        Ok(())
    }

    async fn repair(&self, slot: &SlotRef) -> Result<(), Error> {
        self.change(&key(slot), |state| state.drift.clear());
        Ok(())
    }

    async fn remove(&self, slot: &SlotRef) -> Result<(), Error> {
        lock(&self.0).remove(&key(slot));
        Ok(())
    }
}

/// Routes with weights, in force at once. Endpoints are none of its business.
#[derive(Clone, Debug, Default)]
pub struct MemoryTraffic(Arc<Mutex<BTreeMap<String, TrafficState>>>);

impl MemoryTraffic {
    /// The route of an App, by `NAMESPACE/NAME`.
    pub fn state(&self, route: &str) -> TrafficState {
        lock(&self.0).get(route).cloned().unwrap_or_default()
    }

    /// Changes a route, as people do.
    pub fn change(&self, route: &str, change: impl FnOnce(&mut TrafficState)) {
        lock(&self.0).entry(route.into()).and_modify(change);
    }
}

#[async_trait]
impl Traffic for MemoryTraffic {
    async fn capabilities(&self, _: &TrafficRoute) -> Result<TrafficCapabilities, PortError> {
        Ok(TrafficCapabilities { weights: true, preview_header: true })
    }

    async fn observe(&self, route: &TrafficRoute) -> Result<TrafficState, PortError> {
        Ok(self.state(&format!("{}/{}", route.namespace, route.name)))
    }

    async fn apply(
        &self,
        route: &TrafficRoute,
        split: &TrafficSplit,
        version: Option<&str>,
        force: bool,
    ) -> Result<(), PortError> {
        let mut routes = lock(&self.0);
        let state = routes.entry(format!("{}/{}", route.namespace, route.name)).or_default();
        if state.version.as_deref() != version {
            return Err(PortError { class: Class::Conflict, message: "the route was changed meanwhile".into() });
        }
        if force {
            state.edited_by = None;
        }
        if let Some(who) = &state.edited_by {
            return Err(PortError { class: Class::Conflict, message: format!("the route was edited by {who}") });
        }
        let weights = split.backends.iter().map(|backend| (backend.name.clone(), backend.weight)).collect();
        if state.weights != weights {
            state.shifted_at = Some(Timestamp::now());
        }
        let number = version.and_then(|version| version.parse::<u64>().ok()).unwrap_or_default() + 1;
        *state = TrafficState {
            exists: true,
            weights,
            active: Some(split.active.clone()),
            version: Some(number.to_string()),
            ..std::mem::take(state)
        };
        Ok(())
    }

    async fn confirm(&self, _: &TrafficRoute, _: &TrafficSplit) -> Result<TrafficConfirmation, PortError> {
        Ok(TrafficConfirmation::Confirmed("memory".into()))
    }

    async fn release(&self, route: &TrafficRoute) -> Result<(), PortError> {
        lock(&self.0).remove(&format!("{}/{}", route.namespace, route.name));
        Ok(())
    }
}

type Pins = BTreeMap<Holder, Vec<(String, u64)>>;

/// Secrets with versions, readable by everybody.
#[derive(Clone, Debug)]
pub struct MemorySecrets {
    /// Values by path; the version is the position.
    values: Arc<watch::Sender<BTreeMap<String, Vec<String>>>>,
    pins: Arc<Mutex<Pins>>,
}

impl Default for MemorySecrets {
    fn default() -> Self {
        Self { values: Arc::new(watch::channel(BTreeMap::new()).0), pins: Arc::default() }
    }
}

impl MemorySecrets {
    /// Writes a new version.
    pub fn put(&self, path: &str, value: &str) {
        self.values.send_modify(|values| values.entry(path.into()).or_default().push(value.into()));
    }

    /// What is pinned, and for whom.
    pub fn pins(&self) -> BTreeMap<Holder, Vec<(String, u64)>> {
        lock(&self.pins).clone()
    }
}

#[async_trait]
impl SecretVersions for MemorySecrets {
    async fn resolve(&self, _: &Account, paths: &[(String, Option<u64>)]) -> Result<Vec<ResolvedSecret>, PortError> {
        let values = self.values.borrow();
        let one = |(path, version): &(String, Option<u64>)| {
            let missing = || PortError {
                class: Class::NotFound,
                message: format!("{path} does not exist: write it with `homelab kv put`"),
            };
            let versions = values.get(path).ok_or_else(missing)?;
            let newest = version.unwrap_or(versions.len() as u64);
            let index = usize::try_from(newest).ok().and_then(|number| number.checked_sub(1));
            let digest = index.and_then(|index| versions.get(index)).ok_or_else(missing)?.clone();
            Ok(ResolvedSecret { path: path.clone(), version: newest, digest, keys: vec!["value".into()] })
        };
        paths.iter().map(one).collect()
    }

    async fn pin(&self, holder: &Holder, versions: &[(String, u64)]) -> Result<(), PortError> {
        let mut pins = lock(&self.pins);
        if versions.is_empty() {
            pins.remove(holder)
        } else {
            pins.insert(holder.clone(), versions.to_vec())
        };
        Ok(())
    }

    async fn gone(&self, versions: &[(String, u64)]) -> Result<Vec<(String, u64)>, PortError> {
        let values = self.values.borrow();
        let there = |path: &String| values.get(path).map_or(0, |versions| versions.len() as u64);
        Ok(versions.iter().filter(|(path, version)| *version > there(path)).cloned().collect())
    }

    async fn changed(&self, paths: &[(String, u64)]) -> Result<(), PortError> {
        let newer = |values: &BTreeMap<String, Vec<String>>| {
            paths
                .iter()
                .any(|(path, version)| values.get(path).is_some_and(|versions| versions.len() as u64 > *version))
        };
        let mut receiver = self.values.subscribe();
        let changed = receiver.wait_for(newer).await;
        changed.map(drop).map_err(|_| PortError { class: Class::Retry, message: "the store went away".into() })
    }
}

/// One folder for every source, with the tree's id as digest.
#[derive(Clone, Debug)]
pub struct FolderArtifacts(pub PathBuf);

#[async_trait]
impl Artifacts for FolderArtifacts {
    async fn fetch(&self, source: &ArtifactSource) -> Result<Artifact, PortError> {
        let ArtifactSource::GitTree { tree, .. } = source;
        Ok(Artifact { directory: self.0.clone(), digest: tree.clone() })
    }
}
