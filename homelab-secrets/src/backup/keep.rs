//! Which backups there are, which is due, and which have had their time. Pure.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Header;

const WORD: &str = "homelab-";
const ENDING: &str = ".backup";
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// Letters of the store's name that tell stores in one place apart.
const STORE: usize = 8;

/// Name of a backup's file: `homelab-STORE-TIME-SEQUENCE.backup`. Sorts by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupName {
    /// Of which store, shortened.
    pub store: String,
    /// When it was made, to the second.
    pub made: Timestamp,
    /// Where the store stood.
    pub sequence: u64,
}

impl BackupName {
    /// The name of the backup that begins so.
    pub fn of(header: &Header) -> Self {
        let second = Timestamp::from_second(header.made.as_second()).unwrap_or(header.made);
        Self { store: short(&header.store), made: second, sequence: header.sequence }
    }

    /// Reads a name; none: it is of something else.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(WORD)?.strip_suffix(ENDING)?.splitn(3, '-');
        let (store, made, sequence) = (parts.next()?, parts.next()?, parts.next()?);
        let made = jiff::civil::DateTime::strptime(TIME, made).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let named = Self { store: store.to_owned(), made, sequence: sequence.parse().ok()? };
        // Only what we would write is ours to delete.
        (named.to_string() == name).then_some(named)
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{WORD}{}-{}-{}{ENDING}", self.store, self.made.strftime(TIME), self.sequence)
    }
}

fn short(store: &str) -> String {
    store.chars().filter(char::is_ascii_alphanumeric).take(STORE).collect()
}

/// The backups of one store among the names in a place, oldest first.
pub fn backups_of(names: &[String], store: &str) -> Vec<BackupName> {
    let store = short(store);
    let mut found: Vec<_> =
        names.iter().filter_map(|name| BackupName::parse(name)).filter(|n| n.store == store).collect();
    found.sort_by_key(|name| (name.made, name.sequence));
    found
}

/// Those that have had their time: all but the newest `keep`, of which there is always one.
pub fn expired(backups: &[BackupName], keep: usize) -> &[BackupName] {
    &backups[..backups.len().saturating_sub(keep.max(1))]
}

/// Whether another backup is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// The newest one holds all there is.
    Unchanged,
    /// The newest one is not old enough.
    In(Duration),
}

/// Looks at the newest backup, if there is one, and at the store's own sequence.
pub fn due(newest: Option<&BackupName>, sequence: u64, every: Duration, now: Timestamp) -> Due {
    let Some(newest) = newest else { return Due::Now };
    if newest.sequence == sequence {
        return Due::Unchanged;
    }
    // One from the future says nothing: the clock was wrong then, or is now.
    let age = Duration::try_from(now.duration_since(newest.made)).unwrap_or(every);
    every.checked_sub(age).filter(|left| !left.is_zero()).map_or(Due::Now, Due::In)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn named(made: &str, sequence: u64) -> BackupName {
        let header = Header { store: "ab12-cd34-ef".into(), sequence, made: at(made), program: "0.1.0".into() };
        BackupName::of(&header)
    }

    #[test]
    fn names_say_when_and_of_what_and_nothing_else_is_ours() {
        let name = named("2026-11-24T12:45:00.5Z", 42);
        assert_eq!(name.to_string(), "homelab-ab12cd34-20261124T124500Z-42.backup");
        assert_eq!(BackupName::parse(&name.to_string()), Some(name));
        for foreign in [
            "",
            "homelab-ab12cd34-20261124T124500Z-42.backup.part",
            "homelab-ab12cd34-20261124T124500Z-042.backup",
            "photos.tar",
            "homelab-ab12cd34-20261399T124500Z-1.backup",
            "homelab--x-y.backup",
            "../homelab-ab12cd34-20261124T124500Z-42.backup",
        ] {
            assert_eq!(BackupName::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_newest_of_one_store_stay() {
        let mut names: Vec<String> =
            (1..=4).map(|n| named(&format!("2026-11-2{n}T00:00:00Z"), n).to_string()).collect();
        names.push("homelab-other123-20261101T000000Z-1.backup".into());
        names.push("notes.txt".into());
        names.reverse();
        let ours = backups_of(&names, "ab12-cd34-ef");
        assert_eq!(ours.iter().map(|name| name.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(expired(&ours, 3), &ours[..1]);
        assert_eq!(expired(&ours, 0), &ours[..3], "one always stays");
        assert_eq!(expired(&ours, 9), &[]);
        assert_eq!(expired(&[], 1), &[]);
    }

    #[test]
    fn a_backup_is_due_when_there_is_something_new_and_it_is_time() {
        let newest = named("2026-11-24T12:00:00Z", 7);
        let hour = Duration::from_secs(3600);
        assert_eq!(due(None, 7, hour, at("2026-11-24T12:00:00Z")), Due::Now);
        assert_eq!(due(Some(&newest), 7, hour, at("2027-11-24T12:00:00Z")), Due::Unchanged);
        assert_eq!(due(Some(&newest), 8, hour, at("2026-11-24T12:20:00Z")), Due::In(Duration::from_secs(2400)));
        assert_eq!(due(Some(&newest), 8, hour, at("2026-11-24T13:00:00Z")), Due::Now);
        assert_eq!(due(Some(&newest), 8, hour, at("2026-11-24T11:00:00Z")), Due::Now, "the clock went back");
    }
}
