//! Checking a log from its first line to its last, in constant memory.

use std::fmt;

use serde::Serialize;

use super::chain::{ChainMac, Head, split};
use super::{Anchor, AuditKey, FORMAT, Line, MAX_LINE};

/// Findings that are kept; more are counted.
const KEPT: usize = 1000;
/// Bytes of a line behind its MAC.
const END: usize = 2;

/// What is known from elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expectations {
    /// A place that the chain has reached.
    pub anchor: Option<Anchor>,
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Problem {
    /// The line is no record.
    Malformed,
    /// The record, or how it is tied to the one before, was changed.
    Changed,
    /// Records are not there.
    Gap {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// The record stands where another belongs, or stands there twice.
    OutOfOrder {
        /// The number that belongs there.
        expected: u64,
    },
    /// Its first files are not there, and the log does not say that they were dropped.
    MissingStart {
        /// The last record that is not there.
        to: u64,
    },
    /// The chain had reached further.
    CutTail {
        /// The record that it had reached.
        anchored: u64,
    },
    /// The chain is not the one that was anchored.
    Replaced,
    /// The log was made with another key.
    WrongKey {
        /// The name of that key.
        made_with: String,
    },
    /// The record has a format that this program does not know.
    UnknownFormat {
        /// The format's name.
        found: String,
    },
    /// A file that is not the last one ends within a line.
    CutFile,
    /// The anchor was changed, or made with another key.
    ForgedAnchor,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("is no record: it was changed, or put there"),
            Self::Changed => f.write_str("was changed: its MAC does not fit it and the record before"),
            Self::Gap { from, to } if from == to => write!(f, "record {from} is missing before it"),
            Self::Gap { from, to } => write!(f, "records {from} to {to} are missing before it"),
            Self::OutOfOrder { expected } => write!(f, "stands where record {expected} belongs: moved or copied"),
            Self::MissingStart { to } => {
                write!(f, "the log begins here: the records up to {to} were not dropped by it")
            }
            Self::CutTail { anchored } => write!(f, "the end is cut off: record {anchored} was on the disk"),
            Self::Replaced => f.write_str("is not the record that was anchored: the log was put in another's place"),
            Self::WrongKey { made_with } => {
                write!(f, "the log was made with the key {made_with}, which is not the given one")
            }
            Self::UnknownFormat { found } => write!(f, "has the format {found:?}, this program reads {FORMAT}"),
            Self::CutFile => f.write_str("ends within a line although a later file follows"),
            Self::ForgedAnchor => f.write_str("the anchor was changed, or made with another key"),
        }
    }
}

/// One problem and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Number of the line in it, from 1; 0: the file as a whole.
    pub line: u64,
    /// Number of the record, by its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        match (&self.problem, self.seq) {
            (Problem::CutTail { .. } | Problem::WrongKey { .. } | Problem::MissingStart { .. }, _) | (_, None) => {}
            (_, Some(seq)) => write!(f, "record {seq}: ")?,
        }
        write!(f, "{}", self.problem)
    }
}

/// Half a line at the very end, as a crash leaves it; the next start cuts it off and says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Torn {
    /// The file.
    pub file: String,
    /// Bytes of it.
    pub bytes: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Files.
    pub files: u64,
    /// Records.
    pub records: u64,
    /// Number of the first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Number of the last record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Half a line at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn: Option<Torn>,
    /// The record that the chain is known to have reached; without it a cut end is not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchored: Option<u64>,
    /// Torn ends that earlier starts have cut off.
    pub recovered: u64,
    /// Signs of tampering, at most a thousand of them.
    pub findings: Vec<Finding>,
    /// Those that are not listed.
    pub unlisted: u64,
}

impl Report {
    /// Nothing was tampered with. A torn end is a crash's work.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }

    /// Intact, and with a whole last line.
    pub fn is_clean(&self) -> bool {
        self.is_intact() && self.torn.is_none()
    }
}

/// Checks a whole log, its files in order.
pub fn verify<'a>(lines: impl IntoIterator<Item = Line<'a>>, key: &AuditKey, expect: &Expectations) -> Report {
    let mut verifier = Verifier::new(key, expect);
    lines.into_iter().for_each(|line| verifier.line(line));
    verifier.finish()
}

/// Checks line by line. After a bad record it goes on from what that record says, so that one change is one finding.
#[derive(Debug)]
pub struct Verifier<'k> {
    key: &'k AuditKey,
    anchor: Option<Anchor>,
    report: Report,
    file: String,
    first_file: String,
    number: u64,
    /// Number of the next record; none before the first.
    expected: Option<u64>,
    /// MACs that the next record may build on; none where the record before can not be known.
    links: Vec<ChainMac>,
    /// A line that was no record may have been one.
    doubtful: bool,
    /// Records up to this one were dropped by the log itself.
    dropped: u64,
    wrong_key: bool,
    cut: Option<Torn>,
}

impl<'k> Verifier<'k> {
    /// Checks with `key`.
    pub fn new(key: &'k AuditKey, expect: &Expectations) -> Self {
        Self {
            key,
            anchor: expect.anchor,
            report: Report { anchored: expect.anchor.map(|anchor| anchor.at.seq), ..Report::default() },
            file: String::new(),
            first_file: String::new(),
            number: 0,
            expected: None,
            links: Vec::new(),
            doubtful: false,
            dropped: 0,
            wrong_key: false,
            cut: None,
        }
    }

    /// There is an anchor, in the file of this name, but it does not prove itself.
    pub fn distrust_anchor(&mut self, file: &str) {
        let (file, problem) = (file.to_owned(), Problem::ForgedAnchor);
        self.report.findings.push(Finding { file, line: 0, seq: None, problem });
    }

    /// The next line.
    pub fn line(&mut self, line: Line<'_>) {
        if self.file != line.file || self.report.files == 0 {
            if self.cut.take().is_some() {
                self.find(None, Problem::CutFile);
            }
            line.file.clone_into(&mut self.file);
            if self.report.files == 0 {
                line.file.clone_into(&mut self.first_file);
            }
            self.number = 0;
            self.report.files += 1;
        }
        self.number += 1;
        if line.ended {
            return self.record(line.bytes);
        }
        // A whole record with something behind it is not what a crash leaves.
        let holds_record = (END..line.bytes.len()).rev().any(|end| split(&line.bytes[..end]).is_some());
        if holds_record && split(line.bytes).is_none() {
            return self.find(None, Problem::Malformed);
        }
        self.cut = Some(Torn { file: line.file.into(), bytes: line.bytes.len() as u64 });
    }

    fn record(&mut self, line: &[u8]) {
        let parsed = split(line).filter(|_| line.len() <= MAX_LINE).zip(Head::parse(line));
        let Some(((body, mac), head)) = parsed else {
            self.doubtful = true;
            return self.find(None, Problem::Malformed);
        };
        if head.v != FORMAT {
            self.doubtful = true;
            return self.find(Some(head.seq), Problem::UnknownFormat { found: head.v.chars().take(64).collect() });
        }
        self.report.records += 1;
        if let Some(made_with) = head.key.as_deref().filter(|name| head.kind == "file" && *name != self.key.name()) {
            if !self.wrong_key {
                self.find(Some(head.seq), Problem::WrongKey { made_with: made_with.chars().take(64).collect() });
            }
            self.wrong_key = true;
        }
        if self.expected.is_none() {
            self.begin(&head);
        }
        self.follow(&head, body, mac);
    }

    /// The first record: what it builds on is known from itself alone.
    fn begin(&mut self, head: &Head<'_>) {
        let start = head.seq.saturating_sub(u64::from(self.doubtful)).max(1);
        self.report.first = Some(start);
        self.expected = Some(start);
        match &head.previous {
            Some(previous) if head.kind == "file" && previous.seq.checked_add(1) == Some(head.seq) => {
                self.links = vec![previous.mac];
            }
            // A first line that was no record has been found already.
            _ if self.doubtful => {}
            _ => self.find(Some(head.seq), Problem::MissingStart { to: head.seq.saturating_sub(1) }),
        }
    }

    fn follow(&mut self, head: &Head<'_>, body: &[u8], mac: ChainMac) {
        let expected = self.expected.unwrap_or(head.seq);
        let computed: Vec<ChainMac> = self.links.iter().map(|link| self.key.link(link, body)).collect();
        let proved = computed.contains(&mac);
        let skipped = u64::from(self.doubtful);
        if head.seq < expected {
            return self.find(Some(head.seq), Problem::OutOfOrder { expected });
        }
        if head.seq > expected.saturating_add(skipped) {
            self.find(Some(head.seq), Problem::Gap { from: expected, to: head.seq - 1 });
        } else if !proved && !self.wrong_key && head.seq == expected && !self.links.is_empty() {
            self.find(Some(head.seq), Problem::Changed);
        }
        if self.anchor.is_some_and(|anchor| anchor.at.seq == head.seq && anchor.at.mac != mac) && !self.wrong_key {
            self.find(Some(head.seq), Problem::Replaced);
        }
        // What a changed record was before is not known: the next one may build on either MAC.
        self.links = vec![mac];
        self.links.extend(computed.into_iter().filter(|other| *other != mac));
        self.doubtful = false;
        self.expected = Some(head.seq.saturating_add(1));
        self.report.last = Some(head.seq);
        if proved && head.kind == "dropped" {
            self.dropped = self.dropped.max(head.through.unwrap_or_default());
        }
        if head.kind == "recovered" && head.bytes.is_some() {
            self.report.recovered += 1;
        }
    }

    fn find(&mut self, seq: Option<u64>, problem: Problem) {
        if self.report.findings.len() == KEPT {
            self.report.unlisted += 1;
            return;
        }
        self.report.findings.push(Finding { file: self.file.clone(), line: self.number, seq, problem });
    }

    /// The report.
    pub fn finish(mut self) -> Report {
        self.report.torn = self.cut.take();
        let (first, last) = (self.report.first.unwrap_or(1), self.report.last.unwrap_or_default());
        let explained = self.report.findings.iter().any(|f| matches!(f.problem, Problem::MissingStart { .. }));
        if first > self.dropped.saturating_add(1) && !explained && !self.wrong_key {
            let (file, problem) = (self.first_file.clone(), Problem::MissingStart { to: first - 1 });
            self.report.findings.insert(0, Finding { file, line: 0, seq: Some(first), problem });
        }
        if let Some(anchor) = self.anchor.filter(|anchor| anchor.at.seq > last) {
            self.find(None, Problem::CutTail { anchored: anchor.at.seq });
        }
        self.report
    }
}
