//! Pins: versions that a holder keeps from being pruned.
//!
//! A pin stands in two places that always change in one commit: in the state of each path (where pruning looks) and in
//! one record per holder (so that letting go finds them).

use std::collections::{BTreeMap, BTreeSet};

use super::record::{self, HolderRecord};
use super::write::{Draft, Input, Step};
use super::{SecretPath, SecretStore};
use crate::Error;
use crate::kv::Command;
use crate::seal::{Form, Place};

const ATTEMPTS: usize = 16;
const MAX_HOLDER: usize = 512;

impl SecretStore {
    /// `holder` now keeps exactly these versions from pruning, whatever it kept before; none lets all go. Idempotent.
    /// Class `NotFound` if a version has no value any more; then nothing has changed.
    pub async fn pin(&self, holder: &str, versions: &[(String, u64)]) -> Result<(), Error> {
        if holder.is_empty() || holder.len() > MAX_HOLDER || holder.contains(char::is_control) {
            return Err(Error::Invalid(format!("a holder of pins is named by 1 to {MAX_HOLDER} printable bytes")));
        }
        let mut wanted = HolderRecord { pins: versions.to_vec() };
        wanted.pins.sort_unstable();
        wanted.pins.dedup();
        let _turn = self.0.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let mut draft = self.draft().await?;
            if self.held(holder).await? == wanted {
                return Ok(());
            }
            self.draft_pins(&mut draft, holder, &wanted).await?;
            if self.commit(draft).await? {
                return Ok(());
            }
        }
        Err(Error::Conflict(format!("pins of {holder}: other writers were faster {ATTEMPTS} times: try again")))
    }

    /// Lets go of everything that `holder` keeps.
    pub async fn unpin(&self, holder: &str) -> Result<(), Error> {
        self.pin(holder, &[]).await
    }

    async fn draft_pins(&self, draft: &mut Draft, holder: &str, wanted: &HolderRecord) -> Result<(), Error> {
        // Paths that are let go have an empty set.
        let mut paths: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for (path, _) in self.held(holder).await?.pins {
            paths.entry(path).or_default();
        }
        for (path, version) in &wanted.pins {
            paths.entry(path.clone()).or_default().insert(*version);
        }
        for (path, versions) in paths {
            let path = SecretPath::parse(&path)?;
            let command = Command::Pin { holder: holder.into(), versions };
            self.step(draft, &Step { path: &path, command: &command, input: Input::None, writer: "" }).await?;
        }
        let key = record::holder_key(holder);
        if wanted.pins.is_empty() {
            draft.batch.delete(key);
        } else {
            let place = Place { mount: &record::SYSTEM, path: &key };
            let sealed = self.seal_state(draft.head, place, wanted)?;
            draft.batch.put(key, sealed);
        }
        Ok(())
    }

    async fn held(&self, holder: &str) -> Result<HolderRecord, Error> {
        let key = record::holder_key(holder);
        let Some(sealed) = self.0.backend.get(&key).await? else { return Ok(HolderRecord::default()) };
        let place = Place { mount: &record::SYSTEM, path: &key };
        Ok(record::open(&self.0.keys, Form::State, place, &sealed)?.1)
    }
}
