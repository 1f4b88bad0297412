//! Webhooks answered by the cluster itself, on every replica: the poll is asked for by an annotation, the leader does it.

#![expect(clippy::disallowed_methods, reason = "a controller: the annotation holds the time")]

use async_trait::async_trait;
use homelab_core::client::{Clients, explain};
use homelab_core::meta::{Account, annotation, manager};
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::credentials;
use crate::api::v1alpha1::GitSync;
use crate::server::Hooks;
use crate::source::Owner;

/// Keys and polls by the API server.
pub struct ClusterHooks {
    clients: Clients,
    namespaces: Option<Vec<String>>,
}

impl ClusterHooks {
    /// Hooks for the GitSyncs of these namespaces; none: of all.
    pub fn new(clients: Clients, namespaces: Option<Vec<String>>) -> Self {
        Self { clients, namespaces }
    }

    fn api(&self, owner: &Owner) -> Option<Api<GitSync>> {
        let is_ours = self.namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(&owner.namespace));
        is_ours.then(|| Api::namespaced(self.clients.own(), &owner.namespace))
    }
}

#[async_trait]
impl Hooks for ClusterHooks {
    async fn key(&self, owner: &Owner) -> Option<Vec<u8>> {
        let sync = match self.api(owner)?.get_opt(&owner.name).await {
            Ok(sync) => sync?,
            Err(error) => {
                tracing::warn!(gitsync = %owner, "webhook refused: {}", explain(&error));
                return None;
            }
        };
        let reference = sync.spec.webhook_secret_ref.as_ref()?;
        let account = Account::new(&owner.namespace, &sync.spec.service_account);
        match credentials::read(&self.clients, &account, &reference.name, "spec.webhookSecretRef").await {
            Ok(secret) => credentials::text(&secret, "secret").map(String::into_bytes),
            Err(error) => {
                tracing::warn!(gitsync = %owner, "webhook refused: {error}");
                None
            }
        }
    }

    async fn poll(&self, owner: &Owner) -> bool {
        let Some(api) = self.api(owner) else { return false };
        let patch = json!({"metadata": {"annotations": {annotation::SYNC_REQUESTED_AT: Timestamp::now().to_string()}}});
        let params = PatchParams { field_manager: Some(manager::DAEMON.into()), ..PatchParams::default() };
        match api.patch_metadata(&owner.name, &params, &Patch::Merge(patch)).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(gitsync = %owner, "webhook not passed on: {}", explain(&error));
                false
            }
        }
    }
}
