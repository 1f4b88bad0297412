//! Sealing old records anew after a rotation.
//!
//! A pass goes over all records in pages and seals those of older epochs with the newest key, a few in one commit, each
//! in the place of the old one. It keeps number and nonce, so nothing that points at a record changes. When it has met
//! nothing that it could not seal anew, the older keys are dropped. It can be cut off anywhere: another pass begins with
//! the next start.

use std::sync::{Arc, PoisonError, Weak};

use async_trait::async_trait;

use super::write::{Draft, Job};
use super::{Inner, SecretStore, record};
use crate::Error;
use crate::keys::KeyId;
use crate::seal::{Front, Place, front, open_record, seal_record};

/// Records sealed anew in one commit: each can be as large as a value.
const AT_ONCE: usize = 32;

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Epoch that they are sealed for.
    pub epoch: u64,
    /// Records of older epochs when it began.
    pub total: u64,
    /// Sealed anew so far.
    pub done: u64,
    /// Records that do not open; while there are some, the old keys stay.
    pub stuck: u64,
    /// Why it stopped before the end; it goes on after the next start or rotation.
    pub stopped: Option<String>,
}

/// One pass over all records.
struct Pass {
    target: KeyId,
    after: String,
    progress: Progress,
}

impl SecretStore {
    /// How far the sealing of old records is; `None` when there are none.
    pub fn resealing(&self) -> Option<Progress> {
        self.0.resealing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Seals all old records anew, and waits for it. Does nothing if there are no older epochs.
    pub async fn reseal(&self) -> Result<(), Error> {
        let Some(mut pass) = self.begin_pass().await? else { return Ok(()) };
        while self.reseal_page(&mut pass).await? {}
        self.end_pass(pass).await
    }

    /// The same, while others go on; ends with the store.
    pub(super) fn reseal_in_background(&self) {
        tokio::spawn(in_background(Arc::downgrade(&self.0)));
    }

    async fn begin_pass(&self) -> Result<Option<Pass>, Error> {
        let open = self.opened()?;
        let newest = open.table.epochs.last().filter(|_| open.table.epochs.len() > 1);
        let Some(newest) = newest else { return Ok(None) };
        let (target, mut after, mut total) = (newest.key.id, String::new(), 0);
        loop {
            let page = self.0.backend.scan("", &after, AT_ONCE).await?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            total += page.iter().filter(|(key, sealed)| is_old(key, sealed, target)).count() as u64;
        }
        let progress = Progress { epoch: newest.epoch, total, ..Progress::default() };
        let pass = Pass { target, after: String::new(), progress };
        self.tell(Some(&pass.progress));
        Ok(Some(pass))
    }

    /// `false`: that was the last one.
    async fn reseal_page(&self, pass: &mut Pass) -> Result<bool, Error> {
        let page = self.0.backend.scan("", &pass.after, AT_ONCE).await?;
        let Some((last, _)) = page.last() else { return Ok(false) };
        pass.after.clone_from(last);
        let old = page.into_iter().filter(|(key, sealed)| is_old(key, sealed, pass.target));
        let keys: Vec<String> = old.map(|(key, _)| key).collect();
        if !keys.is_empty() {
            let (done, stuck) = self.write(Reseal { keys }).await?;
            pass.progress.done += done;
            pass.progress.stuck += stuck;
            self.tell(Some(&pass.progress));
        }
        Ok(true)
    }

    async fn end_pass(&self, pass: Pass) -> Result<(), Error> {
        if pass.progress.stuck > 0 {
            let stuck = pass.progress.stuck;
            tracing::error!(
                stuck,
                "records do not open, so the old keys stay: see which, and restore them from a backup"
            );
            return Ok(());
        }
        let epoch = pass.progress.epoch;
        self.change_keys(move |table, _, _| {
            table.drop_epochs_before(epoch);
            Ok(())
        })
        .await?;
        self.tell(None);
        Ok(())
    }

    fn tell(&self, progress: Option<&Progress>) {
        *self.0.resealing.lock().unwrap_or_else(PoisonError::into_inner) = progress.cloned();
    }
}

/// Each page holds the store only while it is at work, so that the store can close in between.
async fn in_background(inner: Weak<Inner>) {
    let store = || inner.upgrade().map(SecretStore);
    let mut pass: Option<Pass> = None;
    while let Some(store) = store() {
        let step = match &mut pass {
            None => match store.begin_pass().await {
                Ok(Some(begun)) => {
                    pass = Some(begun);
                    Ok(true)
                }
                Ok(None) => return,
                Err(error) => Err(error),
            },
            Some(pass) => store.reseal_page(pass).await,
        };
        let ended = match (step, pass.take()) {
            (Ok(true), going) => {
                pass = going;
                continue;
            }
            (Ok(false), Some(pass)) => store.end_pass(pass).await,
            (Ok(false), None) => return,
            (Err(error), _) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "sealing old records anew stopped; it goes on after the next start");
            let progress = store.resealing().unwrap_or_default();
            store.tell(Some(&Progress { stopped: Some(error.to_string()), ..progress }));
        }
        return;
    }
}

fn is_old(key: &str, sealed: &[u8], target: KeyId) -> bool {
    // One that has no front does not open either, and is counted as stuck when it is tried.
    key != record::KEY_TABLE
        && record::place_of(key).and_then(|(form, ..)| front(form, sealed).ok()).is_none_or(|front| front.key != target)
}

/// Seals these records with the newest key.
struct Reseal {
    keys: Vec<String>,
}

#[async_trait]
impl Job for Reseal {
    /// How many were sealed anew, and how many do not open.
    type Output = (u64, u64);

    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) -> Result<(u64, u64), Error> {
        let (mut done, mut stuck) = (0, 0);
        for key in &self.keys {
            let Some(sealed) = draft.get(&*store.0.backend, key).await? else { continue };
            match anew(draft, key, &sealed) {
                Some(Some(record)) => {
                    draft.put(key, record);
                    done += 1;
                }
                // Somebody else has written it since.
                Some(None) => done += 1,
                None => stuck += 1,
            }
        }
        Ok((done, stuck))
    }
}

/// The record sealed with the newest key; `Some(None)`: it is already; `None`: it does not open.
fn anew(draft: &Draft, key: &str, sealed: &[u8]) -> Option<Option<Vec<u8>>> {
    let keys = &draft.open.keys;
    let (form, mount, path) = record::place_of(key)?;
    let place = Place { mount: &mount, path };
    let old = front(form, sealed).ok()?;
    if old.key == keys.active() {
        return Some(None);
    }
    let text = open_record(form, keys.key(old.key, form)?, place, sealed).ok()?;
    let new = Front { key: keys.active(), ..old };
    seal_record(form, keys.key(new.key, form)?, new, place, &text).ok().map(Some)
}
