//! Checking the files of a log, also while another process writes them.

use std::io::{self, BufRead, BufReader, ErrorKind, Read as _};
use std::path::Path;

use super::place::{Folder, Place as _};
use super::{ANCHOR, KEYS};
use crate::Error;
use crate::audit::{Anchor, AuditKey, Expectations, Line, MAX_LINE, Report, Verifier};

/// How often it starts over when files are dropped meanwhile.
const ATTEMPTS: usize = 3;

/// Checks the log in `folder` in constant memory, and against the anchor beside it.
pub fn check(folder: &Path, key: &AuditKey) -> Result<Report, Error> {
    let failed = |e: io::Error| Error::Backend(format!("the audit log in {} can not be read: {e}", folder.display()));
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match read(&Folder::look(folder), key) {
            Err(e) if e.kind() == ErrorKind::NotFound && left > 0 && folder.exists() => {}
            other => return other.map_err(failed),
        }
    }
}

/// The copy of the wrapped keys beside the log in `folder`.
pub fn stored_keys(folder: &Path) -> Result<Vec<u8>, Error> {
    let shown = folder.display();
    let keys = Folder::look(folder).read(KEYS);
    let keys = keys.map_err(|e| Error::Backend(format!("the wrapped keys in {shown} can not be read: {e}")))?;
    keys.ok_or_else(|| Error::NotFound(format!("{shown} has no {KEYS}: is it the directory of an audit log?")))
}

fn read(folder: &Folder, key: &AuditKey) -> io::Result<Report> {
    // The anchor comes first: what it speaks of is in the files by now.
    let anchor = folder.read(ANCHOR)?.map(|text| Anchor::from_text(&text, key));
    let forged = matches!(anchor, Some(Err(_)));
    let mut verifier = Verifier::new(key, &Expectations { anchor: anchor.and_then(Result::ok) });
    if forged {
        verifier.distrust_anchor(ANCHOR);
    }
    for (name, _) in folder.list()? {
        let mut reader = BufReader::with_capacity(1 << 16, folder.reader(&name)?);
        let mut text = Vec::new();
        while next_line(&mut reader, &mut text)? {
            let bytes = text.strip_suffix(b"\n");
            verifier.line(Line { file: &name, bytes: bytes.unwrap_or(&text), ended: bytes.is_some() });
        }
    }
    Ok(verifier.finish())
}

/// Reads one line, of one that is too long no more than shows that it is.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    reader.by_ref().take(MAX_LINE as u64 + 2).read_until(b'\n', line)?;
    if line.len() > MAX_LINE + 1 && !line.ends_with(b"\n") {
        reader.skip_until(b'\n')?;
        line.truncate(MAX_LINE + 1);
        line.push(b'\n');
    }
    Ok(!line.is_empty())
}
