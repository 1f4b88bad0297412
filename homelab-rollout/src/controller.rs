//! The loop: observe, plan, execute, status; one App at a time each, all of them at once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use homelab_core::client::Clients;
use homelab_core::events::Events;
use homelab_core::meta::ObjectRef;
use homelab_core::watch::{Change, Watches};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::discovery::ApiResource;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::api::v1alpha1::App;
use crate::deployer::Deployer;
use crate::error::Error;
use crate::execute::Failpoint;
use crate::ports::{Artifacts, SecretVersions, Traffic};

pub(crate) mod handle;
mod observe;
mod wanted;
mod worker;

/// So many Apps are worked on at once; the others wait their turn. Bounds memory and helm processes.
const AT_ONCE: usize = 4;

/// Everything that the controller works with.
#[derive(Clone)]
pub struct Context {
    /// Our own rights, and those of the accounts that everything is written as.
    pub clients: Clients,
    /// Shared watches.
    pub watches: Watches,
    /// Where transitions are told.
    pub events: Events,
    /// Only these; empty: all.
    pub namespaces: Vec<String>,
    /// The engine.
    pub deployer: Arc<dyn Deployer>,
    /// Who moves traffic.
    pub traffic: Arc<dyn Traffic>,
    /// Secrets by version.
    pub secrets: Arc<dyn SecretVersions>,
    /// Charts.
    pub artifacts: Arc<dyn Artifacts>,
    /// What was last observed of each App.
    pub cases: Cases,
}

/// What was last observed of each App, as a test case of the planner: `{"spec", "observed", "now"}`.
#[derive(Clone, Debug, Default)]
pub struct Cases(Arc<Mutex<HashMap<(String, String), serde_json::Value>>>);

impl Cases {
    /// The last observation of an App.
    pub fn get(&self, namespace: &str, name: &str) -> Option<serde_json::Value> {
        let cases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cases.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    fn set(&self, key: &Key, case: serde_json::Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), case);
    }

    fn remove(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Namespace and name of an App.
type Key = (String, String);

/// Works on all Apps until `shutdown`; actions under way are given up then, and finished by the next leader.
pub async fn run(context: Context, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
    let (sender, mut changes) = mpsc::channel(256);
    let mut watching = JoinSet::new();
    let scopes: Vec<_> = match context.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(namespace.clone())).collect(),
    };
    for scope in &scopes {
        for resource in kinds() {
            watching.spawn(forward(context.watches.clone(), resource, scope.clone(), sender.clone()));
        }
    }
    let mut workers = Workers::new(context, scopes);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            change = changes.recv() => match change {
                Some(change) => workers.changed(&change),
                None => return Ok(()),
            },
            Some(ended) = workers.running.join_next(), if !workers.running.is_empty() => workers.ended(ended.ok()),
        }
    }
}

fn kinds() -> [ApiResource; 5] {
    [
        ApiResource::erase::<App>(&()),
        ApiResource::erase::<Pod>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<EndpointSlice>(&()),
    ]
}

async fn forward(watches: Watches, resource: ApiResource, scope: Option<String>, sender: mpsc::Sender<Change>) {
    let mut watch = watches.subscribe(&resource, scope.as_deref());
    watch.ready().await;
    let mut change = Change::All;
    while sender.send(change).await.is_ok() {
        change = watch.changed().await;
    }
}

/// One task an App.
struct Workers {
    context: Context,
    apps: Vec<homelab_core::watch::Watch>,
    wake: HashMap<Key, Arc<Notify>>,
    running: JoinSet<Key>,
    permits: Arc<Semaphore>,
    failpoint: Failpoint,
}

impl Workers {
    fn new(context: Context, scopes: Vec<Option<String>>) -> Self {
        let resource = ApiResource::erase::<App>(&());
        let apps = scopes.iter().map(|scope| context.watches.subscribe(&resource, scope.as_deref())).collect();
        let failpoint = Failpoint::from_environment();
        Self {
            context,
            apps,
            wake: HashMap::new(),
            running: JoinSet::new(),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            failpoint,
        }
    }

    /// New Apps get their worker. A change of anything wakes the Apps of its namespace: they look, and mostly see that
    /// nothing is to be done.
    fn changed(&mut self, change: &Change) {
        let known: Vec<Key> = self
            .apps
            .iter()
            .flat_map(homelab_core::watch::Watch::objects)
            .filter_map(|app| {
                let meta = app.meta();
                Some((meta.namespace.clone()?, meta.name.clone()?))
            })
            .collect();
        for key in known {
            if !self.wake.contains_key(&key) {
                self.start(key);
            }
        }
        let wakes = |key: &Key| match change {
            Change::All => true,
            Change::Object(ObjectRef { namespace, .. }) => namespace.as_deref() == Some(&key.0),
        };
        for (_, wake) in self.wake.iter().filter(|(key, _)| wakes(key)) {
            wake.notify_one();
        }
    }

    fn start(&mut self, key: Key) {
        let wake = Arc::new(Notify::new());
        self.wake.insert(key.clone(), wake.clone());
        let worker =
            worker::Worker::new(self.context.clone(), key.clone(), wake, self.permits.clone(), self.failpoint.clone());
        self.running.spawn(async move {
            worker.run().await;
            key
        });
    }

    fn ended(&mut self, key: Option<Key>) {
        let Some(key) = key else { return };
        self.context.cases.remove(&key);
        self.wake.remove(&key);
        // Made again under the same name meanwhile.
        self.changed(&Change::Object(ObjectRef::default()));
    }
}

#[cfg(test)]
mod tests;
