//! homelab-rollout's `SecretVersions` and the webhook's `SecretLookup` by homelab-secrets' versions: of the store in this
//! process, or of a secret server elsewhere.

use std::sync::Arc;

use async_trait::async_trait;
use homelab_core::meta::Account;
use homelab_rollout::ports::{Holder, PortError, ResolvedSecret, SecretVersions};
use homelab_secrets::Error;
use homelab_secrets::inject::server::{Resolved, SecretLookup};
use homelab_secrets::versions::Versions;

use super::counted;
use crate::daemon::metrics::Metrics;

/// Versions, asked for in the name of an account. How each call ended is counted.
#[derive(Clone)]
pub struct CountedVersions {
    versions: Arc<dyn Versions>,
    metrics: Arc<Metrics>,
}

impl CountedVersions {
    /// Over these.
    pub fn new(versions: Arc<dyn Versions>, metrics: Arc<Metrics>) -> Self {
        Self { versions, metrics }
    }
}

#[async_trait]
impl SecretVersions for CountedVersions {
    async fn resolve(
        &self,
        account: &Account,
        paths: &[(String, Option<u64>)],
    ) -> Result<Vec<ResolvedSecret>, PortError> {
        let mut found = Vec::with_capacity(paths.len());
        for (path, version) in paths {
            let call = self.versions.resolve(account, path, *version);
            let at = counted(&self.metrics, "secrets_resolve", call).await.map_err(port)?;
            found.push(ResolvedSecret { path: at.path, version: at.version, digest: at.digest, keys: at.keys });
        }
        Ok(found)
    }

    async fn pin(&self, holder: &Holder, versions: &[(String, u64)]) -> Result<(), PortError> {
        let holder = format!("{}@{}", holder.app, holder.revision);
        counted(&self.metrics, "secrets_pin", self.versions.pin(&holder, versions)).await.map_err(port)
    }

    async fn gone(&self, versions: &[(String, u64)]) -> Result<Vec<(String, u64)>, PortError> {
        counted(&self.metrics, "secrets_gone", self.versions.gone(versions)).await.map_err(port)
    }

    async fn changed(&self, paths: &[(String, u64)]) -> Result<(), PortError> {
        self.versions.changed(paths).await.map_err(port)
    }
}

#[async_trait]
impl SecretLookup for CountedVersions {
    async fn look_up(&self, account: &Account, path: &str, version: Option<u64>) -> Result<Resolved, Error> {
        let call = self.versions.resolve(account, path, version);
        let at = counted(&self.metrics, "secrets_look_up", call).await?;
        Ok(Resolved { version: at.version, keys: at.keys })
    }
}

fn port(error: Error) -> PortError {
    PortError { class: error.class(), message: error.to_string() }
}
