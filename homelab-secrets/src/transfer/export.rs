//! Our own export: lines of JSON. The first says what it is, one line a secret follows, and the last has their number, so
//! that a file that was cut off is never taken for whole.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Entry, History, Metadata, Name, Version};
use crate::Error;
use crate::kv::Settings;

/// Version of the format that this program writes.
pub const FORMAT: u32 = 1;
/// What the format is called; its version follows.
const WORD: &str = "homelab-export/";
const WARNING: &str = "all values in this file can be read by anybody who has it";

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    #[serde(default)]
    warning: String,
    made: Timestamp,
    #[serde(default)]
    program: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    metadata: Metadata,
    versions: BTreeMap<u64, Version>,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

/// What was read of an export.
#[derive(Debug)]
pub struct Export {
    /// Its secrets.
    pub entries: Vec<Entry>,
    /// What whoever made it could not read.
    pub unreadable: Vec<String>,
}

/// Writes an export; its text is wiped when it is dropped.
pub struct Writer {
    text: Zeroizing<Vec<u8>>,
    secrets: usize,
}

impl Writer {
    /// The beginning.
    pub fn begin(made: Timestamp, program: &str) -> Result<Self, Error> {
        let mut this = Self { text: Zeroizing::new(Vec::new()), secrets: 0 };
        let head =
            Head { format: format!("{WORD}{FORMAT}"), warning: WARNING.into(), made, program: program.to_owned() };
        this.line(&head)?;
        Ok(this)
    }

    /// One secret, `MOUNT/PATH`.
    pub fn secret(&mut self, path: &str, settings: &Settings, versions: BTreeMap<u64, Version>) -> Result<(), Error> {
        self.line(&Line { path: path.to_owned(), metadata: settings.into(), versions })?;
        self.secrets += 1;
        Ok(())
    }

    /// Secrets so far.
    pub fn secrets(&self) -> usize {
        self.secrets
    }

    /// The end, and with it the whole.
    pub fn end(mut self, unreadable: Vec<String>) -> Result<Zeroizing<Vec<u8>>, Error> {
        let end = End { end: self.secrets, unreadable };
        self.line(&end)?;
        Ok(self.text)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Error> {
        // Written apart, so that no growing buffer leaves copies of all before it in memory.
        let json = serde_json::to_vec(line).map(Zeroizing::new);
        let json = json.map_err(|_| Error::Bug("a line of an export does not serialise".into()))?;
        if self.text.capacity() - self.text.len() <= json.len() {
            let mut larger = Zeroizing::new(Vec::with_capacity((self.text.len() + json.len() + 1) * 2));
            larger.extend_from_slice(&self.text);
            self.text = larger;
        }
        self.text.extend_from_slice(&json);
        self.text.push(b'\n');
        Ok(())
    }
}

/// Whether a text begins as an export.
pub fn is_like(text: &str) -> bool {
    let start = text.lines().next().unwrap_or_default();
    start.starts_with('{') && start.contains(WORD)
}

/// Reads an export. Class `Invalid`: it is none, of a newer program, changed by a slip, or cut off.
pub fn read(text: &str) -> Result<Export, Error> {
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let head = lines.next().and_then(|(_, line)| serde_json::from_str::<Head>(line).ok());
    match head.as_ref().and_then(|head| head.format.strip_prefix(WORD)) {
        Some(format) if format == FORMAT.to_string() => {}
        Some(format) => {
            return Err(Error::Invalid(format!(
                "the export has format {format}, this program reads {FORMAT}: use the homelab that made it, or a newer one"
            )));
        }
        None => return Err(Error::Invalid("this is no export: its first line does not say that it is one".into())),
    }
    let mut entries = Vec::new();
    while let Some((at, line)) = lines.next() {
        if let Ok(end) = serde_json::from_str::<End>(line) {
            return finish(entries, end, lines.all(|(_, rest)| rest.trim().is_empty()));
        }
        let line = serde_json::from_str::<Line>(line).map_err(|error| match error.is_eof() {
            true => cut(),
            false => Error::Invalid(format!(
                "line {at} of the export can not be read: it breaks at column {}",
                error.column()
            )),
        })?;
        let path = line.path.clone();
        entries.push(entry(line).map_err(|why| Error::Invalid(format!("line {at} of the export, {path}: {why}")))?);
    }
    Err(cut())
}

fn cut() -> Error {
    Error::Invalid("the export ends in the middle: it was cut off when it was made or copied; take another one".into())
}

fn finish(entries: Vec<Entry>, end: End, is_last: bool) -> Result<Export, Error> {
    if end.end != entries.len() || !is_last {
        return Err(Error::Invalid(format!(
            "the export says that it has {} secrets, and has {}{}: lines were lost or added; take another one",
            end.end,
            entries.len(),
            if is_last { "" } else { " and more behind its end" }
        )));
    }
    Ok(Export { entries, unreadable: end.unreadable })
}

fn entry(line: Line) -> Result<Entry, String> {
    for (version, what) in &line.versions {
        if what.destroyed && what.data.is_some() {
            return Err(format!("version {version} is destroyed, and has data"));
        }
        if what.data.is_none() && !what.destroyed && what.deleted.is_none() {
            return Err(format!("version {version} has no data, and is neither deleted nor destroyed"));
        }
    }
    let settings = line.metadata.settings().map_err(|error| error.to_string())?;
    Ok(Entry { name: Name::Full(line.path), settings: Some(settings), history: History::All(line.versions) })
}
