//! Keeps the Kubernetes Secret of each SecretSync equal to what the store holds.
//!
//! One pass is `observe` (what the store holds, and the Secret as it is: both as the account) → [`content::build`] and
//! [`plan::plan`] (pure) → `execute` (as the account) → [`report::status`] (pure). A change in the store, of the Secret or
//! of the SecretSync starts one; changes that come together are taken together.

#![expect(clippy::disallowed_methods, reason = "a controller: it asks the clock")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, future, stream};
use homelab_core::class::Backoff;
use homelab_core::client::{Clients, explain};
use homelab_core::events::{EventType, Events};
use homelab_core::meta::manager;
use homelab_core::watch::Watches;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use crate::Error;
use crate::api::v1alpha1::SecretSync;
use crate::kv::duration;
use crate::sync::report::{self, Finding};
use crate::sync::{Problem, target};

mod execute;
mod generate;
mod observe;
mod pass;
mod secrets;
mod wake;

pub use secrets::{AccountSecrets, KeptElsewhere, StoreSecrets};

#[cfg(test)]
mod tests;

/// Changes that come together are taken together.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// How often it is looked again whether a right was given, or a Secret taken away, that nobody tells us of.
const RECHECK: Duration = Duration::from_secs(20);
/// Passes under way at once.
const PARALLEL: u16 = 4;

/// What the controller works with.
#[derive(Clone)]
pub struct Context {
    /// Our own client for SecretSyncs, and one for each account.
    pub clients: Clients,
    /// The watches of this process.
    pub watches: Watches,
    /// Where events go.
    pub events: Events,
    /// The store.
    pub secrets: Arc<dyn AccountSecrets>,
    /// Namespaces whose SecretSyncs are ours; none: all of them.
    pub namespaces: Option<Vec<String>>,
}

/// What the passes of one scope share.
struct Shared {
    context: Context,
    known: Store<SecretSync>,
    /// Failures in a row.
    failures: Mutex<HashMap<ObjectRef<SecretSync>, u32>>,
}

/// Runs until `shutdown` is ready; passes under way are finished.
pub async fn run(context: Context, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
    let shutdown = shutdown.shared();
    let scopes = match &context.namespaces {
        None => vec![None],
        Some(namespaces) => namespaces.iter().cloned().map(Some).collect(),
    };
    let controls = scopes.into_iter().map(|scope| control(context.clone(), scope, shutdown.clone()));
    future::join_all(controls).await;
    Ok(())
}

async fn control(
    context: Context,
    namespace: Option<String>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let own = context.clients.own();
    let api: Api<SecretSync> = match &namespace {
        None => Api::all(own),
        Some(namespace) => Api::namespaced(own, namespace),
    };
    let controller = Controller::new(api, watcher::Config::default())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(PARALLEL));
    let known = controller.store();
    let (sender, mut receiver) = unbounded_channel();
    let woken = wake::run(context.clone(), namespace, known.clone(), sender);
    let shared = Arc::new(Shared { context, known, failures: Mutex::default() });
    let passes = controller
        .reconcile_on(stream::poll_fn(move |context| receiver.poll_recv(context)))
        .graceful_shutdown_on(shutdown)
        .run(reconcile, on_error, shared)
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::debug!(error = homelab_core::client::chain(&error), "SecretSync not reconciled");
            }
        });
    future::select(Box::pin(passes), Box::pin(woken)).await;
}

async fn reconcile(sync: Arc<SecretSync>, shared: Arc<Shared>) -> Result<Action, Error> {
    let key = ObjectRef::from_obj(&*sync);
    if sync.metadata.deletion_timestamp.is_some() {
        shared.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        return Ok(Action::await_change());
    }
    let (finding, again) =
        if sync.spec.suspend { (Finding::Suspended, None) } else { pass::pass(&shared, &sync).await };
    tell(&shared, &sync, &finding).await?;
    let failures = shared.count(key, &finding);
    Ok(match &finding {
        Finding::Suspended => Action::await_change(),
        Finding::Failed(Problem { passing: true, .. }) => {
            Action::requeue(Backoff::RECONCILE.delay(failures).min(RECHECK))
        }
        Finding::Failed(_) => Action::requeue(RECHECK),
        Finding::Held { .. } => Action::requeue(refresh(&sync).min(until(again))),
    })
}

fn on_error(_: Arc<SecretSync>, error: &Error, _: Arc<Shared>) -> Action {
    tracing::warn!("{error}");
    Action::requeue(Duration::from_secs(2))
}

/// Time until a rotation.
fn until(again: Option<Timestamp>) -> Duration {
    let wait = again.map(|at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
    wait.map_or(Duration::MAX, |wait| wait.max(Duration::from_secs(1)))
}

fn refresh(sync: &SecretSync) -> Duration {
    let asked = duration::parse(&sync.spec.refresh).and_then(|wait| Duration::try_from(wait).ok());
    asked.unwrap_or(Duration::from_secs(3600)).max(Duration::from_secs(10))
}

impl Shared {
    /// Failures in a row before this one.
    fn count(&self, key: ObjectRef<SecretSync>, finding: &Finding) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(finding, Finding::Failed(_)) {
            failures.remove(&key);
            return 0;
        }
        let count = failures.entry(key).or_default();
        *count = count.saturating_add(1);
        *count - 1
    }
}

/// Writes the status where it changes, and an event about what somebody has to do something about.
async fn tell(shared: &Shared, sync: &SecretSync, finding: &Finding) -> Result<(), Error> {
    let before = sync.status.clone().unwrap_or_default();
    let generation = sync.metadata.generation.unwrap_or_default();
    let Some(status) = report::status(&before, generation, &target(sync), finding, Timestamp::now()) else {
        return Ok(());
    };
    let (namespace, name) = (sync.namespace().unwrap_or_default(), sync.name_any());
    if let Finding::Failed(problem) = finding
        && !problem.passing
    {
        let about = sync.object_ref(&());
        shared.context.events.emit(&about, EventType::Warning, problem.reason, "Sync", &problem.message).await;
    }
    let patch = json!({
        "apiVersion": SecretSync::api_version(&()), "kind": SecretSync::kind(&()), "metadata": {"name": name},
        "status": status,
    });
    let api: Api<SecretSync> = Api::namespaced(shared.context.clients.own(), &namespace);
    match api.patch_status(&name, &PatchParams::apply(manager::SECRETS), &Patch::Apply(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::Backend(format!(
            "the status of SecretSync {namespace}/{name} was not written: {}",
            explain(&error)
        ))),
    }
}
