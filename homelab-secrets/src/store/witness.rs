//! Rollback detection: the store's head is copied to a witness outside, and compared with it when the store is opened.
//!
//! A store that is older than its copy serves reads and refuses writes until somebody accepts it; with `strict` it does
//! not open. While the witness can not be asked, writes wait, too: they could hide that the store is older.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{Inner, SecretStore};
use crate::Error;
use crate::head::{HeadCopy, Standing, StoreHead, judge};
use crate::keys::Keyring;

/// Keeps the copy of a store's head, in a place that is not rolled back together with the store.
#[async_trait]
pub trait HeadWitness: Send + Sync + 'static {
    /// The copy; `None` if there never was one.
    async fn read(&self) -> Result<Option<HeadCopy>, Error>;

    /// Replaces the copy.
    async fn write(&self, copy: &HeadCopy) -> Result<(), Error>;
}

/// How a store is watched.
#[derive(Clone)]
pub struct Watched {
    /// Who keeps the copy.
    pub witness: Arc<dyn HeadWitness>,
    /// A store that is older than its copy does not open.
    pub strict: bool,
    /// The copy is written at most this often.
    pub every: Duration,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watched(strict: {}, every: {:?})", self.strict, self.every)
    }
}

/// What is known of a store against its copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witnessed {
    /// Nobody keeps a copy.
    Unwatched,
    /// The witness could not be asked yet, and why.
    Unknown(String),
    /// The store was compared with its copy.
    Compared(Standing),
}

impl Witnessed {
    /// Whether the store takes no writes until somebody accepts that it is older than its copy, or another one.
    pub fn is_rolled_back(&self) -> bool {
        matches!(self, Self::Compared(standing) if *standing != Standing::Fresh)
    }
}

/// The watch over one store.
pub(super) struct Watch {
    watched: Option<Watched>,
    known: RwLock<Witnessed>,
    /// The next sequence is greater than this: what an accepted rollback leaves behind.
    floor: AtomicU64,
    copies: watch::Sender<Option<HeadCopy>>,
    copying: AtomicBool,
}

impl Watch {
    pub(super) fn new(watched: Option<Watched>) -> Self {
        let known = match &watched {
            None => Witnessed::Unwatched,
            Some(_) => Witnessed::Unknown("the store was not opened yet".into()),
        };
        let (copies, _) = watch::channel(None);
        Self { watched, known: RwLock::new(known), floor: AtomicU64::new(0), copies, copying: AtomicBool::new(false) }
    }

    pub(super) fn known(&self) -> Witnessed {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, known: Witnessed) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Whether writes may go on.
    pub(super) fn allow_writes(&self) -> Result<(), Error> {
        match self.known() {
            Witnessed::Unwatched | Witnessed::Compared(Standing::Fresh) => Ok(()),
            Witnessed::Unknown(why) => {
                Err(Error::Backend(format!("the store takes no writes until the copy of its head can be read: {why}")))
            }
            Witnessed::Compared(standing) => Err(refusal(&standing)),
        }
    }

    /// The head after `head`.
    pub(super) fn next(&self, head: &StoreHead, tag: [u8; 16]) -> StoreHead {
        let sequence = head.sequence.max(self.floor.load(Ordering::SeqCst)) + 1;
        StoreHead { store: head.store.clone(), sequence, tag: crate::hex::encode(&tag) }
    }

    /// Passes a head on to the witness, if there is one.
    pub(super) fn passed(&self, head: &StoreHead, keys: &Keyring) -> Result<(), Error> {
        if self.watched.is_some() && self.known() == Witnessed::Compared(Standing::Fresh) {
            self.copies.send_replace(Some(head.copy(&*mac_key(keys)?)?));
        }
        Ok(())
    }
}

fn mac_key(keys: &Keyring) -> Result<Zeroizing<[u8; 32]>, Error> {
    keys.derived("head")
}

fn refusal(standing: &Standing) -> Error {
    Error::RolledBack(match standing {
        Standing::RolledBack { store, copy } => {
            format!("the store stands at {store}, the copy of its head at {copy}: it was put back to an earlier state")
        }
        _ => "the copy of the head that is kept outside is of another store".into(),
    })
}

/// What is kept of an accepted rollback, as document `accepted-rollback`.
#[derive(Serialize)]
struct Accepted<'a> {
    by: &'a str,
    what: String,
}

impl SecretStore {
    /// What is known of the store against the copy of its head.
    pub fn witnessed(&self) -> Witnessed {
        self.0.watch.known()
    }

    /// Goes on with a store that is older than its copy, or not the one that the copy is of. `by` is kept with it. Class
    /// `Conflict` if there is nothing to accept.
    pub async fn accept_rollback(&self, by: &str) -> Result<(), Error> {
        let before = self.witnessed();
        let standing = match &before {
            Witnessed::Compared(standing) if *standing != Standing::Fresh => standing.clone(),
            _ => return Err(Error::Conflict("the store is not older than the copy of its head".into())),
        };
        // Greater than the copy's from now on: a crash before the copy is written accepts no second time, and whoever
        // puts the store back to before this is found out.
        let (Standing::RolledBack { copy, .. } | Standing::OtherStore { copy }) = &standing else { return Ok(()) };
        self.0.watch.floor.fetch_max(*copy, Ordering::SeqCst);
        self.0.watch.learn(Witnessed::Compared(Standing::Fresh));
        let accepted = Accepted { by, what: refusal(&standing).to_string() };
        let written = self.put_document("accepted-rollback", &self.now().to_string(), &accepted).await;
        if written.is_err() {
            self.0.watch.learn(before);
            return written;
        }
        self.resume().await
    }

    /// Compares the open store with its copy. Where the witness does not answer it is asked again in the background.
    pub(super) async fn compare(&self) -> Result<(), Error> {
        let Some(watched) = self.0.watch.watched.clone() else { return Ok(()) };
        if let Err(error) = self.ask(&watched).await {
            self.0.watch.learn(Witnessed::Unknown(error.to_string()));
            if watched.strict {
                return Err(error);
            }
            tracing::warn!(%error, "the copy of the store's head can not be read; trying again");
        }
        if watched.strict {
            self.0.watch.allow_writes().map_err(|error| match error {
                Error::RolledBack(why) => Error::RolledBack(format!(
                    "{why}. strictRollback keeps it sealed: to look at it and to accept it, serve it once without"
                )),
                other => other,
            })?;
        }
        if !self.0.watch.copying.swap(true, Ordering::SeqCst) {
            tokio::spawn(copy(Arc::downgrade(&self.0), watched, self.0.watch.copies.subscribe()));
        }
        Ok(())
    }

    async fn ask(&self, watched: &Watched) -> Result<(), Error> {
        let copy = watched.witness.read().await?;
        let open = self.opened()?;
        let standing = judge(&open.head, copy.as_ref(), &*mac_key(&open.keys)?)?;
        if standing != Standing::Fresh {
            tracing::error!(why = %refusal(&standing), "the store takes no writes");
        }
        self.0.watch.learn(Witnessed::Compared(standing));
        self.0.watch.passed(&open.head, &open.keys)
    }
}

/// Copies heads to the witness until the store is gone; asks it first where it has not answered yet.
async fn copy(inner: Weak<Inner>, watched: Watched, mut copies: watch::Receiver<Option<HeadCopy>>) {
    loop {
        let Some(store) = inner.upgrade().map(SecretStore) else { return };
        let unknown = matches!(store.witnessed(), Witnessed::Unknown(_));
        if unknown && store.opened().is_ok() {
            // What it says on failure was said before.
            let _ = store.ask(&watched).await;
        }
        drop(store);
        let newest = copies.borrow_and_update().clone();
        if let Some(newest) = newest
            && let Err(error) = watched.witness.write(&newest).await
        {
            tracing::warn!(%error, "the store's head can not be copied; trying again");
            copies.mark_changed();
        }
        tokio::time::sleep(watched.every).await;
        if !unknown && copies.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
