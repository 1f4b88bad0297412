//! What starts a pass unasked: a change in the store, or of the Secret.

use futures::StreamExt as _;
use homelab_core::watch::{Change, Watch};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::discovery::ApiResource;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::mpsc::UnboundedSender;

use super::Context;
use crate::api::v1alpha1::SecretSync;
use crate::store::Changed;
use crate::sync::{sources, target};

/// The resource that we keep.
pub(super) fn resource() -> ApiResource {
    ApiResource::erase::<Secret>(&())
}

/// Runs until nobody listens any more.
pub(super) async fn run(
    context: Context,
    namespace: Option<String>,
    known: Store<SecretSync>,
    wake: UnboundedSender<ObjectRef<SecretSync>>,
) {
    let mut secrets: Watch = context.watches.subscribe(&resource(), namespace.as_deref());
    let mut changes = context.secrets.changes();
    loop {
        let concerned: Box<dyn Fn(&SecretSync) -> bool + Send> = tokio::select! {
            change = secrets.changed() => Box::new(move |sync| concerns_secret(sync, &change)),
            changed = changes.next() => match changed {
                Some(changed) => Box::new(move |sync| concerns_path(sync, &changed)),
                // The store has closed, and with it this process is about to end.
                None => return std::future::pending().await,
            },
        };
        for sync in known.state().iter().filter(|sync| concerned(sync)) {
            if wake.send(ObjectRef::from_obj(&**sync)).is_err() {
                return;
            }
        }
    }
}

fn concerns_secret(sync: &SecretSync, change: &Change) -> bool {
    match change {
        Change::Object(secret) => secret.namespace == sync.namespace() && secret.name == target(sync),
        Change::All => true,
    }
}

fn concerns_path(sync: &SecretSync, changed: &Changed) -> bool {
    match changed {
        Changed::Path(path) => {
            sources(&sync.spec).iter().any(|source| source.path == *path)
                || sync.spec.generate.iter().any(|wish| wish.path == *path)
        }
        Changed::Document { .. } => false,
        Changed::Mounts | Changed::Unknown => true,
    }
}
