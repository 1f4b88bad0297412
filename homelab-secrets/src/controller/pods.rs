//! Cares for pods that get secrets: what slipped past the webhook, what waits for us longer than it has to, what could
//! not get its secrets.
//!
//! It reaches nothing but the API server, and does nothing that Kubernetes would not do itself sooner or later: it evicts
//! a pod whose owner makes it anew, wakes an owner that Kubernetes lets wait after a refusal (up to 16 minutes for a
//! ReplicaSet), and says on the pod what its agent said.

use std::time::Duration;

use futures::StreamExt as _;
use homelab_core::client::explain;
use homelab_core::events::{EventType, Events};
use homelab_core::meta::{annotation, label, manager};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Event, ObjectReference, Pod};
use kube::api::{DeleteParams, DynamicObject, EvictParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::holders::{Held, Holders};
use self::observe::{Failure, PodId, PodView};
use self::plan::{Action, Nudges, Scope};
use super::follow::{Signals, follow};
use crate::Error;

mod holders;
mod observe;
mod plan;
#[cfg(test)]
mod tests;

/// Changes that come together are taken together.
const SETTLE: Duration = Duration::from_millis(200);
/// How often it is looked again, whatever happens.
const RECHECK: Duration = Duration::from_secs(60);

/// What the controller works with.
pub struct Context {
    /// Watches pods and Events, evicts pods, touches their owners.
    pub client: Client,
    /// Only pods of these namespaces; none for all.
    pub namespaces: Option<Vec<String>>,
    /// Name of the webhook's configuration and of the policy behind it, as in
    /// [`WebhookSettings`](crate::inject::WebhookSettings).
    pub webhook: String,
    /// Namespaces whose pods the webhook never sees.
    pub left_alone: Vec<String>,
    /// Is told of the pods that are watched.
    pub holders: Holders,
    /// Told why a pod has no secrets.
    pub events: Events,
    /// Ends [`run`].
    pub shutdown: CancellationToken,
}

struct Watched {
    pods: Vec<Store<Pod>>,
    failures: Vec<Store<Event>>,
}

/// Runs until `shutdown`. Trouble with the API server is waited out. To be run by one process of the cluster.
pub async fn run(context: Context) -> Result<(), Error> {
    let mut signals = Signals::new();
    let watched = watch(&context, &mut signals);
    context.holders.set(watched.pods.clone());
    let mut missing: Vec<bool> = vec![true; signals.len()];
    let started = now();
    let mut nudges = Nudges::default();
    let mut due = Instant::now() + SETTLE;
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            Some((index, listed)) = signals.next() => {
                if listed && let Some(slot) = missing.get_mut(index) {
                    *slot = false;
                }
                due = due.min(Instant::now() + SETTLE);
            }
            () = sleep_until(due) => {
                due = Instant::now() + RECHECK;
                if !missing.contains(&true) {
                    let again = look(&context, &watched, started, &mut nudges).await;
                    due = due.min(Instant::now() + again.unwrap_or(RECHECK));
                }
            }
        }
    }
}

fn watch(context: &Context, signals: &mut Signals) -> Watched {
    let opted_in = watcher::Config::default().labels(&format!("{}=true", label::INJECT));
    let of_apps = watcher::Config::default().labels(&format!("{},!{}", label::APP, label::INJECT));
    let refusals = watcher::Config::default().fields("reason=FailedCreate");
    let mut watched = Watched { pods: Vec::new(), failures: Vec::new() };
    for config in [opted_in, of_apps] {
        watched.pods.extend(scopes(context).into_iter().map(|api| follow(api, config.clone(), signals)));
    }
    watched.failures.extend(scopes(context).into_iter().map(|api| follow(api, refusals.clone(), signals)));
    watched
}

fn scopes<K>(context: &Context) -> Vec<Api<K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + DeserializeOwned,
{
    match &context.namespaces {
        Some(namespaces) => namespaces.iter().map(|ns| Api::namespaced(context.client.clone(), ns)).collect(),
        None => vec![Api::all(context.client.clone())],
    }
}

/// One look at everything; how long until the next one is due by itself.
async fn look(context: &Context, watched: &Watched, started: Timestamp, nudges: &mut Nudges) -> Option<Duration> {
    let pods: Vec<PodView> = watched.pods.iter().flat_map(Store::state).map(|pod| observe::pod(&pod)).collect();
    let refused = |event: &Event| observe::failure(event, &context.webhook);
    let failures: Vec<Failure> = watched.failures.iter().flat_map(Store::state).filter_map(|e| refused(&e)).collect();
    let missing = if pods.iter().any(PodView::slipped) { missing(context).await } else { None };
    let scope = Scope { left_alone: &context.left_alone, missing: missing.as_deref(), started };
    let plan = plan::plan(&pods, &failures, nudges, &scope, now());
    for action in plan.actions {
        execute(context, action).await;
    }
    plan.again
}

/// The webhook's configuration, if it is certainly not there.
async fn missing(context: &Context) -> Option<String> {
    let api = Api::<MutatingWebhookConfiguration>::all(context.client.clone());
    let found = api.get_metadata_opt(&context.webhook).await;
    matches!(found, Ok(None)).then(|| format!("MutatingWebhookConfiguration {}", context.webhook))
}

async fn execute(context: &Context, action: Action) {
    match action {
        Action::Tell { pod, reason, note } => {
            context.events.emit(&about(&pod), EventType::Warning, reason, "Inject", &note).await;
        }
        Action::Remake { pod, reason, note } => {
            context.events.emit(&about(&pod), EventType::Warning, reason, "Evict", &note).await;
            match evict(&context.client, &pod).await {
                Ok(()) => tracing::info!(%pod, reason, "pod evicted, so that its owner makes it anew"),
                Err(error) => tracing::warn!(%pod, error = explain(&error), "pod not evicted; trying again"),
            }
        }
        Action::Nudge(owner) => match nudge(&context.client, &owner).await {
            Ok(()) => tracing::info!(%owner, "owner of refused pods woken"),
            Err(error) => tracing::info!(%owner, error = explain(&error), "owner of refused pods not woken"),
        },
    }
}

/// Budgets of disruption hold for us, too; a pod that came in its place is not meant.
async fn evict(client: &Client, pod: &PodId) -> Result<(), kube::Error> {
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace);
    let only = Preconditions { uid: Some(pod.uid.clone()), ..Preconditions::default() };
    let delete = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
    let params = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
    match api.evict(&pod.name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        answer => answer.map(drop),
    }
}

/// Any change of an owner makes its controller look at it at once.
async fn nudge(client: &Client, owner: &observe::Owner) -> Result<(), kube::Error> {
    let types = TypeMeta { api_version: owner.api_version.clone(), kind: owner.kind.clone() };
    let Ok(kind) = GroupVersionKind::try_from(types) else { return Ok(()) };
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &owner.namespace, &ApiResource::from_gvk(&kind));
    let patch = json!({"metadata": {"uid": owner.uid, "annotations": {annotation::NUDGED_AT: now().to_string()}}});
    let params = PatchParams { field_manager: Some(manager::SECRETS.into()), ..PatchParams::default() };
    match api.patch_metadata(&owner.name, &params, &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        answer => answer.map(drop),
    }
}

fn about(pod: &PodId) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "the controller's shell gives the clock to what is pure")]
fn now() -> Timestamp {
    Timestamp::now()
}
