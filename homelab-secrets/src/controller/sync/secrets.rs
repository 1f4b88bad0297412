//! The store as one account sees it.

use std::fmt;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use homelab_core::meta::Account;

use crate::Error;
use crate::policy::{Capability, Decision, Identity, Policy as _, SharedPolicies};
use crate::server::audit::Audit;
use crate::store::{Changed, Put, SecretData, SecretPath, SecretStore};
use crate::sync::generate::Stand;
use crate::sync::{Opened, Source, Values};

/// Secrets, read in the name of an account. Everything goes through the policies.
#[async_trait]
pub trait AccountSecrets: Send + Sync + 'static {
    /// The version that is asked for, or the newest live one. Class `Denied` or `NotFound`: the message names account, path
    /// and what to do. Class `Retry` while store or policies are not there yet. Cancel-safe.
    async fn read(&self, account: &Account, source: &Source) -> Result<Opened, Error>;

    /// What the newest version of a path is; none if there never was one. Fails as [`read`](Self::read) does.
    async fn stand(&self, account: &Account, path: &str) -> Result<Option<Stand>, Error>;

    /// Writes the version after `cas` (0: the first), signed `writer`, and gives its number. Class `Conflict` if somebody wrote
    /// meanwhile: then nothing is written.
    async fn write(
        &self,
        account: &Account,
        path: &str,
        values: SecretData,
        cas: u64,
        writer: String,
    ) -> Result<u64, Error>;

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

impl StoreSecrets {
    fn allowed(&self, account: &Account, path: &SecretPath, capability: Capability) -> Result<(), Error> {
        if self.policies.is_loading() {
            return Err(Error::Backend("the policies of secrets are still being read".into()));
        }
        match self.policies.decide(&Identity::account(account.clone()), path.as_str(), capability) {
            Decision::Allow => Ok(()),
            Decision::Deny { why } => Err(Error::Denied(format!("{account} may not {capability} {path}: {why}"))),
        }
    }

    async fn record(&self, account: &Account, op: &str, object: &str) -> Result<(), Error> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let who = Identity::account(account.clone()).to_string();
        audit.action(&who, op, object).await.map(drop)
    }
}

/// Secrets are kept by another process, which hands versions over and no values: every SecretSync says so.
#[derive(Clone, Copy, Debug)]
pub struct KeptElsewhere;

impl KeptElsewhere {
    fn refusal(path: impl fmt::Display) -> Error {
        Error::Invalid(format!(
            "{path}: secrets are kept by another process here (chart value `split`), which gives this one no values, so \
             SecretSyncs are not filled; let an App or an opted-in pod have the secret, or run without `split`"
        ))
    }
}

#[async_trait]
impl AccountSecrets for KeptElsewhere {
    async fn read(&self, _: &Account, source: &Source) -> Result<Opened, Error> {
        Err(Self::refusal(source))
    }

    async fn stand(&self, _: &Account, path: &str) -> Result<Option<Stand>, Error> {
        Err(Self::refusal(path))
    }

    async fn write(&self, _: &Account, path: &str, _: SecretData, _: u64, _: String) -> Result<u64, Error> {
        Err(Self::refusal(path))
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

    async fn stand(&self, account: &Account, path: &str) -> Result<Option<Stand>, Error> {
        let path = SecretPath::parse(path)?;
        self.allowed(account, &path, Capability::Read)?;
        let found = self.store.find(&path, None).await?;
        Ok(found.map(|found| Stand {
            version: found.version,
            created: found.info.created,
            writer: found.secret.map(|secret| secret.writer),
        }))
    }

    async fn write(
        &self,
        account: &Account,
        path: &str,
        values: SecretData,
        cas: u64,
        writer: String,
    ) -> Result<u64, Error> {
        let path = SecretPath::parse(path)?;
        let capability = if cas == 0 { Capability::Create } else { Capability::Update };
        self.allowed(account, &path, capability)?;
        self.record(account, "generate", path.as_str()).await?;
        Ok(self.store.put(&path, values, Put { cas: Some(cas), writer }).await?.0)
    }

    async fn leave(&self, account: &Account, versions: &[String], object: &str) -> Result<(), Error> {
        self.record(account, "sync", &format!("{} to {object}", versions.join(", "))).await
    }

    fn changes(&self) -> BoxStream<'static, Changed> {
        let next = |mut changes: crate::store::Changes| async move { changes.next().await.map(|one| (one, changes)) };
        stream::unfold(self.store.changes(), next).boxed()
    }
}
