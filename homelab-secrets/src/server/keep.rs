//! What the server keeps in the store beside secrets: policies, tokens, settings of logins, each a sealed document.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::ServerState;
use super::answer::Refused;
use super::policies;
use super::tokens::{self, Hash, Kept, Session};
use crate::Error;
#[cfg(feature = "age")]
use crate::backend::age::AgeIdentities;
use crate::keys::{RecoveryKey, SlotKey, Unlock};

impl ServerState {
    /// Reads policies and tokens once after the store was opened.
    pub(super) async fn load(&self) -> Result<(), Error> {
        if self.0.loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        let _turn = self.0.loading.lock().await;
        if self.0.loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        self.0.policy.acl.replace(policies::load(&self.0.store).await?);
        let mut kept = Vec::new();
        for (name, record) in self.0.store.documents::<Kept>(tokens::KIND).await? {
            match (Kept::hash(&name), record.into_session()) {
                (Some(hash), Some(session)) => kept.push((hash, session)),
                _ => tracing::warn!("a kept token has a broken name or parent and is left out"),
            }
        }
        let key = self.0.store.derived_key("server.tokens")?;
        let ended = self.0.tokens.open(key, kept, self.0.host.now());
        self.forget_ended(ended).await?;
        self.0.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Forgets what was read: the store is sealed, or belongs to another process now.
    pub(super) fn unload(&self) {
        self.0.loaded.store(false, Ordering::Release);
        self.0.tokens.close();
        self.0.policy.acl.replace(crate::policy::AclSet::default());
    }

    /// Whether nothing can be opened.
    pub(super) fn is_sealed(&self) -> bool {
        self.0.options.vault.as_ref().is_some_and(|vault| vault.store().is_err())
    }

    /// Writes a token that is kept.
    pub(super) async fn keep(&self, hash: &Hash, session: &Session) -> Result<(), Error> {
        self.0.store.put_document(tokens::KIND, &crate::hex::encode(hash), &Kept::of(session)).await
    }

    /// Writes how many uses a token has left; it is gone when there are none.
    pub(super) async fn keep_use(&self, hash: &Hash) -> Result<(), Error> {
        match self.0.tokens.peek(hash, self.0.host.now()) {
            // Of two uses at a time the later writer may be the one that came first.
            Some(session) => {
                let change = |kept: Option<Kept>| Ok(kept.map(|kept| kept.with_uses_left(session.num_uses)));
                self.0.store.update_document(tokens::KIND, &crate::hex::encode(hash), change).await
            }
            None => self.forget(vec![*hash]).await,
        }
    }

    /// Takes tokens out of the store.
    pub(super) async fn forget(&self, hashes: Vec<Hash>) -> Result<(), Error> {
        for hash in hashes {
            self.0.store.delete_document(tokens::KIND, &crate::hex::encode(&hash)).await?;
        }
        Ok(())
    }

    /// The same for tokens that have ended by themselves: while the store takes no writes they stay, and reads go on.
    pub(super) async fn forget_ended(&self, hashes: Vec<Hash>) -> Result<(), Error> {
        match self.forget(hashes).await {
            Err(error @ Error::RolledBack(_)) => {
                tracing::warn!(%error, "tokens that have ended stay in the store");
                Ok(())
            }
            other => other,
        }
    }

    pub(super) async fn document<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Option<T>, Error> {
        self.0.store.document(kind, name).await
    }

    pub(super) async fn put_document<T: Serialize + Sync>(
        &self,
        kind: &str,
        name: &str,
        what: &T,
    ) -> Result<(), Error> {
        self.0.store.put_document(kind, name, what).await
    }

    /// Names of the documents of a kind.
    pub(super) async fn names(&self, kind: &str) -> Result<Vec<String>, Error> {
        let all = self.0.store.documents::<serde_json::Value>(kind).await?;
        Ok(all.into_iter().map(|(name, _)| name).collect())
    }
}

/// What a token is found by (none for the root token of the configuration), and its session.
pub(super) type Known = (Option<Hash>, Arc<Session>);

impl ServerState {
    /// The session of a token that somebody has sent in a body, and what it is found by.
    pub(super) fn session_of(&self, token: &str) -> Result<Option<Known>, Error> {
        if let Some(root) = self.0.tokens.root_session(token)? {
            return Ok(Some((None, root)));
        }
        let hash = self.0.tokens.hash(token)?;
        Ok(self.0.tokens.peek(&hash, self.0.host.now()).map(|session| (Some(hash), session)))
    }
}

impl ServerState {
    /// Forgets the keys.
    pub(super) fn seal(&self) -> Result<(), Refused> {
        let vault = self.0.options.vault.as_ref().ok_or_else(|| Refused::invalid(NO_SEAL))?;
        vault.seal();
        self.unload();
        Ok(())
    }

    /// Opens the store with what somebody sent: a passphrase, the line of a key file, a recovery key, or age identities.
    pub(super) async fn unseal(&self, text: &Zeroizing<String>) -> Result<(), Refused> {
        let vault = self.0.options.vault.as_ref().ok_or_else(|| Refused::invalid(NO_SEAL))?;
        #[cfg(feature = "age")]
        if AgeIdentities::is_like(text) {
            return Ok(vault.unseal_by_age(&AgeIdentities::parse(text)?).await?);
        }
        for unlock in unlocks(text) {
            match vault.unseal(unlock).await {
                Ok(()) => return Ok(()),
                // Another reading of it may be the right one.
                Err(Error::Invalid(_) | Error::Unsealed { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(Refused::invalid("invalid key: no slot of the store belongs to it"))
    }

    /// Whether there are keys at all.
    pub(super) async fn is_initialized(&self) -> Result<bool, Error> {
        match &self.0.options.vault {
            Some(vault) => vault.initialized().await,
            None => Ok(true),
        }
    }
}

/// What the text of a key can be.
fn unlocks(text: &Zeroizing<String>) -> Vec<Unlock> {
    if let Ok(key) = SlotKey::from_file(text) {
        return vec![Unlock::KeyFile(key.clone()), Unlock::KubernetesSecret(key)];
    }
    let recovery = RecoveryKey::from_text(text).ok().map(Unlock::Recovery);
    recovery.into_iter().chain([Unlock::Passphrase(text.clone())]).collect()
}

const NO_SEAL: &str = "this server's store was opened by the program that runs it: seal it by stopping that program";
