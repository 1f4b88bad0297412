//! Where a log ends when it is opened: after a crash, after a cut, or for the first time.

use std::io;
use std::sync::Arc;

use super::place::{Place, Sheet, number_of};
use super::{ANCHOR, FileConfig};
use crate::Error;
use crate::audit::{Anchor, AuditKey, Line, MAX_LINE, Position};

/// Enough for two lines: the last, and the one that it builds on.
const TAIL: usize = 2 * MAX_LINE + 2;

/// The end of a log.
pub(super) struct End {
    /// The last record.
    pub(super) at: Position,
    /// The file to go on with, and its length; none: begin a new one.
    pub(super) sheet: Option<(Arc<dyn Sheet>, u64)>,
    /// Bytes of a half line that were cut off.
    pub(super) torn: u64,
    /// The last record that is there and the last one that was, if they differ.
    pub(super) missing: Option<(u64, u64)>,
    /// The newest anchor that is known.
    pub(super) anchor: Option<Anchor>,
}

/// Finds the end, and cuts half a line off it. Nothing stops it but a disk that can not be read: a log that was tampered
/// with is gone on with, and tells of it.
pub(super) fn find_end(
    place: &dyn Place,
    config: &FileConfig,
    key: &AuditKey,
    expected: Option<Anchor>,
) -> Result<End, Error> {
    let shown = config.folder.display();
    let failed = |e: io::Error| Error::Backend(format!("the audit log in {shown} can not be read: {e}"));
    let mut end = last_record(place, key, &shown).map_err(failed)?;
    let beside = match place.read(ANCHOR).map_err(failed)?.map(|text| Anchor::from_text(&text, key)) {
        Some(Err(error)) => {
            tracing::error!("{error}; run `homelab secrets audit verify`");
            None
        }
        other => other.and_then(Result::ok),
    };
    end.anchor = [beside, expected].into_iter().flatten().max_by_key(|anchor| anchor.at.seq);
    let replaced = |anchor: &Anchor| anchor.at.seq == end.at.seq && anchor.at.mac != end.at.mac;
    if let Some(anchor) = end.anchor.filter(|anchor| anchor.at.seq > end.at.seq || replaced(anchor)) {
        tracing::error!(
            "the audit log in {shown} ends at record {} but had reached {}: its end was cut off, or an older copy was put in its place",
            end.at.seq,
            anchor.at.seq
        );
        end.missing = Some((end.at.seq, anchor.at.seq));
        // No number is used twice.
        end.at = if end.at.seq == 0 { anchor.at } else { Position { seq: anchor.at.seq, ..end.at } };
    }
    Ok(end)
}

fn last_record(place: &dyn Place, key: &AuditKey, shown: &dyn std::fmt::Display) -> io::Result<End> {
    let mut end = End { at: Position::default(), sheet: None, torn: 0, missing: None, anchor: None };
    for (name, _) in place.list()?.into_iter().rev() {
        let sheet = place.open(&name)?;
        let (len, tail) = sheet.tail(TAIL)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole == 0 && len == tail.len() as u64 {
            // A crash while it was begun: it holds nothing.
            place.remove(&name)?;
            end.torn += len;
            continue;
        }
        let mut lines = Line::all(&name, &tail[..whole]).map(|line| line.bytes).collect::<Vec<_>>().into_iter().rev();
        let claimed = lines.next().and_then(|last| Some((last, Position::claimed(last)?)));
        let Some((last, at)) = claimed else {
            tracing::error!("the last line of {name} in {shown} is no record: run `homelab secrets audit verify`");
            let before = lines.find_map(Position::claimed);
            end.at =
                before.unwrap_or_else(|| Position { seq: number_of(&name).unwrap_or_default(), ..Position::default() });
            return Ok(end);
        };
        if lines.next().and_then(Position::claimed).is_some_and(|before| !before.leads_to(key, last)) {
            tracing::error!("the last record of {name} in {shown} was changed: run `homelab secrets audit verify`");
        }
        let torn = (tail.len() - whole) as u64;
        if torn > 0 {
            sheet.cut(len - torn)?;
        }
        end.torn += torn;
        (end.at, end.sheet) = (at, Some((sheet, len - torn)));
        return Ok(end);
    }
    Ok(end)
}
