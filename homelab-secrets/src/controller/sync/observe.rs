//! What is: in the store, and in the cluster. Values are read as the account.

use homelab_core::class::Class;
use homelab_core::client::{classify, explain};
use homelab_core::meta::{Account, label};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};

use super::Shared;
use super::wake::resource;
use crate::api::v1alpha1::SecretSync;
use crate::sync::content::Found;
use crate::sync::plan::{Rival, Stray};
use crate::sync::{Live, Problem, sources, target};

/// Everything that the SecretSync names, as the account may read it.
pub(super) async fn found(shared: &Shared, sync: &SecretSync, account: &Account) -> Result<Found, Problem> {
    let mut found = Found::new();
    for source in sources(&sync.spec) {
        let opened = shared.context.secrets.read(account, &source).await.map_err(|e| Problem::of_store(&e))?;
        found.insert(source, opened);
    }
    Ok(found)
}

/// The Secret as it is.
pub(super) async fn live(client: &Client, sync: &SecretSync, account: &Account) -> Result<Option<Live>, Problem> {
    let (namespace, name) = (account.namespace.as_str(), target(sync));
    match Api::<Secret>::namespaced(client.clone(), namespace).get_opt(&name).await {
        Ok(secret) => Ok(secret.map(Live::of)),
        Err(error) => {
            let object = format!("Secret {namespace}/{name}");
            let said = format!("{object} can not be read: {}", explain(&error));
            Err(refused(classify(&error), said, account, &name))
        }
    }
}

/// What a refusal of the API server comes to.
pub(super) fn refused(class: Class, said: String, account: &Account, name: &str) -> Problem {
    match class {
        Class::Denied => Problem::stalled(
            "AccessDenied",
            format!(
                "{said}; let account {account} get, create, patch and delete Secret {name} by a Role and its RoleBinding \
                 in namespace {}",
                account.namespace
            ),
        ),
        Class::Retry | Class::Conflict | Class::NotFound => Problem::passing("ApiUnavailable", said),
        Class::Invalid => Problem::stalled("Refused", said),
        Class::Bug => Problem::stalled("Bug", said),
    }
}

/// Other SecretSyncs that name the same Secret.
pub(super) fn rivals(shared: &Shared, sync: &SecretSync) -> Vec<Rival> {
    let (namespace, name, secret) = (sync.namespace(), sync.name_any(), target(sync));
    let is_rival = |other: &SecretSync| {
        other.namespace() == namespace
            && other.name_any() != name
            && target(other) == secret
            && other.metadata.deletion_timestamp.is_none()
    };
    let state = shared.known.state();
    let rivals = state.iter().filter(|other| is_rival(other));
    rivals.map(|other| Rival { name: other.name_any(), created: super::pass::created(other) }).collect()
}

/// Secrets that belong to the SecretSync and are not the one that it names now.
pub(super) async fn strays(shared: &Shared, sync: &SecretSync) -> Vec<Stray> {
    let (namespace, name, secret) = (sync.namespace(), sync.name_any(), target(sync));
    let uid = sync.metadata.uid.as_deref().unwrap_or_default();
    let scope = shared.context.namespaces.as_ref().and(namespace.as_deref());
    let watch = shared.context.watches.subscribe(&resource(), scope);
    watch.ready().await;
    let is_stray = |meta: &kube::core::ObjectMeta| {
        meta.namespace == namespace
            && meta.name.as_ref() != Some(&secret)
            && meta.deletion_timestamp.is_none()
            && meta.labels.as_ref().and_then(|labels| labels.get(label::SECRET_SYNC)) == Some(&name)
            && meta.owner_references.iter().flatten().any(|owner| owner.uid == uid)
    };
    let objects = watch.objects();
    let strays = objects.iter().map(|object| &object.metadata).filter(|meta| is_stray(meta));
    let stray = |meta: &kube::core::ObjectMeta| {
        Some(Stray {
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            resource_version: meta.resource_version.clone()?,
        })
    };
    strays.filter_map(stray).collect()
}
