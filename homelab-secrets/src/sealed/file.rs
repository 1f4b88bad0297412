//! The text of a sealed file. The one place that knows this format.
//!
//! It is valid YAML for every reader, but only this one written form is taken, line by line: what it does not know it
//! refuses, with the line's number and never its content, since what is wrong with a line may be that it is not sealed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::MAX_FILE;
use super::name::{RepositoryId, RepositoryName};
use super::value::SealedValue;
use crate::Error;

/// Version of the sealed file that this program writes and reads.
pub const FORMAT: u32 = 1;
const FORMAT_KEY: &str = "homelab";
const FORMAT_WORD: &str = "sealed/";
const HEAD: &str = "# Sealed: `homelab edit FILE` changes this secret, `homelab seal --open FILE` prints it.\n";
const KEY_INDENT: &str = "  ";
const VALUE_INDENT: &str = "    ";
/// YAML's end of a document: without it the file was cut.
pub(super) const END: &str = "...\n";

/// A sealed file, as it is read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedFile {
    repository: RepositoryName,
    id: RepositoryId,
    path: String,
    values: BTreeMap<String, SealedValue>,
}

impl SealedFile {
    pub(super) fn empty(repository: RepositoryName, id: RepositoryId, path: &str) -> Self {
        Self { repository, id, path: path.into(), values: BTreeMap::new() }
    }

    /// Name of the repository that it belongs to.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// Id of that repository.
    pub fn id(&self) -> RepositoryId {
        self.id
    }

    /// What the secret is called inside the repository, `web/db`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The logical path that policies decide about, `git/home/web/db`.
    pub fn logical_path(&self) -> String {
        super::logical_path(&self.repository, &self.path)
    }

    /// Names of its fields, sorted.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The epochs that its values are sealed in.
    pub fn epochs(&self) -> std::collections::BTreeSet<u64> {
        self.values.values().map(|value| value.epoch).collect()
    }

    /// Whether `text` says of itself that it is a sealed file, of whatever version.
    pub fn is_sealed(text: &str) -> bool {
        let mut lines = text.lines().map(str::trim_end).filter(|line| !is_blank(line));
        lines.next().and_then(|line| line.strip_prefix("homelab: ")).is_some_and(|rest| rest.starts_with(FORMAT_WORD))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (&str, &SealedValue)> {
        self.values.iter().map(|(field, value)| (field.as_str(), value))
    }

    pub(super) fn value(&self, field: &str) -> Option<&SealedValue> {
        self.values.get(field)
    }

    pub(super) fn set(&mut self, field: &str, value: SealedValue) {
        self.values.insert(field.into(), value);
    }

    pub(super) fn unset(&mut self, field: &str) {
        self.values.remove(field);
    }

    pub(super) fn set_path(&mut self, path: &str) {
        self.path = path.into();
    }
}

impl fmt::Display for SealedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repository, id, path, values } = self;
        f.write_str(HEAD)?;
        writeln!(f, "{FORMAT_KEY}: {FORMAT_WORD}{FORMAT}\nrepository: {repository}\nid: {id}\npath: {}", Word(path))?;
        f.write_str(if values.is_empty() { "values: {}\n" } else { "values:\n" })?;
        for (field, value) in values {
            f.write_str(&entry(field, value))?;
        }
        f.write_str(END)
    }
}

/// The lines of one value: key, seal, and an empty one, so that what is done to two neighbours does not touch.
pub(super) fn entry(field: &str, value: &SealedValue) -> String {
    format!("{KEY_INDENT}{}:\n{VALUE_INDENT}{}\n\n", Word(field), value.as_str())
}

impl FromStr for SealedFile {
    type Err = Error;

    /// Reads the text of a file. Keys may stand in any order, as a merge can leave them.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_FILE {
            return Err(Error::Invalid(format!("a sealed file has at most {MAX_FILE} bytes, this has {}", text.len())));
        }
        Reader::default().read(text)
    }
}

/// A file half read.
#[derive(Default)]
struct Reader<'a> {
    head: BTreeMap<&'static str, &'a str>,
    in_values: bool,
    ended: bool,
    /// Key whose value has to come next, and its line.
    open: Option<(String, usize)>,
    values: BTreeMap<String, SealedValue>,
    last: Option<String>,
}

/// Lines in front of the values, in any order but for the first.
const HEAD_KEYS: [&str; 4] = [FORMAT_KEY, "repository", "id", "path"];

impl<'a> Reader<'a> {
    fn read(mut self, text: &'a str) -> Result<SealedFile, Error> {
        for (n, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].iter().any(|mark| line.starts_with(mark)) {
                return Err(at(n, "Git left a conflict here: keep one value for each key, and take the marks away"));
            }
            if is_blank(line) {
                continue;
            }
            match (self.in_values, self.ended) {
                (false, _) => self.header(n, line)?,
                (true, false) if line == END.trim_end() && self.open.is_none() => self.ended = true,
                (true, false) => self.entry(n, line)?,
                (true, true) => return Err(at(n, "nothing may stand behind the end of a sealed file")),
            }
        }
        if let Some((field, n)) = self.open {
            return Err(at(n, &format!("the key {field:?} has no value below it")));
        }
        if !self.ended {
            return Err(Error::Invalid("the sealed file has no last line `...`: it was cut".into()));
        }
        let head = |key: &'static str| {
            self.head.get(key).copied().ok_or_else(|| Error::Invalid(format!("the sealed file has no line `{key}`")))
        };
        let (repository, id) = (RepositoryName::parse(head("repository")?)?, head("id")?);
        let id = RepositoryId::parse(id).ok_or_else(|| Error::Invalid("the line `id` holds no UUID".into()))?;
        let path = read_word(head("path")?).ok_or_else(|| Error::Invalid("the line `path` holds no path".into()))?;
        Ok(SealedFile { repository, id, path, values: self.values })
    }

    fn header(&mut self, n: usize, line: &'a str) -> Result<(), Error> {
        if matches!(line, "values:" | "values: {}") {
            self.in_values = true;
            return Ok(());
        }
        let known = line.split_once(": ").and_then(|(key, value)| {
            HEAD_KEYS.into_iter().find(|known| *known == key).map(|known| (known, value.trim()))
        });
        let Some((key, value)) = known else {
            let words = if self.head.is_empty() { "this is no sealed file" } else { "this line is not known" };
            return Err(at(n, &format!("{words}: a sealed file begins with `{FORMAT_KEY}: {FORMAT_WORD}{FORMAT}`")));
        };
        if self.head.is_empty() {
            check_format(n, key, value)?;
        }
        match self.head.insert(key, value) {
            Some(_) => Err(at(n, &format!("there are two lines `{key}`: keep one"))),
            None => Ok(()),
        }
    }

    fn entry(&mut self, n: usize, line: &str) -> Result<(), Error> {
        if let Some((field, _)) = self.open.take() {
            let value = line.strip_prefix(VALUE_INDENT).and_then(SealedValue::parse);
            let value = value.ok_or_else(|| at(n, &format!("the value of {field:?} is not sealed, or was cut")))?;
            self.last = Some(field.clone());
            return match self.values.insert(field, value) {
                Some(_) => Err(at(n, "this key stands here twice: keep one")),
                None => Ok(()),
            };
        }
        if line.starts_with(VALUE_INDENT) {
            let words = self.last.as_ref().map_or_else(
                || "a value stands here without a key".into(),
                |field| format!("{field:?} has a second value: two branches changed it; keep one"),
            );
            return Err(at(n, &words));
        }
        let field = line.strip_prefix(KEY_INDENT).and_then(|rest| rest.strip_suffix(':')).and_then(read_word);
        let plain = "this is not a key on a line of its own with its sealed value on the next; is it a plain value? \
                     `homelab seal --in-place FILE` seals a plain file";
        self.open = Some((field.ok_or_else(|| at(n, plain))?, n));
        Ok(())
    }
}

fn check_format(n: usize, key: &str, value: &str) -> Result<(), Error> {
    let found = value.strip_prefix(FORMAT_WORD).filter(|_| key == FORMAT_KEY);
    match found.map(str::parse::<u32>) {
        Some(Ok(FORMAT)) => Ok(()),
        Some(Ok(newer)) if newer > FORMAT => Err(at(
            n,
            &format!(
                "the file has format {FORMAT_WORD}{newer}, this program reads {FORMAT_WORD}{FORMAT}: use a newer homelab"
            ),
        )),
        _ => Err(at(n, &format!("a sealed file begins with `{FORMAT_KEY}: {FORMAT_WORD}{FORMAT}`"))),
    }
}

fn at(n: usize, words: &str) -> Error {
    Error::Invalid(format!("line {}: {words}", n + 1))
}

fn is_blank(line: &str) -> bool {
    line.is_empty() || line.trim_start().starts_with('#')
}

/// A key of YAML: plain where every reader takes it for text, else in double quotes.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                ' '..='~' => write!(f, "{c}")?,
                c if c.is_alphanumeric() => write!(f, "{c}")?,
                c => write!(f, "\\U{:08X}", u32::from(c))?,
            }
        }
        f.write_str("\"")
    }
}

fn is_plain(text: &str) -> bool {
    // What YAML 1.1 or 1.2 reads as something else than text.
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/');
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(inner)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// Reads what [`Word`] wrote.
fn read_word(text: &str) -> Option<String> {
    let Some(quoted) = text.strip_prefix('"') else { return is_plain(text).then(|| text.to_owned()) };
    let (mut word, mut rest) = (String::new(), quoted.strip_suffix('"')?.chars());
    while let Some(c) = rest.next() {
        word.push(match c {
            '\\' => match rest.next()? {
                'U' => {
                    let digits: String = rest.by_ref().take(8).collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 8)?)?
                }
                c @ ('"' | '\\') => c,
                _ => return None,
            },
            '"' => return None,
            c => c,
        });
    }
    Some(word)
}
