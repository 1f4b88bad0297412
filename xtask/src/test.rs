//! `cargo xtask test`: everything that has to hold, cheap things first; what continuous integration runs.
//!
//! A failed step does not hide the ones behind it. The last line counts, and it counts only what really ran.

mod chart;
mod core;
mod nextest;
mod report;
mod suites;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lexopt::{Arg, ValueExt as _};

pub(crate) use self::core::keep_logs;
use self::report::{Counts, Outcome, Report};
use crate::{
    paths,
    shell::{human, say},
};

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// Leave the cluster out.
    fast: bool,
    /// Run every peer suite, however long it takes.
    all: bool,
    /// Run this peer suite alone.
    suite: Option<String>,
    /// Leave the cluster up.
    keep: bool,
    /// Use the cluster of this file.
    kubeconfig: Option<PathBuf>,
    /// End of the time for peer suites.
    deadline: Instant,
}

/// `cargo xtask test …`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<ExitCode> {
    let start = Instant::now();
    let deadline = start + Duration::from_secs(80 * 60);
    let mut options = Options { fast: false, all: false, suite: None, keep: false, kubeconfig: None, deadline };
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("fast") => options.fast = true,
            Arg::Long("all") => options.all = true,
            Arg::Long("keep") => options.keep = true,
            Arg::Long("kubeconfig") => options.kubeconfig = Some(PathBuf::from(args.value()?)),
            Arg::Long("suite") => options.suite = Some(args.value()?.string()?),
            Arg::Long("deadline") => options.deadline = start + minutes(&args.value()?.string()?)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let mut report = Report::new();
    match &options.suite {
        Some(name) => suites::run_one(name, &mut report)?,
        None => {
            core::run(&options, &mut report)?;
            suites::run(&options, &mut report)?;
        }
    }
    report.print(start.elapsed());
    Ok(if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs one step and writes down how it went and how long it took.
fn step(report: &mut Report, name: &str, work: impl FnOnce() -> Result<Counts>) -> bool {
    let expected = last_time(name).map(|t| format!(" (last time {})", human(t))).unwrap_or_default();
    say(format!("\n== {name}{expected}"));
    let start = Instant::now();
    let outcome = match work() {
        Ok(counts) if counts.failed == 0 => Outcome::Passed(counts),
        Ok(counts) => Outcome::Failed(counts, format!("{} failed", counts.failed)),
        Err(error) => {
            say(format!("error: {error:#}"));
            let line = error.to_string().lines().next().unwrap_or_default().to_owned();
            Outcome::Failed(Counts::one_failed(), line)
        }
    };
    let passed = matches!(outcome, Outcome::Passed(_));
    if passed {
        // Only a hint for the next run: not worth failing for.
        let _ = remember(name, start.elapsed());
    }
    report.add(name, outcome, start.elapsed());
    passed
}

fn last_time(name: &str) -> Option<Duration> {
    let text = std::fs::read_to_string(paths::in_cache("times").ok()?.join(slug(name))).ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn remember(name: &str, time: Duration) -> Result<()> {
    paths::write(&paths::in_cache("times")?.join(slug(name)), time.as_secs().to_string())
}

fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// `80m`, `2h` or plain minutes.
fn minutes(text: &str) -> Result<Duration> {
    let (number, seconds) = match text.strip_suffix('h') {
        Some(hours) => (hours, 3600),
        None => (text.strip_suffix('m').unwrap_or(text), 60),
    };
    let number: u64 = number.parse().with_context(|| format!("--deadline `{text}` is no time: write 80m or 2h"))?;
    if number == 0 {
        bail!("--deadline 0 leaves no time for anything");
    }
    Ok(Duration::from_secs(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_read_as_people_write_them() {
        assert_eq!(minutes("80m").unwrap(), minutes("80").unwrap());
        assert_eq!(minutes("2h").unwrap(), Duration::from_secs(7200));
        assert!(minutes("soon").is_err() && minutes("0").is_err());
    }
}
