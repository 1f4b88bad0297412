//! Secrets by version, for those who roll them out.

use homelab_core::meta::Account;

use super::{Changed, SecretPath, SecretStore};
use crate::Error;
use crate::policy::{Capability, Decision, Identity, Policy};

/// A secret at one version, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// `MOUNT/PATH`.
    pub path: String,
    /// The version.
    pub version: u64,
    /// Keyed digest of the value (hex): equal content, equal digest.
    pub digest: String,
    /// Names of its keys, sorted.
    pub keys: Vec<String>,
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

    /// Waits until any of these paths has a live version newer than the one beside it (0: has one at all). Cancel-safe.
    pub async fn wait_newer(&self, known: &[(String, u64)]) -> Result<(), Error> {
        let mut paths = Vec::with_capacity(known.len());
        for (path, version) in known {
            paths.push((SecretPath::parse(path)?, *version));
        }
        // Before the first look, so that nothing falls between.
        let mut changes = self.changes();
        for (path, version) in &paths {
            if self.newest_live(path).await? > Some(*version) {
                return Ok(());
            }
        }
        loop {
            let changed = changes.next().await.ok_or_else(|| Error::Backend("the secret store has closed".into()))?;
            for (path, version) in &paths {
                let concerns = match &changed {
                    Changed::Path(changed) => changed == path.as_str(),
                    Changed::Document { .. } => false,
                    Changed::Mounts | Changed::Unknown => true,
                };
                if concerns && self.newest_live(path).await? > Some(*version) {
                    return Ok(());
                }
            }
        }
    }

    async fn newest_live(&self, path: &SecretPath) -> Result<Option<u64>, Error> {
        let now = self.now();
        let state = self.history(path).await?;
        Ok(state.and_then(|s| s.versions.iter().rev().find(|(_, info)| info.is_live(now)).map(|(version, _)| *version)))
    }
}
