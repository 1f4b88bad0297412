//! Keeps every GitSync true: poll, render, dry-run, apply, prune, watch, say how it is.
//!
//! One step is `poll` (what does Git say?) → `prepare` (can it be applied?) → `converge` (observe, plan, execute until there is
//! nothing to do) → `report` (pure). Nothing waits inside a step: what is not there yet is looked at again when it changes,
//! so a newer commit never queues behind an older one.

#![expect(clippy::disallowed_methods, reason = "a controller: it asks the clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, future, stream};
use homelab_core::client::{Clients, Kinds, classify, explain};
use homelab_core::events::Events;
use homelab_core::watch::Watches;
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::{reflector::ObjectRef, watcher};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::Error;
use crate::api::v1alpha1::GitSync;
use crate::sealed::SealedFiles;
use crate::source::{GitSource, Owner};
use crate::spec;

mod converge;
mod credentials;
mod drift;
mod finalize;
#[cfg(feature = "server")]
pub mod hooks;
mod memory;
mod parent;
mod poll;
mod prepare;
mod report;
mod sealed;
mod step;

use memory::Memory;

/// What the controller works with.
#[derive(Clone)]
pub struct Context {
    /// Our own client, and one for each account.
    pub clients: Clients,
    /// Which kinds there are.
    pub kinds: Arc<Kinds>,
    /// The watches of this process.
    pub watches: Watches,
    /// Where events go.
    pub events: Events,
    /// Where files come from.
    pub source: Arc<dyn GitSource>,
    /// Who shows the secrets in sealed files; none: nobody does.
    pub sealed: Option<Arc<dyn SealedFiles>>,
    /// Namespaces whose GitSyncs are ours; none: all of them.
    pub namespaces: Option<Vec<String>>,
}

struct Shared {
    context: Context,
    memories: Mutex<BTreeMap<Owner, Arc<tokio::sync::Mutex<Memory>>>>,
    triggers: UnboundedSender<ObjectRef<GitSync>>,
}

impl Shared {
    fn memory(&self, owner: &Owner) -> Arc<tokio::sync::Mutex<Memory>> {
        Arc::clone(self.memories.lock().unwrap_or_else(PoisonError::into_inner).entry(owner.clone()).or_default())
    }

    fn forget(&self, owner: &Owner) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
    }
}

/// Runs until `shutdown` is ready; steps under way are finished.
pub async fn run(context: Context, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
    forget_deleted(&context).await;
    let (sender, receiver) = unbounded_channel();
    let shared = Arc::new(Shared { context, memories: Mutex::default(), triggers: sender });
    let shutdown = shutdown.shared();
    let scopes = match &shared.context.namespaces {
        None => vec![None],
        Some(namespaces) => namespaces.iter().cloned().map(Some).collect(),
    };
    let (routes, controllers): (BTreeMap<_, _>, Vec<_>) = scopes
        .into_iter()
        .map(|scope| {
            let (route, triggers) = unbounded_channel();
            ((scope.clone(), route), control(Arc::clone(&shared), scope, triggers, shutdown.clone()))
        })
        .unzip();
    let dispatch = dispatch(receiver, routes);
    future::select(Box::pin(future::join_all(controllers)), Box::pin(dispatch)).await;
    Ok(())
}

/// Clones of GitSyncs that were deleted while we were away are of no use; nor are their secrets.
async fn forget_deleted(context: &Context) {
    let own = context.clients.own();
    let apis: Vec<Api<GitSync>> = match &context.namespaces {
        None => vec![Api::all(own)],
        Some(namespaces) => namespaces.iter().map(|namespace| Api::namespaced(own.clone(), namespace)).collect(),
    };
    let mut owners = BTreeSet::new();
    for api in apis {
        match api.list_metadata(&ListParams::default()).await {
            Ok(list) => owners.extend(list.items.iter().map(|object| Owner {
                namespace: object.metadata.namespace.clone().unwrap_or_default(),
                name: object.metadata.name.clone().unwrap_or_default(),
            })),
            Err(error) => return tracing::warn!("clones are not tidied up: {}", explain(&error)),
        }
    }
    context.source.retain(&owners).await;
    if let Some(sealed) = &context.sealed
        && let Err(error) = sealed.retain(&owners).await
    {
        tracing::warn!(%error, "secrets of GitSyncs that are gone are not taken away yet");
    }
}

async fn dispatch(
    mut triggers: UnboundedReceiver<ObjectRef<GitSync>>,
    routes: BTreeMap<Option<String>, UnboundedSender<ObjectRef<GitSync>>>,
) {
    while let Some(trigger) = triggers.recv().await {
        if let Some(route) = routes.get(&None).or_else(|| routes.get(&trigger.namespace)) {
            let _ = route.send(trigger);
        }
    }
}

async fn control(
    shared: Arc<Shared>,
    namespace: Option<String>,
    mut triggers: UnboundedReceiver<ObjectRef<GitSync>>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let own = shared.context.clients.own();
    let api: Api<GitSync> = match &namespace {
        None => Api::all(own),
        Some(namespace) => Api::namespaced(own, namespace),
    };
    let triggers = stream::poll_fn(move |context| triggers.poll_recv(context));
    Controller::new(api, watcher::Config::default())
        .with_config(Config::default().debounce(Duration::from_millis(200)).concurrency(4))
        .reconcile_on(triggers)
        .graceful_shutdown_on(shutdown)
        .run(reconcile, on_error, shared)
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::debug!(error = homelab_core::client::chain(&error), "GitSync not reconciled");
            }
        })
        .await;
}

async fn reconcile(sync: Arc<GitSync>, shared: Arc<Shared>) -> Result<Action, Error> {
    let owner = spec::owner(&sync);
    let memory = shared.memory(&owner);
    let mut memory = memory.lock().await;
    let now = Timestamp::now();
    if sync.metadata.deletion_timestamp.is_some() {
        return finalize::finalize(&shared, &sync, &mut memory, now).await;
    }
    let step = step::step(&shared, &sync, &mut memory, now).await;
    let delay = memory.next_delay(now);
    report::write(&shared, &sync, &memory, step, Timestamp::now()).await?;
    Ok(Action::requeue(delay))
}

fn on_error(_: Arc<GitSync>, error: &Error, _: Arc<Shared>) -> Action {
    tracing::warn!("{error}");
    Action::requeue(Duration::from_secs(2))
}

fn api_error(object: &str, error: &kube::Error) -> Error {
    Error::Object { object: object.into(), detail: explain(error), class: classify(error) }
}
