//! What is recorded.

use serde::{Deserialize, Serialize};

use super::chain::ChainMac;
use super::{Access, AuditKey, MAX_LINE, Position};
use crate::Error;

/// Room that a line has for what the chain adds.
const FRAME: usize = 256;

/// The end of the chain before a file began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Number of the record before.
    pub seq: u64,
    /// Its MAC.
    pub mac: ChainMac,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request that changes something, before it is begun: it stands there even if the process dies on the way.
    Request(Access<'a>),
    /// A request and how it ended, before its answer leaves.
    Answer(Access<'a>),
    /// Something done to the store by another way than a request.
    Action {
        /// Who did it.
        who: &'a str,
        /// What, in one word.
        op: &'a str,
        /// On what; no value of a secret.
        object: &'a str,
    },
    /// The first record of each file.
    File {
        /// The record before it.
        previous: Previous,
        /// Name of the key that the chain is made with.
        key: &'a str,
    },
    /// Files are about to be deleted, so that the log keeps to its size.
    Dropped {
        /// Number of the last record in them.
        through: u64,
    },
    /// The process began.
    Started {
        /// Version of the program.
        version: &'a str,
    },
    /// The process ended in good order.
    Stopped {},
    /// The end of the last file was half a line, as a crash leaves it. It was cut off.
    Recovered {
        /// Bytes that were cut off.
        bytes: u64,
    },
    /// Records that are known to have been on the disk are not there any more.
    Missing {
        /// The last record that is there.
        found: u64,
        /// The last record that was there.
        anchored: u64,
    },
    /// The disk is full: from here on nothing is answered.
    Full {},
    /// Records are taken again after trouble.
    Resumed {
        /// The first record that may have been lost, if the disk failed to take some.
        #[serde(skip_serializing_if = "Option::is_none")]
        unsure_from: Option<u64>,
    },
}

impl<'a> Event<'a> {
    /// The first record of a file that follows `end`.
    pub fn file(end: Position, key: &'a AuditKey) -> Self {
        Self::File { previous: Previous { seq: end.seq, mac: end.mac }, key: key.name() }
    }

    /// The first record of all.
    pub fn first_file(key: &'a AuditKey) -> Self {
        Self::file(Position::default(), key)
    }
}

/// An event as it is written, with no place in the chain yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry(String);

impl Entry {
    /// Writes it down. Class `Invalid` if it is longer than a line may be.
    pub fn new(event: &Event<'_>) -> Result<Self, Error> {
        let text = serde_json::to_string(event);
        let text = text.map_err(|_| Error::Bug("an audit record does not serialise".into()))?;
        if text.len() > MAX_LINE - FRAME {
            return Err(Error::Invalid(format!(
                "a request with {} bytes of names is too long to be recorded",
                text.len()
            )));
        }
        Ok(Self(text))
    }

    /// The members, without the braces around them.
    pub(super) fn members(&self) -> &str {
        self.0.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(&self.0)
    }
}
