//! All rules of KV v2 for one path, as one pure function: [`apply`].
//!
//! A [`State`] holds what is known of each version, never a value. What has to happen to values comes back as
//! [`Effect`]s, to be stored in the same write as the new state.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub mod duration;
pub mod merge;

/// Versions that are kept where nobody says otherwise.
pub const DEFAULT_MAX_VERSIONS: u64 = 10;
const MAX_CUSTOM_KEYS: usize = 64;
const MAX_CUSTOM_KEY: usize = 128;
const MAX_CUSTOM_VALUE: usize = 512;

/// What is known of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// When it was written.
    pub created: Timestamp,
    /// From when on it counts as deleted; may lie ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// Its value is gone for ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroyed: bool,
}

impl VersionInfo {
    /// Whether its value may be read at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.destroyed && self.deleted.is_none_or(|at| at > now)
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

/// Settings of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Versions to keep; 0 is [`DEFAULT_MAX_VERSIONS`].
    pub max_versions: u64,
    /// Every write has to name the version that it replaces.
    pub cas_required: bool,
    /// Age at which a version counts as deleted; zero is never.
    pub delete_version_after: SignedDuration,
    /// Words of the users' own.
    pub custom: BTreeMap<String, String>,
}

/// Changed settings: what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// See [`Settings::max_versions`].
    pub max_versions: Option<u64>,
    /// See [`Settings::cas_required`].
    pub cas_required: Option<bool>,
    /// See [`Settings::delete_version_after`].
    pub delete_version_after: Option<SignedDuration>,
    /// Replaces all words, or (in a patch) sets and, with `None`, takes single ones.
    pub custom: Option<BTreeMap<String, Option<String>>>,
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
    /// Takes values away for ever.
    Destroy {
        /// Which.
        versions: Vec<u64>,
        /// Also pinned ones.
        force: bool,
    },
    /// Takes the path away for ever.
    Remove {
        /// Also if versions are pinned.
        force: bool,
    },
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
    /// A running revision needs it.
    #[error("version {version} is pinned by {holder}: delete that revision first, or force it")]
    Pinned {
        /// The version.
        version: u64,
        /// Who holds it.
        holder: String,
    },
    /// A setting is out of bounds.
    #[error("{0}")]
    Setting(String),
}

/// A path's new state (`None`: gone) and what has to happen to values.
pub type Outcome = (Option<State>, Vec<Effect>);

/// Applies one command at `now`. Everything about KV v2 that is a rule is in here.
pub fn apply(state: Option<&State>, command: &Command, now: Timestamp) -> Result<Outcome, Refusal> {
    match command {
        Command::Put { cas } => put(state.cloned().unwrap_or_else(|| State::empty(now)), *cas, now),
        Command::Patch { cas } => {
            let state = state.filter(|s| s.current > 0).ok_or(Refusal::NoSuchPath)?;
            let newest = state.versions.get(&state.current).ok_or(Refusal::NoSuchVersion(state.current))?;
            if !newest.is_live(now) {
                return Err(Refusal::NotLive(state.current));
            }
            put(state.clone(), *cas, now)
        }
        Command::Delete(versions) => {
            let newest = [state.map_or(0, |s| s.current)];
            let versions = if versions.is_empty() { &newest[..] } else { versions };
            Ok(mark(state, versions, now, |info| {
                if info.is_live(now) {
                    info.deleted = Some(now);
                }
            }))
        }
        Command::Undelete(versions) => Ok(mark(state, versions, now, |info| {
            if !info.destroyed {
                info.deleted = None;
            }
        })),
        Command::Destroy { versions, force } => destroy(state, versions, *force, now),
        Command::Remove { force } => {
            let Some(state) = state else { return Ok((None, Vec::new())) };
            refuse_pinned(state, |_| !force)?;
            Ok((None, state.values().map(Effect::Erase).collect()))
        }
        Command::Set(change) => set(state.cloned().unwrap_or_else(|| State::empty(now)), change, false, now),
        Command::PatchSettings(change) => set(state.ok_or(Refusal::NoSuchPath)?.clone(), change, true, now),
        Command::Pin { holder, versions } => pin(state, holder, versions),
    }
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
    fn prune(&mut self) -> Vec<Effect> {
        let keep = if self.settings.max_versions == 0 { DEFAULT_MAX_VERSIONS } else { self.settings.max_versions };
        let floor = self.current.saturating_sub(keep);
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

fn put(mut state: State, cas: Option<u64>, now: Timestamp) -> Result<Outcome, Refusal> {
    match cas {
        None if state.settings.cas_required => return Err(Refusal::CasRequired),
        Some(version) if version != state.current => return Err(Refusal::CasMismatch),
        _ => {}
    }
    state.current += 1;
    state.updated = now;
    let after = state.settings.delete_version_after;
    let deleted = (after > SignedDuration::ZERO).then(|| now.checked_add(after).unwrap_or(Timestamp::MAX));
    state.versions.insert(state.current, VersionInfo { created: now, deleted, destroyed: false });
    let mut effects = vec![Effect::Write(state.current)];
    effects.extend(state.prune());
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

fn destroy(state: Option<&State>, versions: &[u64], force: bool, now: Timestamp) -> Result<Outcome, Refusal> {
    let Some(before) = state else { return Ok((None, Vec::new())) };
    refuse_pinned(before, |version| !force && versions.contains(&version))?;
    let effects = before.values().filter(|version| versions.contains(version)).map(Effect::Erase).collect();
    let (next, _) = mark(state, versions, now, |info| info.destroyed = true);
    Ok((next, effects))
}

fn refuse_pinned(state: &State, concerns: impl Fn(u64) -> bool) -> Result<(), Refusal> {
    for version in state.values().filter(|version| concerns(*version)) {
        if let Some(holder) = state.pinned_by(version) {
            return Err(Refusal::Pinned { version, holder: holder.into() });
        }
    }
    Ok(())
}

fn set(mut state: State, change: &SettingsChange, merge: bool, now: Timestamp) -> Result<Outcome, Refusal> {
    let settings = &mut state.settings;
    settings.max_versions = change.max_versions.unwrap_or(settings.max_versions);
    settings.cas_required = change.cas_required.unwrap_or(settings.cas_required);
    settings.delete_version_after = change.delete_version_after.unwrap_or(settings.delete_version_after);
    if settings.delete_version_after < SignedDuration::ZERO {
        return Err(Refusal::Setting("delete_version_after is negative: give 0s for never".into()));
    }
    if let Some(words) = &change.custom {
        if !merge {
            settings.custom.clear();
        }
        for (key, value) in words {
            match value {
                Some(value) => drop(settings.custom.insert(key.clone(), value.clone())),
                None => drop(settings.custom.remove(key)),
            }
        }
        check_custom(&settings.custom)?;
    }
    state.updated = now;
    Ok((Some(state), Vec::new()))
}

fn check_custom(custom: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let fits = |(key, value): (&String, &String)| {
        (1..=MAX_CUSTOM_KEY).contains(&key.len())
            && value.len() <= MAX_CUSTOM_VALUE
            && !value.contains(char::is_control)
    };
    if custom.len() > MAX_CUSTOM_KEYS || !custom.iter().all(fits) {
        let limits =
            format!("{MAX_CUSTOM_KEYS} keys of {MAX_CUSTOM_KEY} bytes with values of {MAX_CUSTOM_VALUE} bytes");
        return Err(Refusal::Setting(format!("custom_metadata may hold at most {limits}")));
    }
    Ok(())
}

/// A new pin needs a value to keep; letting go never fails, and prunes what was only kept by it.
fn pin(state: Option<&State>, holder: &str, versions: &BTreeSet<u64>) -> Result<Outcome, Refusal> {
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
    let effects = next.prune();
    Ok((Some(next), effects))
}

#[cfg(test)]
mod tests;
