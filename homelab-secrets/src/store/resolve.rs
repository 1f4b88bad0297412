//! Secrets by version, for those who roll them out.

use homelab_core::class::Class;
use homelab_core::meta::Account;

use super::{Changed, SecretPath, SecretStore};
use crate::Error;
use crate::policy::{Capability, Decision, Identity, Policy};
use crate::versions::{Failed, Failure, Known, Moved, Resolved};

/// Nobody is refused for good by policies that are not known yet.
pub(super) fn policy_is_read(policy: &dyn Policy) -> Result<(), Error> {
    if policy.is_loading() {
        Err(Error::Backend("the policies of secrets are still being read".into()))
    } else {
        Ok(())
    }
}

impl SecretStore {
    /// The newest live version of `path` (or `version`) as `account` may see it. Class `Denied` or `NotFound` name the
    /// path, the account and what to do.
    pub async fn resolve_as(
        &self,
        policy: &dyn Policy,
        account: &Account,
        path: &str,
        version: Option<u64>,
    ) -> Result<Resolved, Error> {
        let path = SecretPath::parse(path)?;
        policy_is_read(policy)?;
        if let Decision::Deny { why } =
            policy.decide(&Identity::account(account.clone()), path.as_str(), Capability::Read)
        {
            return Err(Error::Denied(format!("{account} may not read {path}: {why}")));
        }
        let missing = |what: String| {
            Error::NotFound(format!(
                "{path}, asked for by {account}: {what}; write it with `homelab kv put {path} KEY=VALUE`"
            ))
        };
        let version = match version.filter(|v| *v != 0) {
            Some(version) => version,
            None => self.newest_live(&path).await?.ok_or_else(|| missing("there is no such secret".into()))?,
        };
        let found = self.find(&path, Some(version)).await?.and_then(|found| found.secret);
        let secret = found.ok_or_else(|| missing(format!("version {version} does not exist, or is deleted")))?;
        let digest = self.opened()?.digest(&path, &secret.data)?;
        Ok(Resolved { path: path.to_string(), version, digest, keys: secret.data.keys() })
    }

    /// Waits until the newest live version of any of these paths is another one than the one beside it (0: there is none
    /// yet): a newer one, or an earlier one because that was deleted or destroyed. Cancel-safe.
    pub async fn wait_changed(&self, known: &[(String, u64)]) -> Result<(), Error> {
        self.watch(known).await?.about(known).unwrap_or(Ok(()))
    }

    /// Waits as [`wait_changed`](Self::wait_changed), for many who ask at once: says which of these paths stand elsewhere,
    /// and which can not be looked at. Cancel-safe.
    pub async fn watch(&self, known: &[Known]) -> Result<Moved, Error> {
        // Before the first look, so that nothing falls between.
        let mut changes = self.changes();
        let mut moved = self.look(known.iter()).await?;
        while moved.is_empty() {
            let changed = changes.next().await.ok_or_else(|| Error::Backend("the secret store has closed".into()))?;
            let concerned = known.iter().filter(|(path, _)| match &changed {
                Changed::Path(changed) => changed == path,
                Changed::Document { .. } => false,
                Changed::Mounts | Changed::Unknown => true,
            });
            moved = self.look(concerned).await?;
        }
        Ok(moved)
    }

    async fn look(&self, known: impl Iterator<Item = &Known> + Send) -> Result<Moved, Error> {
        let mut found = Moved::default();
        for (path, version) in known {
            let at = match SecretPath::parse(path) {
                Ok(path) => self.stands_at(&path).await,
                Err(error) => Err(error),
            };
            match at {
                Ok(at) if at == *version => {}
                Ok(_) => found.moved.push((path.clone(), *version)),
                // The store's own trouble is nobody's path's.
                Err(error) if error.class() == Class::Retry => return Err(error),
                Err(error) => found.failed.push(Failed { path: path.clone(), why: Failure::of(&error) }),
            }
        }
        Ok(found)
    }

    /// Those of these versions whose values are gone for good: destroyed, pruned, or their path or mount was removed.
    pub async fn gone(&self, versions: &[(String, u64)]) -> Result<Vec<(String, u64)>, Error> {
        let mut gone = Vec::new();
        for (path, version) in versions {
            let state = match self.history(&SecretPath::parse(path)?).await {
                Err(Error::NotFound(_)) => None,
                other => other?,
            };
            let is_there = state.and_then(|state| state.versions.get(version).map(|info| !info.destroyed));
            if is_there != Some(true) {
                gone.push((path.clone(), *version));
            }
        }
        Ok(gone)
    }

    async fn stands_at(&self, path: &SecretPath) -> Result<u64, Error> {
        Ok(self.newest_live(path).await?.unwrap_or(0))
    }

    async fn newest_live(&self, path: &SecretPath) -> Result<Option<u64>, Error> {
        let now = self.now();
        let state = self.history(path).await?;
        Ok(state.and_then(|s| s.versions.iter().rev().find(|(_, info)| info.is_live(now)).map(|(version, _)| *version)))
    }
}
