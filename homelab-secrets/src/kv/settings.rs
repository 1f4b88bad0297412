//! Settings of paths and of mounts, and which of the two holds.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{DEFAULT_MAX_VERSIONS, Outcome, Refusal, State};

const MAX_CUSTOM_KEYS: usize = 64;
const MAX_CUSTOM_KEY: usize = 128;
const MAX_CUSTOM_VALUE: usize = 512;

/// Settings of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Versions to keep; 0: as the mount says.
    pub max_versions: u64,
    /// Every write has to name the version that it replaces.
    pub cas_required: bool,
    /// Age at which a version counts as deleted; zero: as the mount says.
    pub delete_version_after: SignedDuration,
    /// Words of the users' own.
    pub custom: BTreeMap<String, String>,
}

/// Settings of a mount (`M/config`), for all paths in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MountSettings {
    /// Versions to keep; 0 is [`DEFAULT_MAX_VERSIONS`].
    pub max_versions: u64,
    /// Every write has to name the version that it replaces.
    pub cas_required: bool,
    /// Age at which a version counts as deleted; zero is never.
    pub delete_version_after: SignedDuration,
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

/// What holds for a path: its own settings together with its mount's, as Vault's KV v2 API documents them.
impl Settings {
    /// "[The mount's] value applies to all keys, but a key's metadata setting can overwrite this value" and "when 0 is
    /// used or the value is unset, Vault will keep 10 versions".
    pub fn versions_kept(&self, mount: &MountSettings) -> u64 {
        [self.max_versions, mount.max_versions].into_iter().find(|max| *max > 0).unwrap_or(DEFAULT_MAX_VERSIONS)
    }

    /// "If false, the backend's configuration will be used."
    pub fn needs_cas(&self, mount: &MountSettings) -> bool {
        self.cas_required || mount.cas_required
    }

    /// "If not set, the backend's delete_version_after will be used. If the value is greater than the backend's […], the
    /// backend's […] will be used." `None`: never.
    pub fn version_ends(&self, mount: &MountSettings, now: Timestamp) -> Option<Timestamp> {
        let set = |after: &SignedDuration| *after > SignedDuration::ZERO;
        let after = [self.delete_version_after, mount.delete_version_after].into_iter().filter(set).min()?;
        Some(now.checked_add(after).unwrap_or(Timestamp::MAX))
    }
}

pub(super) fn set(mut state: State, change: &SettingsChange, merge: bool, now: Timestamp) -> Result<Outcome, Refusal> {
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
