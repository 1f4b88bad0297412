//! The numbers: push to first answer by phase, the daemon's CPU and memory, the agent's start.
//!
//! Printed as a table, written as JSON under `target/bench/`. Meant for a release build; a debug build says so.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::case::Case;

pub mod inject;
mod output;
mod process;
mod push;
pub mod secrets;

/// How often a push is measured.
const PUSHES: usize = 5;
/// How long the idle daemon is watched.
const IDLE: Duration = Duration::from_secs(30);

/// One number.
pub(crate) struct Number {
    what: String,
    value: f64,
    unit: &'static str,
    goal: Option<f64>,
}

impl Number {
    fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, goal: None }
    }

    fn goal(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    fn json(&self) -> Value {
        json!({"what": self.what, "value": self.value, "unit": self.unit, "goal": self.goal})
    }
}

/// Measures everything, prints a table and writes `target/bench/homelab.json`.
pub async fn run() -> Result<()> {
    let case = Case::new("bench").await?;
    let mut numbers = Vec::new();
    // What was measured before a failure is told, too.
    let measured = measure(&case, &mut numbers).await;
    output::table(&numbers);
    write("homelab", &numbers)?;
    measured?;
    case.finish().await
}

async fn measure(case: &Case, numbers: &mut Vec<Number>) -> Result<()> {
    case.running().await?;
    output::say("version 1 runs; measuring the idle daemon");
    numbers.extend(process::idle(case, IDLE).await?);
    output::say("measuring the agent");
    let access = inject::Access::new(case).await?;
    numbers.extend(inject::agent::measure(case, &access, false).await?);
    output::say(format!("measuring {PUSHES} pushes"));
    numbers.extend(push::measure(case, PUSHES).await?);
    Ok(())
}

fn write(name: &str, numbers: &[Number]) -> Result<()> {
    let folder = crate::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{name}.json"));
    let report = json!({
        "format": 1,
        "time": jiff::Timestamp::now().to_string(),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "numbers": numbers.iter().map(Number::json).collect::<Vec<_>>(),
    });
    std::fs::write(&file, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("can not write {}", file.display()))?;
    output::say(format!("written to {}", file.display()));
    Ok(())
}

/// The middle one.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
