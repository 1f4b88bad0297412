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
#[cfg(feature = "server")]
use crate::kv::Hits;
use crate::seal::Place;

const MAX_HOLDER: usize = 512;

/// What hits say to whoever took the versions away: one line a holder.
#[cfg(feature = "server")]
pub(crate) fn warnings(path: &SecretPath, hits: &Hits, what: Taken) -> Vec<String> {
    let line = |(holder, versions): (&String, &BTreeSet<u64>)| {
        let many = versions.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let (versions, was) = if versions.len() == 1 { ("version", "was") } else { ("versions", "were") };
        let (what, then) = match what {
            Taken::Deleted => ("deleted", "it can not start pods until that is undeleted"),
            Taken::Destroyed => ("destroyed", "it can not start pods any more, and nothing can return to it"),
        };
        format!(
            "{versions} {many} of {path} {was} in use by {holder} and {was} {what} all the same: {then}; \
             a new revision is made with the newest version that is left"
        )
    };
    hits.iter().map(line).collect()
}

/// How a version went.
#[cfg(feature = "server")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It can come back.
    Deleted,
    /// For good.
    Destroyed,
}

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

#[cfg(feature = "server")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_a_pinned_version_away_is_told_whose_it_was() {
        let path = SecretPath::parse("kv/web/db").unwrap();
        let hits = Hits::from([
            ("App.homelab.dev web/web@1a2b".to_owned(), BTreeSet::from([3])),
            ("App.homelab.dev web/worker@9f8e".to_owned(), BTreeSet::from([2, 3])),
        ]);
        insta::assert_snapshot!(warnings(&path, &hits, Taken::Destroyed).join("\n"), @"
        version 3 of kv/web/db was in use by App.homelab.dev web/web@1a2b and was destroyed all the same: it can not start pods any more, and nothing can return to it; a new revision is made with the newest version that is left
        versions 2, 3 of kv/web/db were in use by App.homelab.dev web/worker@9f8e and were destroyed all the same: it can not start pods any more, and nothing can return to it; a new revision is made with the newest version that is left
        ");
        assert!(
            warnings(&path, &hits, Taken::Deleted)[0].contains("was deleted all the same: it can not start pods until")
        );
        assert!(warnings(&path, &Hits::new(), Taken::Deleted).is_empty());
    }
}
