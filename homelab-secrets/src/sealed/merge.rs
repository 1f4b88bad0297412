//! Three-way merge by field. It compares sealed texts only, so it needs no key: equal values have equal texts.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::file::{END, SealedFile, entry};
use crate::Error;

/// One of the two sides of a merge, as it is called in the marks of a conflict.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What Git calls it, `HEAD` or a branch.
    pub label: &'a str,
    /// Its file.
    pub file: &'a SealedFile,
}

/// What came of a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The file, with Git's marks around each field in conflict.
    pub text: String,
    /// Fields that both sides changed, each in another way.
    pub conflicts: Vec<String>,
}

/// Merges what both sides did since `base` (none: both made the file).
pub fn merge(base: Option<&SealedFile>, ours: Side<'_>, theirs: Side<'_>) -> Result<Merged, Error> {
    let (left, right) = (ours.file, theirs.file);
    if (left.repository(), left.id()) != (right.repository(), right.id()) {
        return Err(Error::Invalid("the two sides are sealed for different repositories".into()));
    }
    let mut merged = left.clone();
    if base.is_some_and(|base| base.path() == left.path()) {
        merged.set_path(right.path());
    } else if left.path() != right.path() && base.is_none_or(|base| base.path() != right.path()) {
        let (a, b) = (left.path(), right.path());
        return Err(Error::Invalid(format!("one side calls the secret {a}, the other {b}")));
    }
    let mut conflicts = Vec::new();
    let fields: BTreeSet<&str> = left.fields().chain(right.fields()).collect();
    for field in fields {
        let (was, a, b) = (base.and_then(|base| base.value(field)), left.value(field), right.value(field));
        if a == b || b == was {
            continue;
        }
        if a != was {
            conflicts.push(field.to_owned());
        }
        match b {
            Some(value) => merged.set(field, value.clone()),
            None => merged.unset(field),
        }
    }
    let text = if conflicts.is_empty() { merged.to_string() } else { marked(&merged, ours, theirs, &conflicts) };
    Ok(Merged { text, conflicts })
}

/// The file with both sides of each conflict.
fn marked(merged: &SealedFile, ours: Side<'_>, theirs: Side<'_>, conflicts: &[String]) -> String {
    let empty = SealedFile::empty(merged.repository().clone(), merged.id(), merged.path()).to_string();
    let mut text = empty.trim_end_matches(END).trim_end_matches(" {}\n").to_owned();
    text.push('\n');
    let fields: BTreeSet<&str> = merged.fields().chain(conflicts.iter().map(String::as_str)).collect();
    for field in fields {
        let entry = |file: &SealedFile| file.value(field).map(|value| entry(field, value)).unwrap_or_default();
        if conflicts.iter().any(|conflict| conflict == field) {
            let (a, b) = (entry(ours.file), entry(theirs.file));
            let _ = writeln!(text, "<<<<<<< {}\n{a}=======\n{b}>>>>>>> {}", ours.label, theirs.label);
        } else {
            text.push_str(&entry(merged));
        }
    }
    text + END
}
