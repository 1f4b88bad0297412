//! The store as one account sees it.

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use homelab_core::meta::Account;

use crate::Error;
use crate::policy::{Identity, SharedPolicies};
use crate::server::audit::Audit;
use crate::store::{Changed, SecretPath, SecretStore};
use crate::sync::{Opened, Source, Values};

/// Secrets, read in the name of an account. Everything goes through the policies.
#[async_trait]
pub trait AccountSecrets: Send + Sync + 'static {
    /// The version that is asked for, or the newest live one. Class `Denied` or `NotFound`: the message names account, path
    /// and what to do. Class `Retry` while store or policies are not there yet. Cancel-safe.
    async fn read(&self, account: &Account, source: &Source) -> Result<Opened, Error>;

    /// To be told before values leave for `object`; `versions` are `PATH@VERSION` each. An error means that they must not.
    async fn leave(&self, account: &Account, versions: &[String], object: &str) -> Result<(), Error>;

    /// What changes from now on. It says that something happened, never what.
    fn changes(&self) -> BoxStream<'static, Changed>;
}

/// A store in this process.
pub struct StoreSecrets {
    store: SecretStore,
    policies: SharedPolicies,
    audit: Option<Audit>,
}

impl StoreSecrets {
    /// Over this store and these policies; what leaves is recorded in `audit`.
    pub fn new(store: SecretStore, policies: SharedPolicies, audit: Option<Audit>) -> Self {
        Self { store, policies, audit }
    }
}

/// Secrets are kept by another process, which hands versions over and no values: every SecretSync says so.
#[derive(Clone, Copy, Debug)]
pub struct KeptElsewhere;

#[async_trait]
impl AccountSecrets for KeptElsewhere {
    async fn read(&self, _: &Account, source: &Source) -> Result<Opened, Error> {
        Err(Error::Invalid(format!(
            "{source}: secrets are kept by another process here (chart value `split`), which gives this one no values, so \
             SecretSyncs are not filled; let an App or an opted-in pod have the secret, or run without `split`"
        )))
    }

    async fn leave(&self, _: &Account, _: &[String], _: &str) -> Result<(), Error> {
        Ok(())
    }

    fn changes(&self) -> BoxStream<'static, Changed> {
        stream::pending().boxed()
    }
}

#[async_trait]
impl AccountSecrets for StoreSecrets {
    async fn read(&self, account: &Account, source: &Source) -> Result<Opened, Error> {
        let at = self.store.resolve_as(&self.policies, account, &source.path, source.version).await?;
        let secret = self.store.get(&SecretPath::parse(&source.path)?, Some(at.version)).await?;
        Ok(Opened { version: at.version, values: Values::of(secret.data.expose()) })
    }

    async fn leave(&self, account: &Account, versions: &[String], object: &str) -> Result<(), Error> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let who = Identity::account(account.clone()).to_string();
        audit.action(&who, "sync", &format!("{} to {object}", versions.join(", "))).await.map(drop)
    }

    fn changes(&self) -> BoxStream<'static, Changed> {
        let next = |mut changes: crate::store::Changes| async move { changes.next().await.map(|one| (one, changes)) };
        stream::unfold(self.store.changes(), next).boxed()
    }
}
