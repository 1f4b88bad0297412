//! CPU and memory of the daemon's process, children (helm) not counted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Number;
use crate::case::Case;

/// Clock ticks a second in /proc; fixed for all programs on Linux.
const TICKS: f64 = 100.0;

/// What /proc tells of one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Seconds of CPU, its own and not its children's.
    pub(super) cpu: f64,
    /// MiB that are resident now.
    pub(super) resident: f64,
    /// MiB that were resident at most.
    pub(super) peak: f64,
}

pub(super) fn sample(id: u32) -> Result<Sample> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).context("the daemon has ended");
    let stat = read("stat")?;
    // The program's name stands in parentheses and may hold anything; fields 14 and 15 are counted behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let status = read("status")?;
    let mib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
    };
    Ok(Sample { cpu: (ticks(11) + ticks(12)) / TICKS, resident: mib("VmRSS"), peak: mib("VmHWM") })
}

pub(super) async fn idle(case: &Case, time: Duration) -> Result<Vec<Number>> {
    let id = case.daemon.id().context("the daemon does not run")?;
    // What the first rollout left to do is not idleness.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let before = sample(id)?;
    let start = Instant::now();
    tokio::time::sleep(time).await;
    let after = sample(id)?;
    let share = (after.cpu - before.cpu) / start.elapsed().as_secs_f64() * 100.0;
    Ok(vec![
        Number::new("daemon idle: memory", after.resident, "MiB").goal(40.0),
        Number::new("daemon idle: CPU", share, "% of a core"),
    ])
}
