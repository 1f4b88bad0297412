//! The table at the end and the line that continuous integration reads.

use std::time::Duration;

use crate::shell::{human, print};

/// How many tests went how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Held.
    pub(crate) passed: usize,
    /// Did not.
    pub(crate) failed: usize,
    /// Were not run.
    pub(crate) skipped: usize,
}

impl Counts {
    /// A step that is one check and held.
    pub(crate) fn one_passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// A step that could not even count.
    pub(crate) fn one_failed() -> Self {
        Self { failed: 1, ..Self::default() }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

/// How a step went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All of it held.
    Passed(Counts),
    /// Something did not: which counts, and in a word what.
    Failed(Counts, String),
    /// It did not run: how many tests that leaves out, and why.
    NotRun(usize, String),
}

impl Outcome {
    fn counts(&self) -> Counts {
        match self {
            Self::Passed(counts) | Self::Failed(counts, _) => *counts,
            Self::NotRun(left_out, _) => Counts { skipped: *left_out, ..Counts::default() },
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Passed(c) if c.passed + c.skipped <= 1 => "ok".to_owned(),
            Self::Passed(c) if c.skipped == 0 => format!("ok, {} passed", c.passed),
            Self::Passed(c) => format!("ok, {} passed, {} skipped", c.passed, c.skipped),
            Self::Failed(_, why) => format!("FAILED: {why}"),
            Self::NotRun(_, why) => format!("NOT RUN: {why}"),
        }
    }
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    steps: Vec<(String, Outcome, Duration)>,
}

impl Report {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a step.
    pub(crate) fn add(&mut self, name: &str, outcome: Outcome, time: Duration) {
        self.steps.push((name.to_owned(), outcome, time));
    }

    /// Adds a step that does not run, and says so at once.
    pub(crate) fn not_run(&mut self, name: &str, left_out: usize, why: &str) {
        crate::shell::say(format!("\nNOT RUN {name}: {why}"));
        self.add(name, Outcome::NotRun(left_out, why.to_owned()), Duration::ZERO);
    }

    /// Whether anything failed.
    pub(crate) fn failed(&self) -> bool {
        self.total().failed > 0
    }

    /// Prints the table and, last and alone on its line, the counts.
    pub(crate) fn print(&self, elapsed: Duration) {
        print("");
        for (name, outcome, time) in &self.steps {
            print(format!("{:>12}  {name:<34} {}", human(*time), outcome.text()));
        }
        print(format!("{:>12}  in all", human(elapsed)));
        let total = self.total();
        print(format!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped));
    }

    fn total(&self) -> Counts {
        self.steps.iter().fold(Counts::default(), |sum, (_, outcome, _)| sum.and(outcome.counts()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_run_is_counted_as_skipped_and_never_as_passed() {
        let mut report = Report::new();
        report.add("fmt", Outcome::Passed(Counts::one_passed()), Duration::ZERO);
        report.not_run("end-to-end", 7, "--fast");
        assert_eq!(report.total(), Counts { passed: 1, failed: 0, skipped: 7 });
        assert!(!report.failed());
        report.add("unit", Outcome::Failed(Counts::one_failed(), "does not compile".to_owned()), Duration::ZERO);
        assert!(report.failed());
    }
}
