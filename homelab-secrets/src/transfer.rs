//! Secrets on their way out of a store and into one: our own export, and what other programs leave behind. Pure.
//!
//! Each reader ([`export`], [`bao`], [`kubernetes`], [`external`]) makes [`Entry`]s of text or JSON. [`place`] says what they are
//! called here, [`check`] refuses what no store would take, and [`plan`] compares each with what is there: an import that
//! was cut off goes on where it stopped, and what is there with other values is never written over unasked.
//!
//! Values are in [`SecretData`] only, and no error quotes a line: any line may hold a secret.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;
use crate::kv::{self, Command, MountSettings, Settings, SettingsChange, duration};
use crate::sealed::GIT_MOUNT;
use crate::store::{KV_MOUNT, MAX_VALUE, SecretData, SecretPath};

pub mod bao;
pub mod export;
pub mod external;
pub mod kubernetes;
mod plan;

pub use plan::{Existing, Kept, Planned, Step, What, plan};

/// Highest number of a version that is taken: each number below it that is missing costs a write.
pub const MAX_VERSION: u64 = 100_000;

/// One secret to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is called, as far as its source says that.
    pub name: Name,
    /// Settings of its path; none: the source knows of none.
    pub settings: Option<Settings>,
    /// Its values.
    pub history: History,
}

/// What a source calls a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// `MOUNT/PATH`.
    Full(String),
    /// A path in some mount, `web/db`.
    Inner(String),
    /// Nothing: it came in a file of this name, without endings.
    File(String),
}

/// The values of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// All versions that its source kept, by number; none: there are only settings.
    All(BTreeMap<u64, Version>),
    /// The newest one, and no more is known.
    Newest(SecretData),
}

/// One version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// When it was written.
    pub created: Timestamp,
    /// From when on it counts as deleted; may lie ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// Its value is gone for ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroyed: bool,
    /// Its value; none when it is deleted or destroyed: KV v2 gives no value of such a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<SecretData>,
}

/// Settings of a path as the API names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Versions to keep; 0: as the mount says.
    #[serde(default)]
    pub max_versions: u64,
    /// Every write has to name the version that it replaces.
    #[serde(default)]
    pub cas_required: bool,
    /// Age at which a version counts as deleted, as Go writes durations.
    #[serde(default)]
    pub delete_version_after: Option<String>,
    /// Words of the users' own.
    #[serde(default)]
    pub custom_metadata: Option<BTreeMap<String, String>>,
}

impl From<&Settings> for Metadata {
    fn from(settings: &Settings) -> Self {
        Self {
            max_versions: settings.max_versions,
            cas_required: settings.cas_required,
            delete_version_after: Some(duration::format(settings.delete_version_after)),
            custom_metadata: Some(settings.custom.clone()),
        }
    }
}

impl Metadata {
    /// Reads it. Class `Invalid`: the duration is none.
    pub fn settings(self) -> Result<Settings, Error> {
        let after = self.delete_version_after.unwrap_or_default();
        let wrong = || Error::Invalid(format!("delete_version_after is {after:?}, which is no duration: write 720h"));
        let after = if after.is_empty() { Some(jiff::SignedDuration::ZERO) } else { duration::parse(&after) };
        Ok(Settings {
            max_versions: self.max_versions,
            cas_required: self.cas_required,
            delete_version_after: after.ok_or_else(wrong)?,
            custom: self.custom_metadata.unwrap_or_default(),
        })
    }
}

impl Entry {
    /// A secret of which only the newest values are known.
    pub fn newest(name: Name, data: Map<String, Value>) -> Self {
        Self { name, settings: None, history: History::Newest(SecretData::new(data)) }
    }

    /// How many versions it brings.
    pub fn versions(&self) -> usize {
        match &self.history {
            History::All(versions) => versions.len(),
            History::Newest(_) => 1,
        }
    }

    /// Its newest values, unless they are deleted or destroyed.
    pub fn value(&self) -> Option<&SecretData> {
        match &self.history {
            History::All(versions) => versions.last_key_value()?.1.data.as_ref(),
            History::Newest(data) => Some(data),
        }
    }

    /// The number of its newest version, where that is known.
    pub fn last(&self) -> Option<u64> {
        match &self.history {
            History::All(versions) => Some(versions.keys().last().copied().unwrap_or(0)),
            History::Newest(_) => None,
        }
    }
}

/// What a secret is called here. `to` is a folder, `MOUNT` or `MOUNT/FOLDER`; for what has no name of its own it is the
/// whole name, unless it ends with a slash or is only a mount.
pub fn place(name: &Name, to: Option<&str>) -> Result<SecretPath, Error> {
    let folder = |to: &str, inner: &str| format!("{}/{inner}", to.trim_end_matches('/'));
    let text = match (name, to) {
        (Name::Full(full), None) => full.clone(),
        (Name::Full(full), Some(to)) => folder(to, full.split_once('/').map_or(full, |(_, inner)| inner)),
        (Name::Inner(inner), to) => folder(to.unwrap_or(KV_MOUNT), inner),
        (Name::File(file), None) => {
            return Err(Error::Invalid(format!(
                "nothing in {file} says what its secret is called: name it by --to MOUNT/PATH, or after its file by --to MOUNT/"
            )));
        }
        (Name::File(file), Some(to)) if to.ends_with('/') || !to.contains('/') => folder(to, file),
        (Name::File(_), Some(to)) => to.to_owned(),
    };
    SecretPath::parse(&text)
}

/// Refuses what a store would not take, before anything is written, and two secrets of one name.
pub fn check(entries: &[(SecretPath, Entry)]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for (path, entry) in entries {
        if path.mount() == GIT_MOUNT {
            return Err(Error::Invalid(format!(
                "{path}: what is in the mount {GIT_MOUNT} comes from sealed files in Git; name another mount with --to"
            )));
        }
        if !seen.insert(path) {
            return Err(Error::Invalid(format!(
                "two secrets would be {path}: import them one by one, or name them after their files by a --to that ends with a slash"
            )));
        }
        check_one(entry).map_err(|why| Error::Invalid(format!("{path}: {why}")))?;
    }
    Ok(())
}

fn check_one(entry: &Entry) -> Result<(), String> {
    if let Some(settings) = &entry.settings {
        let change = SettingsChange {
            delete_version_after: Some(settings.delete_version_after),
            custom: Some(settings.custom.iter().map(|(key, word)| (key.clone(), Some(word.clone()))).collect()),
            ..SettingsChange::default()
        };
        let at = Timestamp::UNIX_EPOCH;
        kv::apply(None, &Command::Set(change), &MountSettings::default(), at).map_err(|why| why.to_string())?;
    }
    let fits = |data: &SecretData| data.canonical().len() <= MAX_VALUE;
    let large = |which: &str| {
        Err(format!("{which} is larger than {} KiB, which is the most a secret may have", MAX_VALUE / 1024))
    };
    match &entry.history {
        History::Newest(data) if !fits(data) => large("its value"),
        History::Newest(_) => Ok(()),
        History::All(versions) => {
            for (number, version) in versions {
                if !(1..=MAX_VERSION).contains(number) {
                    return Err(format!("there can be no version {number}: versions are 1 to {MAX_VERSION}"));
                }
                if !version.data.as_ref().is_none_or(fits) {
                    return large(&format!("version {number}"));
                }
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
