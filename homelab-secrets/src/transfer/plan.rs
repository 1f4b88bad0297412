//! What an import does to one path.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Entry, History, Version};
use crate::kv::{MountSettings, Settings};
use crate::store::SecretData;

/// What is at a path now, as far as an import has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Its settings.
    pub settings: Settings,
    /// Its newest version; 0: there are only settings.
    pub current: u64,
    /// Its newest version, and those up to the newest that comes in.
    pub versions: BTreeMap<u64, Kept>,
}

/// A version that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It can be read.
    Live(SecretData),
    /// It is deleted or destroyed.
    Dead,
}

/// What is to be done about one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned<'a> {
    /// In one word.
    pub what: What,
    /// Its requests, in their order. Each may be the last one that is made: the next plan goes on from there.
    pub steps: Vec<Step<'a>>,
    /// The path has settings of its own there, which stay.
    pub keeps_settings: bool,
}

/// What an import does to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is not there.
    Create,
    /// Its first versions are there.
    Complete,
    /// Its values are there.
    Unchanged,
    /// Other values are there; these become a new version.
    Overwrite,
    /// Other values are there, and stay.
    Conflict(String),
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Set the settings of the path.
    Set(Cow<'a, Settings>),
    /// Write the version after `cas`, if that is still the newest; without data: a version that is taken away again, so
    /// that the next ones get their numbers.
    Write {
        /// The newest version until then.
        cas: u64,
        /// Its value.
        data: Option<&'a SecretData>,
    },
    /// Mark versions as deleted.
    Delete(Vec<u64>),
    /// Take the values of versions away.
    Destroy(Vec<u64>),
}

/// Compares a secret with what is at its path. Nothing is written over but with `overwrite`, and then as a new version.
pub fn plan<'a>(entry: &'a Entry, existing: Option<&Existing>, overwrite: bool) -> Planned<'a> {
    let mut planned = match existing {
        None => Planned::new(What::Create, additions(entry, 0, Vec::new())),
        Some(there) => against(entry, there, overwrite),
    };
    let Some(settings) = wanted(entry, existing).filter(|_| !matches!(planned.what, What::Conflict(_))) else {
        return planned;
    };
    let (set, roomy) = (Step::Set(settings.clone()), roomy(entry, &settings));
    match existing {
        None => {
            planned.steps.insert(0, roomy.clone().map_or_else(|| set.clone(), |roomy| Step::Set(Cow::Owned(roomy))));
            planned.steps.extend(roomy.map(|_| set));
        }
        Some(there) if there.settings == *settings => {}
        Some(there) if overwrite || roomy.as_ref() == Some(&there.settings) => {
            planned.steps.push(set);
            if planned.what == What::Unchanged {
                planned.what = What::Complete;
            }
        }
        Some(_) => planned.keeps_settings = true,
    }
    planned
}

/// The settings that the path is to have. Of who knows only the newest values, no more than the words of users is known.
fn wanted<'a>(entry: &'a Entry, existing: Option<&Existing>) -> Option<Cow<'a, Settings>> {
    let settings = entry.settings.as_ref()?;
    Some(match (&entry.history, existing) {
        (History::Newest(_), Some(there)) => {
            Cow::Owned(Settings { custom: settings.custom.clone(), ..there.settings.clone() })
        }
        _ => Cow::Borrowed(settings),
    })
}

/// Settings under which all versions stay while they are written, where those of the path keep fewer: a smaller number may
/// have been set after the versions were written, and takes none away before the next write.
fn roomy(entry: &Entry, settings: &Settings) -> Option<Settings> {
    let History::All(versions) = &entry.history else { return None };
    let first = versions.iter().find(|(_, version)| version.data.is_some()).map(|(number, _)| *number)?;
    let span = entry.last()? - first + 1;
    let is_less = settings.versions_kept(&MountSettings::default()) < span;
    is_less.then(|| Settings { max_versions: span, ..settings.clone() })
}

impl<'a> Planned<'a> {
    fn new(what: What, steps: Vec<Step<'a>>) -> Self {
        Self { what, steps, keeps_settings: false }
    }
}

fn against<'a>(entry: &'a Entry, there: &Existing, overwrite: bool) -> Planned<'a> {
    let compared = match &entry.history {
        History::All(versions) => compare(versions, there),
        History::Newest(_) if there.current == 0 => Ok(Vec::new()),
        History::Newest(_) => Err("its newest version has other values".to_owned()),
    };
    let why = match compared {
        Ok(unfinished) => {
            let steps = additions(entry, there.current, unfinished);
            let is_new = there.current == 0 && !steps.is_empty();
            return match steps.is_empty() {
                true => Planned::new(What::Unchanged, steps),
                false => Planned::new(if is_new { What::Create } else { What::Complete }, steps),
            };
        }
        Err(why) => why,
    };
    match (there.versions.get(&there.current), entry.value()) {
        (Some(Kept::Live(data)), Some(value)) if data == value => Planned::new(What::Unchanged, Vec::new()),
        (_, Some(value)) if overwrite => {
            Planned::new(What::Overwrite, vec![Step::Write { cas: there.current, data: Some(value) }])
        }
        (Some(Kept::Dead), Some(_)) => conflict("its newest version is deleted there"),
        (_, None) if overwrite => conflict(&format!("{why}, and the newest one that comes in is deleted")),
        _ => conflict(&why),
    }
}

fn conflict<'a>(why: &str) -> Planned<'a> {
    Planned::new(What::Conflict(why.to_owned()), Vec::new())
}

/// Whether what is there is a part of what comes in, or has all of it; gives the versions that an earlier import made for
/// their number only and did not come to take away.
fn compare(incoming: &BTreeMap<u64, Version>, there: &Existing) -> Result<Vec<u64>, String> {
    let last = incoming.keys().last().copied().unwrap_or(0);
    let (mut unfinished, mut is_same, mut is_foreign) = (Vec::new(), false, there.current > last);
    for (&number, kept) in there.versions.range(..=last) {
        let wanted = incoming.get(&number).map(|version| version.data.as_ref());
        match (kept, wanted) {
            (Kept::Live(data), Some(Some(wanted))) if data == wanted => is_same = true,
            (Kept::Live(_), Some(Some(_))) => return Err(format!("its version {number} has other values")),
            (Kept::Live(data), _) if data.expose().is_empty() => unfinished.push(number),
            (Kept::Live(_), Some(None)) => return Err(format!("its version {number} is not deleted there")),
            // Gone where it comes from, still kept here.
            (Kept::Live(_), None) => is_foreign = true,
            (Kept::Dead, Some(Some(_))) => return Err(format!("its version {number} is deleted there")),
            (Kept::Dead, _) => {}
        }
    }
    if is_foreign && !is_same {
        return Err("it has other versions there".to_owned());
    }
    Ok(unfinished)
}

/// The requests that bring a path from version `from` to the end. What is deleted is destroyed, too: its value does not
/// come along, and nobody shall bring an empty one back for it.
fn additions(entry: &Entry, from: u64, unfinished: Vec<u64>) -> Vec<Step<'_>> {
    let versions = match &entry.history {
        History::Newest(data) => return vec![Step::Write { cas: from, data: Some(data) }],
        History::All(versions) => versions,
    };
    let last = versions.keys().last().copied().unwrap_or(0);
    let data = |number: u64| versions.get(&number).and_then(|version| version.data.as_ref());
    let mut steps: Vec<_> = (from..last).map(|cas| Step::Write { cas, data: data(cas + 1) }).collect();
    let dead: Vec<u64> =
        unfinished.into_iter().chain((from + 1..=last).filter(|number| data(*number).is_none())).collect();
    let is_deleted = |number: &u64| versions.get(number).is_some_and(|version| version.deleted.is_some());
    let deleted: Vec<u64> = dead.iter().copied().filter(is_deleted).collect();
    steps.extend((!deleted.is_empty()).then_some(Step::Delete(deleted)));
    steps.extend((!dead.is_empty()).then_some(Step::Destroy(dead)));
    steps
}
