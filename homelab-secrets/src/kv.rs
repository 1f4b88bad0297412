//! All rules of KV v2 for one path, as one pure function: [`apply`].
//!
//! A [`State`] holds what is known of each version, never a value. What has to happen to values comes back as
//! [`Effect`]s, to be stored in the same write as the new state.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod duration;
pub mod merge;
mod settings;
mod subkeys;

pub use settings::{MountSettings, Settings, SettingsChange};
pub use subkeys::subkeys;

/// Versions that are kept where nobody says otherwise.
pub const DEFAULT_MAX_VERSIONS: u64 = 10;

/// What is known of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// When it was written.
    pub created: Timestamp,
    /// From when on it counts as deleted; may lie ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// Somebody deleted it: that holds whatever the clock says, even when it is put back to before that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
    /// Its value is gone for ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroyed: bool,
}

impl VersionInfo {
    /// Whether its value may be read at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.destroyed && !self.by_hand && self.deleted.is_none_or(|at| at > now)
    }
}

/// Everything about one path but its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// When the path came to be.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Newest version; 0 while there is only metadata.
    pub current: u64,
    /// Kept versions.
    pub versions: BTreeMap<u64, VersionInfo>,
    /// What people have set.
    #[serde(default)]
    pub settings: Settings,
    /// Versions that pruning passes by, by who holds them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<String, BTreeSet<u64>>,
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A new version. `cas` is the version that it has to follow; 0: there must be none.
    Put {
        /// Check-and-set.
        cas: Option<u64>,
    },
    /// A new version made of the newest one, which has to be live.
    Patch {
        /// Check-and-set.
        cas: Option<u64>,
    },
    /// Soft delete; no version named: the newest.
    Delete(Vec<u64>),
    /// Takes a soft delete back.
    Undelete(Vec<u64>),
    /// Takes values away for ever, pinned or not.
    Destroy(Vec<u64>),
    /// Takes the path away for ever, pinned or not.
    Remove,
    /// Takes away what nobody pins, for ever; the path too, when that is all of it.
    Withdraw,
    /// Sets settings; `custom` replaces all words. Makes the path if there is none.
    Set(SettingsChange),
    /// Sets settings of a path that exists; `custom` is merged.
    PatchSettings(SettingsChange),
    /// `holder` now keeps exactly these versions of this path.
    Pin {
        /// Who.
        holder: String,
        /// Kept versions; none lets all go.
        versions: BTreeSet<u64>,
    },
}

/// What has to happen to values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Store the value as this version.
    Write(u64),
    /// Take this version's value away.
    Erase(u64),
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such path.
    #[error("there is no such secret")]
    NoSuchPath,
    /// The version that is needed can not be read.
    #[error("version {0} is deleted or destroyed")]
    NotLive(u64),
    /// The version never was, or was pruned.
    #[error("there is no version {0}")]
    NoSuchVersion(u64),
    /// The path asks for check-and-set. (Vault's words.)
    #[error("check-and-set parameter required for this call")]
    CasRequired,
    /// Somebody wrote in between. (Vault's words.)
    #[error("check-and-set parameter did not match the current version")]
    CasMismatch,
    /// A setting is out of bounds.
    #[error("{0}")]
    Setting(String),
}

/// A path's new state (`None`: gone) and what has to happen to values.
pub type Outcome = (Option<State>, Vec<Effect>);

/// Pinned versions that were taken away, by who held them.
pub type Hits = BTreeMap<String, BTreeSet<u64>>;

/// Applies one command at `now` to a path of a mount with these settings. Everything about KV v2 that is a rule is in
/// here.
pub fn apply(
    state: Option<&State>,
    command: &Command,
    mount: &MountSettings,
    now: Timestamp,
) -> Result<Outcome, Refusal> {
    match command {
        Command::Put { cas } => put(state.cloned().unwrap_or_else(|| State::empty(now)), *cas, mount, now),
        Command::Patch { cas } => {
            let state = state.filter(|s| s.current > 0).ok_or(Refusal::NoSuchPath)?;
            let newest = state.versions.get(&state.current).ok_or(Refusal::NoSuchVersion(state.current))?;
            if !newest.is_live(now) {
                return Err(Refusal::NotLive(state.current));
            }
            put(state.clone(), *cas, mount, now)
        }
        Command::Delete(versions) => {
            let newest = [state.map_or(0, |s| s.current)];
            let versions = if versions.is_empty() { &newest[..] } else { versions };
            Ok(mark(state, versions, now, |info| {
                if info.is_live(now) {
                    info.deleted = Some(now);
                    info.by_hand = true;
                }
            }))
        }
        Command::Undelete(versions) => Ok(mark(state, versions, now, |info| {
            if !info.destroyed {
                info.deleted = None;
                info.by_hand = false;
            }
        })),
        Command::Destroy(versions) => Ok(destroy(state, versions, now)),
        Command::Remove => Ok((None, state.map_or_else(Vec::new, |s| s.values().map(Effect::Erase).collect()))),
        Command::Withdraw => Ok(withdraw(state, now)),
        Command::Set(change) => settings::set(state.cloned().unwrap_or_else(|| State::empty(now)), change, false, now),
        Command::PatchSettings(change) => settings::set(state.ok_or(Refusal::NoSuchPath)?.clone(), change, true, now),
        Command::Pin { holder, versions } => pin(state, holder, versions, mount),
    }
}

/// Which pinned versions `command` takes from whom, in a path that is in `state`. It is done all the same: who asks for
/// it is told.
pub fn hits(state: &State, command: &Command, now: Timestamp) -> Hits {
    let concerns = |version: u64| match command {
        Command::Delete(versions) if versions.is_empty() => version == state.current,
        Command::Delete(versions) | Command::Destroy(versions) => versions.contains(&version),
        Command::Remove => true,
        _ => false,
    };
    let is_there = |version: u64| {
        state.versions.get(&version).is_some_and(|info| match command {
            Command::Delete(_) => info.is_live(now),
            _ => !info.destroyed,
        })
    };
    let mut hits = Hits::new();
    for (holder, versions) in &state.pins {
        for version in versions.iter().filter(|version| concerns(**version) && is_there(**version)) {
            hits.entry(holder.clone()).or_default().insert(*version);
        }
    }
    hits
}

impl State {
    fn empty(now: Timestamp) -> Self {
        Self {
            created: now,
            updated: now,
            current: 0,
            versions: BTreeMap::new(),
            settings: Settings::default(),
            pins: BTreeMap::new(),
        }
    }

    /// The oldest kept version; 0 if there is none.
    pub fn oldest(&self) -> u64 {
        self.versions.keys().next().copied().unwrap_or(0)
    }

    /// Who pins `version`.
    pub fn pinned_by(&self, version: u64) -> Option<&str> {
        self.pins.iter().find(|(_, versions)| versions.contains(&version)).map(|(holder, _)| holder.as_str())
    }

    /// Versions that have a value.
    fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.versions.iter().filter(|(_, info)| !info.destroyed).map(|(version, _)| *version)
    }

    /// Takes away what is over the limit, oldest first; pinned versions are passed by and do not count.
    fn prune(&mut self, mount: &MountSettings) -> Vec<Effect> {
        let floor = self.current.saturating_sub(self.settings.versions_kept(mount));
        let old: Vec<u64> = self.versions.range(..=floor).map(|(v, _)| *v).collect();
        let mut effects = Vec::new();
        for version in old {
            if self.pinned_by(version).is_some() {
                continue;
            }
            if self.versions.remove(&version).is_some_and(|info| !info.destroyed) {
                effects.push(Effect::Erase(version));
            }
        }
        effects
    }
}

fn put(mut state: State, cas: Option<u64>, mount: &MountSettings, now: Timestamp) -> Result<Outcome, Refusal> {
    match cas {
        None if state.settings.needs_cas(mount) => return Err(Refusal::CasRequired),
        Some(version) if version != state.current => return Err(Refusal::CasMismatch),
        _ => {}
    }
    state.current += 1;
    state.updated = now;
    let deleted = state.settings.version_ends(mount, now);
    state.versions.insert(state.current, VersionInfo { created: now, deleted, by_hand: false, destroyed: false });
    let mut effects = vec![Effect::Write(state.current)];
    effects.extend(state.prune(mount));
    Ok((Some(state), effects))
}

/// Changes the named versions; unknown ones are passed by, as Vault does.
fn mark(state: Option<&State>, versions: &[u64], now: Timestamp, change: impl Fn(&mut VersionInfo)) -> Outcome {
    let Some(mut next) = state.cloned() else { return (None, Vec::new()) };
    for version in versions {
        if let Some(info) = next.versions.get_mut(version) {
            change(info);
        }
    }
    if Some(&next) != state {
        next.updated = now;
    }
    (Some(next), Vec::new())
}

fn destroy(state: Option<&State>, versions: &[u64], now: Timestamp) -> Outcome {
    let Some(before) = state else { return (None, Vec::new()) };
    let effects = before.values().filter(|version| versions.contains(version)).map(Effect::Erase).collect();
    (mark(state, versions, now, |info| info.destroyed = true).0, effects)
}

/// What is kept has its number: a later write goes on from there.
fn withdraw(state: Option<&State>, now: Timestamp) -> Outcome {
    let Some(before) = state else { return (None, Vec::new()) };
    let mut next = before.clone();
    next.versions.retain(|version, _| before.pinned_by(*version).is_some());
    let effects = before.values().filter(|version| !next.versions.contains_key(version)).map(Effect::Erase).collect();
    if next.versions.len() < before.versions.len() {
        next.updated = now;
    }
    ((!next.versions.is_empty()).then_some(next), effects)
}

/// A new pin needs a value to keep; letting go never fails, and prunes what was only kept by it.
fn pin(
    state: Option<&State>,
    holder: &str,
    versions: &BTreeSet<u64>,
    mount: &MountSettings,
) -> Result<Outcome, Refusal> {
    let Some(mut next) = state.cloned() else {
        return if versions.is_empty() { Ok((None, Vec::new())) } else { Err(Refusal::NoSuchPath) };
    };
    let held = |version: &u64| next.pins.get(holder).is_some_and(|held| held.contains(version));
    let exists = |version: &u64| next.versions.get(version).is_some_and(|info| !info.destroyed);
    if let Some(missing) = versions.iter().find(|version| !exists(version) && !held(version)) {
        return Err(Refusal::NoSuchVersion(*missing));
    }
    if versions.is_empty() {
        next.pins.remove(holder);
    } else {
        next.pins.insert(holder.into(), versions.clone());
    }
    let effects = next.prune(mount);
    Ok((Some(next), effects))
}

#[cfg(test)]
mod tests;
