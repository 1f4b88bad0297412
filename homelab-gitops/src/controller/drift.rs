//! What wakes us: a change of any object that we hold, heard by the watches that all of the process share.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use homelab_core::meta::ObjectRef;
use homelab_core::watch::{Change, Watch};
use kube::discovery::ApiResource;
use kube::runtime::reflector::ObjectRef as Key;
use tokio::task::AbortHandle;

use super::Shared;
use crate::api::v1alpha1::GitSync;
use crate::source::Owner;

/// The watches of one GitSync. They end with it.
#[derive(Default)]
pub(super) struct Subscriptions {
    objects: Arc<RwLock<BTreeSet<ObjectRef>>>,
    tasks: HashMap<(ApiResource, Option<String>), AbortHandle>,
}

impl Subscriptions {
    /// Watches these kinds, and wakes the GitSync when one of these objects changes.
    pub(super) fn follow(
        &mut self,
        shared: &Shared,
        owner: &Owner,
        scopes: &[(ApiResource, Option<String>)],
        objects: BTreeSet<ObjectRef>,
    ) {
        *self.objects.write().unwrap_or_else(PoisonError::into_inner) = objects;
        self.tasks.retain(|scope, task| {
            let keep = scopes.contains(scope) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for scope in scopes {
            if !self.tasks.contains_key(scope) {
                let watch = shared.context.watches.subscribe(&scope.0, scope.1.as_deref());
                let (objects, triggers) = (Arc::clone(&self.objects), shared.triggers.clone());
                let key = Key::<GitSync>::new(&owner.name).within(&owner.namespace);
                let wake = move || triggers.send(key.clone()).is_ok();
                self.tasks.insert(scope.clone(), tokio::spawn(listen(watch, objects, wake)).abort_handle());
            }
        }
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

async fn listen(mut watch: Watch, objects: Arc<RwLock<BTreeSet<ObjectRef>>>, wake: impl Fn() -> bool) {
    loop {
        let is_ours = match watch.changed().await {
            Change::Object(reference) => objects.read().unwrap_or_else(PoisonError::into_inner).contains(&reference),
            Change::All => true,
        };
        if is_ours && !wake() {
            return;
        }
    }
}
