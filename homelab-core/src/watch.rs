//! One watch a kind and scope for the whole process, of metadata only, shared by all who ask and ended with the last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::{Stream, StreamExt};
use kube::api::{Api, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::discovery::ApiResource;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::broadcast;

use crate::meta::ObjectRef;

/// What is kept of each object.
pub type Metadata = PartialObjectMeta<DynamicObject>;

/// Changes that a slow listener may be behind before it is told that all may have changed.
const BACKLOG: usize = 256;

/// A kind in one namespace, or everywhere.
type Scope = (ApiResource, Option<String>);

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This object was made, changed or deleted.
    Object(ObjectRef),
    /// Anything may have: the watch began anew, or the listener fell behind.
    All,
}

/// The watches of this process.
#[derive(Clone)]
pub struct Watches {
    client: Client,
    open: Arc<Mutex<HashMap<Scope, Weak<Shared>>>>,
}

impl Watches {
    /// None yet; they will read by `client`.
    pub fn new(client: Client) -> Self {
        Self { client, open: Arc::default() }
    }

    /// Watches `resource` in `namespace`, or everywhere, together with whoever else does.
    pub fn subscribe(&self, resource: &ApiResource, namespace: Option<&str>) -> Watch {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, shared| shared.strong_count() > 0);
        let scope = (resource.clone(), namespace.map(ToOwned::to_owned));
        let shared = open.get(&scope).and_then(Weak::upgrade).unwrap_or_else(|| {
            let shared = Arc::new(Shared::start(self.client.clone(), resource.clone(), namespace));
            open.insert(scope, Arc::downgrade(&shared));
            shared
        });
        Watch { changes: shared.changes.subscribe(), shared }
    }

    /// How many watches are open, for metrics.
    pub fn count(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter(|shared| shared.strong_count() > 0).count()
    }
}

struct Shared {
    resource: ApiResource,
    store: Store<Metadata>,
    changes: broadcast::Sender<Change>,
    task: tokio::task::AbortHandle,
}

impl Shared {
    fn start(client: Client, resource: ApiResource, namespace: Option<&str>) -> Self {
        let api: Api<Metadata> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let events = watcher(api, watcher::Config::default()).default_backoff();
        Self::follow(events, resource)
    }

    fn follow(
        events: impl Stream<Item = watcher::Result<watcher::Event<Metadata>>> + Send + 'static,
        resource: ApiResource,
    ) -> Self {
        let (changes, _) = broadcast::channel(BACKLOG);
        let writer = Writer::new(resource.clone());
        let store = writer.as_reader();
        let task = tokio::spawn(run(events, writer, resource.clone(), changes.clone())).abort_handle();
        Self { resource, store, changes, task }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    events: impl Stream<Item = watcher::Result<watcher::Event<Metadata>>>,
    mut writer: Writer<Metadata>,
    resource: ApiResource,
    changes: broadcast::Sender<Change>,
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let mut event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::debug!(
                    kind = resource.kind,
                    error = crate::client::chain(&error),
                    "watch interrupted; trying again"
                );
                continue;
            }
        };
        slim(&mut event);
        // The store first: who hears of a change must find it there.
        writer.apply_watcher_event(&event);
        let change = match &event {
            watcher::Event::Apply(object) | watcher::Event::Delete(object) => {
                Change::Object(reference(&resource, object))
            }
            watcher::Event::InitDone => Change::All,
            watcher::Event::Init | watcher::Event::InitApply(_) => continue,
        };
        // Nobody listens: fine.
        let _ = changes.send(change);
    }
}

/// Drops what is large and of no use to anybody here.
fn slim(event: &mut watcher::Event<Metadata>) {
    if let watcher::Event::Apply(object) | watcher::Event::InitApply(object) = event {
        object.managed_fields_mut().clear();
        object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

fn reference(resource: &ApiResource, object: &Metadata) -> ObjectRef {
    let meta = object.meta();
    ObjectRef {
        group: resource.group.clone(),
        kind: resource.kind.clone(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

/// One listener of a shared watch. The watch ends when its last listener is dropped.
pub struct Watch {
    changes: broadcast::Receiver<Change>,
    shared: Arc<Shared>,
}

impl Watch {
    /// Waits until all objects are known.
    pub async fn ready(&self) {
        // The writer lives as long as its task, which lives as long as we do.
        let _ = self.shared.store.wait_until_ready().await;
    }

    /// All objects known now.
    pub fn objects(&self) -> Vec<Arc<Metadata>> {
        self.shared.store.state()
    }

    /// One object.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<Metadata>> {
        let key = kube::runtime::reflector::ObjectRef::new_with(name, self.shared.resource.clone());
        self.shared.store.get(&match namespace {
            Some(namespace) => key.within(namespace),
            None => key,
        })
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) -> Change {
        match self.changes.recv().await {
            Ok(change) => change,
            Err(broadcast::error::RecvError::Lagged(_)) => Change::All,
            // The sender is in `shared`, which we hold.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests;
