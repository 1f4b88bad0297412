//! A whole store in one file, as it is sealed: backups. Pure.
//!
//! A backup is one line of text that says what it is, one line of JSON ([`Header`]), the records of the store with their keys,
//! and an end with their number and a digest, so that one that was cut off or changed is never taken for whole. Records
//! stay as the store sealed them, and the table of keys is one of them: whatever opens the store (key file, passphrase, age
//! identity, recovery key) opens its backup, and nothing else does.

use std::io::{self, ErrorKind, Read};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Error;

mod board;
mod keep;
mod target;

pub use board::{Board, Scheduled};
pub use keep::{BackupName, Due, backups_of, due, expired};
pub use target::BackupTarget;

/// Version of the format that this program writes.
pub const FORMAT: u32 = 1;
/// What every backup begins with; the format follows.
const WORD: &str = "homelab-backup/";
/// Longest line of text, key and record, bytes. More is no backup.
const LINE: usize = 4096;
const KEY: usize = 16 * 1024;
const RECORD: usize = 16 << 20;

/// What a backup says of itself. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Which store it is of.
    pub store: String,
    /// Where that stood: it only grows.
    pub sequence: u64,
    /// When it was made.
    pub made: Timestamp,
    /// Version of the program that made it.
    pub program: String,
}

/// Writes a backup, piece by piece; the pieces in their order are the file.
#[derive(Debug, Default)]
pub struct Encoder {
    digest: Sha256,
    records: u64,
}

impl Encoder {
    /// The beginning.
    pub fn begin(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let json =
            serde_json::to_string(header).map_err(|_| Error::Bug("a backup's header does not serialise".into()))?;
        Ok(self.taken(format!("{WORD}{FORMAT}\n{json}\n").into_bytes()))
    }

    /// One record.
    pub fn record(&mut self, key: &str, record: &[u8]) -> Result<Vec<u8>, Error> {
        let length = |bytes: &[u8], most: usize| {
            let fits = !bytes.is_empty() && bytes.len() <= most;
            let length = u32::try_from(bytes.len()).ok().filter(|_| fits);
            length.ok_or_else(|| Error::Bug(format!("the record {key} does not fit into a backup")))
        };
        let (key_length, length) = (length(key.as_bytes(), KEY)?, length(record, RECORD)?);
        let mut piece = Vec::with_capacity(8 + key.len() + record.len());
        piece.extend_from_slice(&key_length.to_be_bytes());
        piece.extend_from_slice(key.as_bytes());
        piece.extend_from_slice(&length.to_be_bytes());
        piece.extend_from_slice(record);
        self.records += 1;
        Ok(self.taken(piece))
    }

    /// The end. Without it nobody takes the backup for whole.
    pub fn end(mut self) -> Vec<u8> {
        let mut piece = self.taken([&[0; 4][..], &self.records.to_be_bytes()].concat());
        piece.extend_from_slice(&self.digest.finalize());
        piece
    }

    fn taken(&mut self, piece: Vec<u8>) -> Vec<u8> {
        self.digest.update(&piece);
        piece
    }
}

/// Reads a backup.
pub struct Decoder<R> {
    from: R,
    digest: Sha256,
    records: u64,
    ended: bool,
}

impl<R: Read> Decoder<R> {
    /// Reads the beginning. Class `Invalid`: it is no backup, or of a newer program.
    pub fn begin(from: R) -> Result<(Header, Self), Error> {
        let mut decoder = Self { from, digest: Sha256::new(), records: 0, ended: false };
        let word = decoder.line()?;
        let format = word.strip_prefix(WORD).and_then(|format| format.parse::<u32>().ok());
        match format {
            Some(FORMAT) => {}
            Some(format) => {
                return Err(Error::Invalid(format!(
                    "the backup has format {format}, this program reads {FORMAT}: use the homelab that made it, or a newer one"
                )));
            }
            None => {
                return Err(Error::Invalid("this is no backup of a store: its first line says something else".into()));
            }
        }
        let header = decoder.line()?;
        let header = serde_json::from_str(&header).map_err(|_| {
            Error::Invalid("the backup's second line, which says what it is of, can not be read".into())
        })?;
        Ok((header, decoder))
    }

    /// The next record; none at the end, which is checked then: until that comes nothing that was read is to be trusted.
    pub fn next_record(&mut self) -> Result<Option<(String, Vec<u8>)>, Error> {
        if self.ended {
            return Ok(None);
        }
        let length = self.number::<4>().map(u32::from_be_bytes)? as usize;
        if length == 0 {
            return self.end().map(|()| None);
        }
        let key = String::from_utf8(self.bytes(length, KEY)?).map_err(|_| broken())?;
        let length = self.number::<4>().map(u32::from_be_bytes)? as usize;
        let record = self.bytes(length, RECORD)?;
        self.records += 1;
        Ok(Some((key, record)))
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn end(&mut self) -> Result<(), Error> {
        let records = self.number::<8>().map(u64::from_be_bytes)?;
        let digest = std::mem::take(&mut self.digest).finalize();
        let mut said = [0; 32];
        self.from.read_exact(&mut said).map_err(|error| unread(&error))?;
        if records != self.records || said != digest.as_slice() {
            return Err(broken());
        }
        self.ended = true;
        Ok(())
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = Vec::new();
        loop {
            match self.number::<1>()? {
                [b'\n'] => break,
                [byte] if line.len() < LINE => line.push(byte),
                _ => return Err(Error::Invalid("this is no backup of a store: it begins with no line of text".into())),
            }
        }
        String::from_utf8(line)
            .map_err(|_| Error::Invalid("this is no backup of a store: it begins with no text".into()))
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|error| unread(&error))?;
        self.digest.update(bytes);
        Ok(bytes)
    }

    fn bytes(&mut self, length: usize, most: usize) -> Result<Vec<u8>, Error> {
        if length > most || length == 0 {
            return Err(broken());
        }
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes).map_err(|error| unread(&error))?;
        self.digest.update(&bytes);
        Ok(bytes)
    }
}

fn broken() -> Error {
    Error::Invalid(
        "the backup was changed or damaged: its end does not fit to what comes before; take another one".into(),
    )
}

fn unread(error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => Error::Invalid(
            "the backup ends in the middle: it was cut off when it was made or copied; take another one".into(),
        ),
        _ => Error::Backend(format!("the backup can not be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header { store: "5b0f".into(), sequence: 7, made: Timestamp::UNIX_EPOCH, program: "0.1.0".into() }
    }

    fn encoded(records: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        let mut file = encoder.begin(&header()).unwrap();
        for (key, record) in records {
            file.extend(encoder.record(key, record).unwrap());
        }
        file.extend(encoder.end());
        file
    }

    fn decoded(file: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let (found, mut decoder) = Decoder::begin(file)?;
        assert_eq!(found, header());
        let mut records = Vec::new();
        while let Some(record) = decoder.next_record()? {
            records.push(record);
        }
        Ok(records)
    }

    /// Whether it is said to be no whole backup.
    fn refused(file: &[u8]) -> bool {
        let read = Decoder::begin(file).and_then(|(_, mut all)| {
            while all.next_record()?.is_some() {}
            Ok(())
        });
        matches!(read, Err(Error::Invalid(_)))
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_nothing_less(
            records in prop::collection::vec(("[a-z/]{1,40}", prop::collection::vec(any::<u8>(), 1..200)), 0..20),
            cut in any::<prop::sample::Index>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let file = encoded(&records);
            prop_assert_eq!(decoded(&file).unwrap(), records);
            let short = &file[..cut.index(file.len())];
            prop_assert!(refused(short));
            let mut changed = file.clone();
            changed[flip.index(file.len())] ^= 1;
            prop_assert!(refused(&changed));
        }
    }

    #[test]
    fn newer_and_foreign_files_are_named() {
        let newer = Decoder::begin(&b"homelab-backup/2\n{}\n"[..]).map(drop).unwrap_err().to_string();
        assert!(newer.contains("format 2") && newer.contains("reads 1"), "{newer}");
        for foreign in [&b"redb file"[..], b"", b"\n\n", b"\xff\xff\n"] {
            assert!(matches!(Decoder::begin(foreign).map(drop), Err(Error::Invalid(_))));
        }
        let mut encoder = Encoder::default();
        assert!(encoder.record("", b"x").is_err() && encoder.record("k", b"").is_err());
    }

    #[test]
    fn the_first_release_is_read() {
        let file = [
            &b"homelab-backup/1\n"[..],
            br#"{"store":"5b0f","sequence":7,"made":"1970-01-01T00:00:00Z","program":"0.1.0"}"#,
            b"\n",
        ]
        .concat();
        assert!(encoded(&[]).starts_with(&file));
    }
}
