//! Lines, and how each is tied to the one before.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;

use super::{AuditKey, Entry, FORMAT, Previous};

const MAC_MEMBER: &[u8] = br#","mac":""#;
const LINE_END: &[u8] = br#""}"#;
const HEX_DIGITS: usize = 64;

/// The MAC of one record, which the next one builds on.
#[derive(Clone, Copy, Default, Eq)]
pub struct ChainMac(pub(super) [u8; 32]);

impl PartialEq for ChainMac {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for ChainMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hex::encode(&self.0))
    }
}

impl Serialize for ChainMac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&crate::hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for ChainMac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        mac_of(text.as_bytes()).ok_or_else(|| serde::de::Error::custom("a MAC is 64 lowercase hex digits"))
    }
}

/// The one way to write a MAC, so that no changed digit passes for the same.
fn mac_of(hex: &[u8]) -> Option<ChainMac> {
    let is_lower = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() != HEX_DIGITS || !hex.iter().all(is_lower) {
        return None;
    }
    crate::hex::decode(std::str::from_utf8(hex).ok()?)?.try_into().ok().map(ChainMac)
}

/// The end of a chain: number and MAC of its last record. The default is the end of an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the last record; 0: there is none.
    pub seq: u64,
    /// Its MAC.
    pub mac: ChainMac,
}

impl Position {
    /// Adds `entry` as the next record: its line goes to the end of `out`.
    pub fn append(&mut self, key: &AuditKey, time: Timestamp, entry: &Entry, out: &mut Vec<u8>) {
        let start = out.len();
        self.seq += 1;
        // Writing into memory can not fail.
        let _ = write!(out, r#"{{"v":"{FORMAT}","seq":{},"time":"{time}",{}"#, self.seq, entry.members());
        self.mac = key.link(&self.mac, &out[start..]);
        out.extend_from_slice(MAC_MEMBER);
        out.extend_from_slice(crate::hex::encode(&self.mac.0).as_bytes());
        out.extend_from_slice(LINE_END);
        out.push(b'\n');
    }

    /// Where a line (without its end) leaves the chain, by its own words: nothing is proved.
    pub fn claimed(line: &[u8]) -> Option<Self> {
        let (_, mac) = split(line)?;
        Some(Self { seq: Head::parse(line)?.seq, mac })
    }

    /// Whether `line` is the record after this one.
    pub fn leads_to(&self, key: &AuditKey, line: &[u8]) -> bool {
        split(line).is_some_and(|(body, mac)| key.link(&self.mac, body) == mac)
    }
}

/// Bytes that the MAC covers, and the MAC.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], ChainMac)> {
    let rest = line.strip_suffix(LINE_END)?;
    let (rest, hex) = rest.split_at_checked(rest.len().checked_sub(HEX_DIGITS)?)?;
    Some((rest.strip_suffix(MAC_MEMBER)?, mac_of(hex)?))
}

/// What checking needs to know of a record.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    pub(super) v: Cow<'a, str>,
    pub(super) seq: u64,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    pub(super) previous: Option<Previous>,
    #[serde(borrow)]
    pub(super) key: Option<Cow<'a, str>>,
    pub(super) through: Option<u64>,
    pub(super) bytes: Option<u64>,
}

impl<'a> Head<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// One line of a log, for checking.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Name of its file.
    pub file: &'a str,
    /// Its bytes, without the line feed.
    pub bytes: &'a [u8],
    /// Whether a line feed ended it.
    pub ended: bool,
}

impl<'a> Line<'a> {
    /// The lines of a whole file.
    pub fn all(file: &'a str, text: &'a [u8]) -> impl Iterator<Item = Self> {
        text.split_inclusive(|byte| *byte == b'\n').map(move |line| {
            let bytes = line.strip_suffix(b"\n");
            Self { file, bytes: bytes.unwrap_or(line), ended: bytes.is_some() }
        })
    }
}
