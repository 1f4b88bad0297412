//! Keeps the policies in force in step with the cluster, and tells each policy object what became of it.
//!
//! Level-triggered: after any change the whole [`PolicySet`] is built anew from what is. Until every watch has listed
//! once nothing is in force, so that a half-read cluster never allows or denies wrongly.

use std::time::Duration;

use futures::StreamExt as _;
use homelab_core::events::{EventType, Events};
use homelab_core::meta::{Account, GROUP, ObjectRef, manager};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, ServiceAccount};
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::follow::{Signals, follow};
use crate::Error;
use crate::api::v1alpha1::{ClusterSecretPolicy, PolicyStatus, SecretPolicy};
use crate::policy::{PolicySet, Problem, SharedPolicies};

mod follow;
pub mod pods;
mod report;
pub mod sync;

/// Changes that come together are taken together.
const SETTLE: Duration = Duration::from_millis(50);
/// How often the accounts that policies name are looked for again.
const RECHECK: Duration = Duration::from_secs(60);

/// What the controller works with.
pub struct Context {
    /// Reads policies and ServiceAccounts, writes the policies' status.
    pub client: Client,
    /// Only policies of these namespaces (ClusterSecretPolicies always); none for all.
    pub namespaces: Option<Vec<String>>,
    /// Kept current.
    pub policies: SharedPolicies,
    /// Told of invalid policies.
    pub events: Events,
    /// Ends [`run`].
    pub shutdown: CancellationToken,
}

type Guarded<K> = DeserializeGuard<K>;

/// Runs until `shutdown`. Trouble with the API server is waited out with the last known policies in force.
pub async fn run(context: Context) -> Result<(), Error> {
    let mut signals = Signals::new();
    let scopes = match &context.namespaces {
        Some(namespaces) => namespaces.iter().map(|ns| Api::namespaced(context.client.clone(), ns)).collect(),
        None => vec![Api::all(context.client.clone())],
    };
    let namespaced: Vec<_> = scopes
        .into_iter()
        .map(|api| follow::<Guarded<SecretPolicy>>(api, watcher::Config::default(), &mut signals))
        .collect();
    let cluster = follow::<Guarded<ClusterSecretPolicy>>(
        Api::all(context.client.clone()),
        watcher::Config::default(),
        &mut signals,
    );
    let mut missing: Vec<bool> = vec![true; signals.len()];
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
                if !missing.contains(&true) {
                    refresh(&context, &namespaced, &cluster).await;
                }
                due = Instant::now() + RECHECK;
            }
        }
    }
}

/// Puts what is in force and tells every policy about it.
async fn refresh(
    context: &Context,
    namespaced: &[Store<Guarded<SecretPolicy>>],
    cluster: &Store<Guarded<ClusterSecretPolicy>>,
) {
    let own: Vec<_> = namespaced.iter().flat_map(Store::state).collect();
    let wide = cluster.state();
    let set = PolicySet::build(
        own.iter().filter_map(|object| object.0.as_ref().ok()),
        wide.iter().filter_map(|object| object.0.as_ref().ok()),
    );
    let problems = set.problems().to_vec();
    tracing::debug!(rules = set.len(), invalid = problems.len(), "policies in force");
    context.policies.replace(set);
    for object in &own {
        let namespace = object.namespace().unwrap_or_default();
        let api = Api::namespaced(context.client.clone(), &namespace);
        tell(context, &api, object.as_ref(), &problems).await;
    }
    for object in &wide {
        tell(context, &Api::all(context.client.clone()), object.as_ref(), &problems).await;
    }
}

/// What [`tell`] reads of a policy.
trait PolicyObject {
    fn status(&self) -> Option<&PolicyStatus>;
    fn accounts(&self) -> Vec<Account>;
}

impl PolicyObject for SecretPolicy {
    fn status(&self) -> Option<&PolicyStatus> {
        self.status.as_ref()
    }

    fn accounts(&self) -> Vec<Account> {
        let namespace = self.namespace().unwrap_or_default();
        let names = self.spec.rules.iter().flat_map(|rule| &rule.service_accounts);
        names.map(|name| Account::new(namespace.as_str(), name.as_str())).collect()
    }
}

impl PolicyObject for ClusterSecretPolicy {
    fn status(&self) -> Option<&PolicyStatus> {
        self.status.as_ref()
    }

    fn accounts(&self) -> Vec<Account> {
        let subjects = self.spec.rules.iter().flat_map(|rule| &rule.subjects);
        subjects.filter_map(|subject| Account::parse(subject.service_account.as_deref()?)).collect()
    }
}

/// Writes the status of one policy where it changes, with an event where it got worse.
async fn tell<K>(context: &Context, api: &Api<Guarded<K>>, object: &Guarded<K>, problems: &[Problem])
where
    K: Resource<DynamicType = ()> + PolicyObject + Clone + std::fmt::Debug + DeserializeOwned,
{
    let name = object.name_any();
    let id = ObjectRef {
        group: GROUP.into(),
        kind: K::kind(&()).into_owned(),
        namespace: object.namespace(),
        name: name.clone(),
    };
    let finding = match &object.0 {
        Err(unreadable) => report::Finding::Invalid(vec![unreadable.error.clone()]),
        Ok(policy) => match problems.iter().find(|problem| problem.policy == id) {
            Some(problem) => report::Finding::Invalid(problem.reasons.clone()),
            None => report::Finding::InForce { missing: missing_accounts(&context.client, policy.accounts()).await },
        },
    };
    let before = object.0.as_ref().ok().and_then(PolicyObject::status).cloned().unwrap_or_default();
    let generation = object.meta().generation.unwrap_or_default();
    let Some(status) = report::status(&before, generation, &finding, now()) else { return };
    let patch = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "status": status,
    });
    if let Err(error) = api.patch_status(&name, &PatchParams::apply(manager::SECRETS), &Patch::Apply(&patch)).await {
        tracing::warn!(policy = %id, error = homelab_core::client::explain(&error), "status not written");
    }
    if let Some(note) = finding.complaint() {
        let about: ObjectReference = object.object_ref(&());
        context.events.emit(&about, EventType::Warning, finding.reason(), "Apply", &note).await;
    }
}

/// Those of `accounts` that do not exist.
async fn missing_accounts(client: &Client, accounts: Vec<Account>) -> Vec<Account> {
    let mut missing = Vec::new();
    for account in accounts {
        let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &account.namespace);
        if !missing.contains(&account) && matches!(api.get_metadata_opt(&account.name).await, Ok(None)) {
            missing.push(account);
        }
    }
    missing
}

#[expect(clippy::disallowed_methods, reason = "the controller's shell gives the clock to what is pure")]
fn now() -> Timestamp {
    Timestamp::now()
}
