//! Pins: versions that a holder keeps from being pruned.
//!
//! A pin stands in two places that always change in one commit: in the state of each path (where pruning looks) and in
//! one record per holder (so that letting go finds them).

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::record::{self, HolderRecord};
use super::step::{Input, Step};
use super::write::{Draft, Job};
use super::{SecretPath, SecretStore};
use crate::Error;
use crate::kv::Command;
use crate::seal::Place;

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
        self.write(Pin { holder: holder.into(), wanted }).await
    }

    /// Lets go of everything that `holder` keeps.
    pub async fn unpin(&self, holder: &str) -> Result<(), Error> {
        self.pin(holder, &[]).await
    }
}

struct Pin {
    holder: String,
    wanted: HolderRecord,
}

#[async_trait]
impl Job for Pin {
    type Output = ();

    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) -> Result<(), Error> {
        let Self { holder, wanted } = self;
        let key = record::holder_key(holder);
        let place = Place { mount: &record::SYSTEM, path: &key };
        let held = match draft.get(&*store.0.backend, &key).await? {
            Some(sealed) => draft.open.state(place, &sealed)?,
            None => HolderRecord::default(),
        };
        // Paths that are let go have an empty set. Those that stay are looked at, too: one that was removed and made
        // anew has lost its pins.
        let mut paths: BTreeMap<&String, BTreeSet<u64>> = BTreeMap::new();
        for (path, _) in &held.pins {
            paths.entry(path).or_default();
        }
        for (path, version) in &wanted.pins {
            paths.entry(path).or_default().insert(*version);
        }
        for (path, versions) in paths {
            let path = SecretPath::parse(path)?;
            if versions.is_empty() && draft.open.mount(path.mount()).is_err() {
                // Its mount was removed, and the pins with it.
                continue;
            }
            let command = Command::Pin { holder: holder.clone(), versions };
            store.step(draft, &Step { path, command, input: Input::None, writer: String::new() }).await?;
        }
        if held == *wanted {
            return Ok(());
        }
        if wanted.pins.is_empty() {
            draft.delete(key);
        } else {
            let sealed = store.seal_state(draft, place, &*wanted)?;
            draft.put(key, sealed);
        }
        Ok(())
    }
}
