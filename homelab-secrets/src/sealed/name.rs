//! What repositories are called.

use std::fmt;

use crate::Error;

/// Name of a repository, as in `git/NAME/…`: up to 63 of a-z, 0-9, `-`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=63).contains(&text.len()) && text.chars().all(inner);
        if !fits || text.starts_with('-') || text.ends_with('-') {
            return Err(Error::Invalid(format!(
                "{text:?} is no name of a repository: write up to 63 of a-z, 0-9 and - (not at either end), as in home"
            )));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepositoryName({self})")
    }
}

/// Id of a repository: random, not secret, part of what every value is sealed for. Written as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RepositoryId([u8; 16]);

impl RepositoryId {
    /// An id of these bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads a UUID in its usual form, `8-4-4-4-12` hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = crate::hex::decode(&text.replace('-', ""))?.try_into().ok().map(Self)?;
        (bytes.to_string() == text).then_some(bytes)
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hex::uuid(&self.0))
    }
}

impl fmt::Debug for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepositoryId({self})")
    }
}
