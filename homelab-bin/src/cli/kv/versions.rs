//! `homelab kv rollback` and `diff`: two versions of one secret.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Map, Value};

use super::client::{Client, Version};
use super::{FORMAT, Path, plain};
use crate::args::Output;
use crate::cli::output::{self, Table};

/// Writes the values of version `to` again. Somebody's write in between is not written over.
pub(super) async fn rollback(client: &Client, path: &Path, to: Option<u64>) -> Result<Version> {
    let history = client.history(path).await?;
    let newest = history.last().map_or(0, |version| version.version);
    let to = match to {
        Some(to) => to,
        None => before(&history, newest, path)?,
    };
    if to == newest {
        bail!("{} is at version {newest} already", path.full());
    }
    let (data, _) = client.read(path, Some(to)).await?;
    client.write(path, data, Some(newest)).await
}

/// Prints what differs.
pub(super) async fn diff(
    client: &Client,
    path: &Path,
    (from, to): (Option<u64>, Option<u64>),
    values: bool,
    out: Output,
) -> Result<()> {
    let (new, at) = client.read(path, to).await?;
    let from = match from {
        Some(from) => from,
        None => before(&client.history(path).await?, at.version, path)?,
    };
    let (old, _) = client.read(path, Some(from)).await?;
    let mut changes = changes(&old, &new);
    if !values {
        changes.iter_mut().for_each(Change::hide);
    }
    if let Some(format) = out.format {
        return output::data(&Shown { format: FORMAT, path: path.full(), from, to: at.version, changes }, format);
    }
    output::note(&format!("{} from version {from} to {}", path.full(), at.version));
    let shown = |value: &Option<Value>| value.as_ref().map(plain).unwrap_or_default();
    let mut table = if values { Table::new(["KEY", "CHANGE", "OLD", "NEW"]) } else { Table::new(["KEY", "CHANGE"]) };
    for change in &changes {
        let mut cells = vec![change.key.clone(), change.what.to_owned()];
        cells.extend(values.then(|| [shown(&change.old), shown(&change.new)]).into_iter().flatten());
        table.row(cells);
    }
    table.print("the two are the same")
}

/// The newest version below `version` that can be read.
fn before(history: &[Version], version: u64, path: &Path) -> Result<u64> {
    let readable = |v: &&Version| v.version < version && !v.destroyed && v.deleted.is_none();
    match history.iter().rev().find(readable) {
        Some(found) => Ok(found.version),
        None => bail!("{} has no version before {version} that can be read", path.full()),
    }
}

#[derive(Serialize)]
struct Shown {
    format: u32,
    path: String,
    from: u64,
    to: u64,
    changes: Vec<Change>,
}

/// One key that is not the same.
#[derive(Serialize)]
struct Change {
    key: String,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Value>,
}

impl Change {
    fn hide(&mut self) {
        (self.old, self.new) = (None, None);
    }
}

/// Keys that came, went or changed, sorted.
fn changes(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Change> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |key: &String| {
        let (old, new) = (old.get(key), new.get(key));
        let what = match (old, new) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(old), Some(new)) if old == new => return None,
            _ => "changed",
        };
        Some(Change { key: key.clone(), what, old: old.cloned(), new: new.cloned() })
    };
    keys.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn keys_come_go_and_change() {
        let old = map(json!({"same": 1, "gone": "x", "other": "a"}));
        let new = map(json!({"same": 1, "new": "y", "other": "b"}));
        let found = changes(&old, &new);
        let words: Vec<_> = found.iter().map(|c| format!("{} {}", c.key, c.what)).collect();
        assert_eq!(words, ["gone removed", "new added", "other changed"]);
        let mut hidden = changes(&old, &new);
        hidden.iter_mut().for_each(Change::hide);
        assert_eq!(serde_json::to_value(&hidden[2]).expect("JSON"), json!({"key": "other", "what": "changed"}));
    }

    #[test]
    fn the_version_before_is_one_that_can_be_read() {
        let version = |number: u64, destroyed| {
            Version::of(
                number,
                &json!({"created_time": "2026-11-23T12:00:00Z", "deletion_time": "", "destroyed": destroyed}),
            )
        };
        let history = [version(1, false), version(2, true), version(3, false)];
        let path = Path::parse("kv/web/db").expect("a path");
        assert_eq!(before(&history, 3, &path).expect("one"), 1);
        assert_eq!(
            before(&history, 1, &path).expect_err("none").to_string(),
            "kv/web/db has no version before 1 that can be read"
        );
    }
}
