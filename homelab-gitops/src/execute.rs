//! Reads the cluster with our own rights and writes it as the GitSync's account.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use homelab_core::apply::{self, ApplyError, ApplyOptions, DeleteOptions};
use homelab_core::class::Class;
use homelab_core::client::{Clients, Kind, Kinds, classify, explain};
use homelab_core::meta::{Account, ObjectRef, manager};
use kube::Client;

use crate::Error;
use crate::desired::Item;
use crate::inventory::{self, GroupKind};
use crate::plan::{Action, Applied, Fingerprint};
use crate::source::Owner;

mod conflict;
mod health;
mod observe;

pub use health::{Checked, check};
pub use observe::{Observed, Served};

/// Requests under way at once for one GitSync.
const PARALLEL: usize = 8;

/// The cluster as one GitSync reads and writes it.
#[derive(Clone)]
pub struct Cluster {
    own: Client,
    acting: Client,
    kinds: Arc<Kinds>,
    owner: Owner,
    account: Account,
    /// Namespaces that the daemon is for; none: all.
    namespaces: Option<Vec<String>>,
    set: String,
}

/// What an action came to.
#[derive(Debug)]
pub enum Done {
    /// Applied.
    Applied {
        /// Which object.
        reference: ObjectRef,
        /// For the next plan.
        applied: Applied,
        /// It was other than it should be.
        changed: bool,
    },
    /// Asked to be deleted, or gone already.
    Deleted(ObjectRef),
}

impl Cluster {
    /// The cluster, written as `account`.
    pub fn new(
        clients: &Clients,
        kinds: Arc<Kinds>,
        owner: Owner,
        account: Account,
        namespaces: Option<Vec<String>>,
    ) -> Result<Self, Error> {
        let acting =
            clients.of(&account).map_err(|e| Error::Bug(format!("no client for {account}: {}", explain(&e))))?;
        let set = inventory::id(&owner);
        Ok(Self { own: clients.own(), acting, kinds, owner, account, namespaces, set })
    }

    /// Id of the GitSync's set.
    pub fn set(&self) -> &str {
        &self.set
    }

    /// Asks the API server what it would say to each item. The failures, if any.
    pub async fn dry_run(&self, items: &[(&Item, bool)], served: &Served) -> Vec<Error> {
        let tries = items.iter().filter_map(|(item, force)| Some((*item, *force, served.get(item.reference())?)));
        let writes = tries.map(|(item, force, kind)| self.write(item, kind, true, force).boxed());
        in_parallel(writes).await.into_iter().filter_map(Result::err).collect()
    }

    /// Does all actions, as far as each goes; one that fails keeps no other from being done.
    pub async fn execute(
        &self,
        actions: &[Action],
        items: &BTreeMap<&ObjectRef, &Item>,
        observed: &Observed,
        served: &Served,
    ) -> (Vec<Done>, Vec<Error>) {
        let results = in_parallel(actions.iter().map(|action| self.act(action, items, observed, served).boxed())).await;
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(one) => done.push(one),
                Err(error) => failed.push(error),
            }
        }
        (done, failed)
    }

    async fn act(
        &self,
        action: &Action,
        items: &BTreeMap<&ObjectRef, &Item>,
        observed: &Observed,
        served: &Served,
    ) -> Result<Done, Error> {
        match action {
            Action::Apply { reference, force } => {
                let planned = items.get(reference).zip(served.get(reference));
                let (item, kind) =
                    planned.ok_or_else(|| Error::Bug(format!("{reference} was planned, but is not desired")))?;
                let object = self.write(item, kind, false, *force).await?;
                let fingerprint = Fingerprint::of(&object.metadata, Some(&item.object));
                let changed = observed.live.get(reference).is_none_or(|live| live.fingerprint != fingerprint);
                let applied = Applied { digest: item.wish.digest.clone(), fingerprint };
                Ok(Done::Applied { reference: reference.clone(), applied, changed })
            }
            Action::Delete { reference, uid, resource_version } => {
                let kind = served
                    .member(reference)
                    .ok_or_else(|| Error::Bug(format!("{reference} was planned, but its kind is unknown")))?;
                let options = DeleteOptions {
                    uid: Some(uid.clone()),
                    resource_version: Some(resource_version.clone()),
                    ..DeleteOptions::default()
                };
                match apply::delete(&self.acting, &kind.resource, kind.namespaced, reference, options).await {
                    Ok(_) => Ok(Done::Deleted(reference.clone())),
                    Err(error) => Err(self.refused(&reference.to_string(), reference, &error)),
                }
            }
        }
    }

    /// Writes without force first: who owns a field decides whether it may be taken.
    async fn write(
        &self,
        item: &Item,
        kind: &Kind,
        dry_run: bool,
        force: bool,
    ) -> Result<kube::api::DynamicObject, Error> {
        let options = |force| ApplyOptions { dry_run, force, resource_version: None };
        let write = |options| {
            apply::apply(&self.acting, &kind.resource, kind.namespaced, &item.object, manager::GITOPS, options)
        };
        let result = match write(options(false)).await {
            Err(ApplyError::Conflict { fields, .. }) if force && conflict::may_take(&fields) => {
                write(options(true)).await
            }
            result => result,
        };
        result.map_err(|error| self.refused(&item.label(), item.reference(), &error))
    }

    fn refused(&self, object: &str, reference: &ObjectRef, error: &ApplyError) -> Error {
        let (class, detail) = match error {
            ApplyError::Api { error, .. } => conflict::judge(reference, classify(error), &explain(error)),
            ApplyError::Conflict { fields, .. } => (Class::Conflict, conflict::describe(fields)),
            ApplyError::Stale { message, .. } => (Class::Conflict, format!("was changed meanwhile: {message}")),
            other => (other.class(), other.to_string()),
        };
        let advice = match class {
            Class::Denied => {
                format!("; give account {} the right by a Role or ClusterRole and its binding", self.account)
            }
            _ => String::new(),
        };
        Error::Object { object: object.into(), detail: format!("{detail}{advice}"), class }
    }
}

/// Results in the order of the requests, which also start in it. They are boxed one by one, since the compiler can not see
/// that a stream of borrowing futures is `Send`.
async fn in_parallel<'a, T: Send>(requests: impl Iterator<Item = BoxFuture<'a, T>>) -> Vec<T> {
    let requests: Vec<_> = requests.collect();
    stream::iter(requests).buffered(PARALLEL).collect().await
}

/// The kind of an object, without its version.
pub fn group_kind(reference: &ObjectRef) -> GroupKind {
    GroupKind { group: reference.group.clone(), kind: reference.kind.clone() }
}
