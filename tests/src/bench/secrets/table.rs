//! What was measured, as a table for people and as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::presets::ASCII_MARKDOWN;
use serde_json::{Value, json};

use super::super::{median, output};
use super::machine;
use super::server::Peer;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    Reads,
    ReadP99,
    Writes,
    Start,
    StartKilled,
    Idle,
    MemoryFew,
    MemoryMany,
    Growth,
    Stored,
}

/// What a row has to come to.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// So many times OpenBao's at least.
    Times(f64),
    /// This part of OpenBao's at most.
    Part(f64),
    /// MB of ours at most.
    Megabytes(f64),
}

impl Row {
    fn words(self, few: usize, many: usize) -> (String, &'static str) {
        match self {
            Self::Reads => ("reads".into(), "/s"),
            Self::ReadP99 => ("read, 99 of 100 within".into(), "ms"),
            Self::Writes => ("durable writes".into(), "/s"),
            Self::Start => (format!("start → first secret, {few} in the store"), "ms"),
            Self::StartKilled => (format!("start → first secret, {many} in the store, after kill -9"), "ms"),
            Self::Idle => ("memory of its own, idle, empty".into(), "MB"),
            Self::MemoryFew => (format!("memory of its own, {few} secrets read"), "MB"),
            Self::MemoryMany => (format!("memory of its own, {many} secrets written"), "MB"),
            Self::Growth => (format!("· growth of memory, {few} → {many}"), "MB"),
            Self::Stored => (format!("· growth of the store's files, {few} → {many}"), "MB"),
        }
    }

    fn goal(self) -> Option<Goal> {
        match self {
            Self::Reads | Self::Writes => Some(Goal::Times(3.0)),
            Self::ReadP99 => Some(Goal::Part(1.0 / 3.0)),
            Self::Start | Self::StartKilled => Some(Goal::Part(0.2)),
            Self::Idle => Some(Goal::Megabytes(10.0)),
            Self::MemoryMany => Some(Goal::Megabytes(60.0)),
            Self::MemoryFew | Self::Growth | Self::Stored => None,
        }
    }

    /// Whether it is measured without TLS and with it.
    fn has_tls(self) -> bool {
        matches!(self, Self::Reads | Self::ReadP99 | Self::Writes | Self::Start)
    }
}

impl Goal {
    fn words(self, ours: f64, ratio: f64) -> String {
        let (text, met) = match self {
            Self::Times(times) => (format!("≥ {times} ×"), ratio >= times),
            Self::Part(part) => (format!("≤ 1/{:.0}", 1.0 / part), ratio <= part),
            Self::Megabytes(most) => (format!("≤ {most} MB"), ours <= most),
        };
        format!("{text} {}", if met { "met" } else { "MISSED" })
    }
}

type Samples = BTreeMap<(Row, bool), BTreeMap<Peer, Vec<f64>>>;

/// Everything that was measured.
pub(super) struct Table {
    few: usize,
    many: usize,
    samples: Samples,
    syncs: Vec<f64>,
    loads: Vec<f64>,
}

impl Table {
    pub(super) fn new(few: usize, many: usize) -> Self {
        Self { few, many, samples: Samples::new(), syncs: Vec::new(), loads: Vec::new() }
    }

    pub(super) fn add(&mut self, row: Row, tls: bool, peer: Peer, value: f64) {
        self.samples.entry((row, tls)).or_default().entry(peer).or_default().push(value);
    }

    /// The disk's time for a sync, and the load beside it.
    pub(super) fn disk(&mut self, milliseconds: f64) {
        self.syncs.push(milliseconds);
        self.loads.push(machine::last_minute());
    }

    pub(super) fn print(&self) {
        let mut table = comfy_table::Table::new();
        let header = ["what", "TLS", "ours", "ours, `always`", "OpenBao", "ours : OpenBao", "goal"];
        table.load_preset(ASCII_MARKDOWN).set_header(header);
        for ((row, tls), peers) in &self.samples {
            let (what, unit) = row.words(self.few, self.many);
            let shown =
                |peer| middle(peers, peer).map_or_else(String::new, |value| format!("{} {unit}", number(value)));
            let tls = match (row.has_tls(), tls) {
                (false, _) => "",
                (true, false) => "off",
                (true, true) => "on",
            };
            let ours = middle(peers, Peer::Ours);
            let ratio = ours.zip(middle(peers, Peer::OpenBao)).map(|(ours, theirs)| ours / theirs);
            let goal = row.goal().zip(ours).map(|(goal, ours)| goal.words(ours, ratio.unwrap_or(f64::NAN)));
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let [ours, always, bao] = [Peer::Ours, Peer::Always, Peer::OpenBao].map(shown);
            table.add_row([what, tls.into(), ours, always, bao, ratio, goal.unwrap_or_default()]);
        }
        output::say(table.to_string());
        let (sync, load) = (median(&mut self.syncs.clone()), median(&mut self.loads.clone()));
        output::say(format!(
            "fdatasync of 4 KiB: {sync:.2} ms, load before each round: {load:.1}, cores: {}, {}",
            cores(),
            "redb's cache of 8 MiB is counted as memory"
        ));
        if cfg!(debug_assertions) {
            output::say("(a debug build of the load: `cargo xtask bench secrets` measures a release build)");
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join("secrets.json");
        let rows: Vec<Value> = self.samples.iter().map(|((row, tls), peers)| self.json(*row, *tls, peers)).collect();
        let report = json!({
            "format": 1,
            "time": jiff::Timestamp::now().to_string(),
            "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
            "cores": cores(),
            "fdatasyncMilliseconds": self.syncs,
            "load": self.loads,
            "rows": rows,
        });
        std::fs::write(&file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("can not write {}", file.display()))?;
        output::say(format!("written to {}", file.display()));
        Ok(())
    }

    fn json(&self, row: Row, tls: bool, peers: &BTreeMap<Peer, Vec<f64>>) -> Value {
        let (what, unit) = row.words(self.few, self.many);
        let samples: BTreeMap<_, _> = peers.iter().map(|(peer, values)| (format!("{peer:?}"), values)).collect();
        json!({"what": what, "tls": tls, "unit": unit, "samples": samples})
    }
}

fn middle(peers: &BTreeMap<Peer, Vec<f64>>, peer: Peer) -> Option<f64> {
    peers.get(&peer).map(|values| median(&mut values.clone()))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// As many digits as say something.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_medians() {
        assert_eq!(Goal::Times(3.0).words(1.0, 3.0), "≥ 3 × met");
        assert_eq!(Goal::Part(1.0 / 3.0).words(1.0, 0.34), "≤ 1/3 MISSED");
        assert_eq!(Goal::Part(0.2).words(1.0, f64::NAN), "≤ 1/5 MISSED", "what was not measured is not met");
        assert_eq!(Goal::Megabytes(10.0).words(9.9, f64::NAN), "≤ 10 MB met");
        let peers = BTreeMap::from([(Peer::Ours, vec![9.0, 1.0, 2.0])]);
        assert_eq!((middle(&peers, Peer::Ours), middle(&peers, Peer::OpenBao)), (Some(2.0), None));
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!([1234.5, 45.67, 0.123].map(number), ["1234", "45.7", "0.12"]);
    }
}
