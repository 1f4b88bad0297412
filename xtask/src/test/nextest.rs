//! Running the workspace's tests and counting them.
//!
//! Every call names the whole workspace with all features: another selection would be another set of features, and
//! everything would be compiled again. Tests that need a cluster are ignored, so that `cargo test` passes without one.

use std::{ffi::OsString, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::report::Counts;
use crate::{
    cargo::{cargo, once_in_ci},
    paths,
    shell::Cmd,
};

/// Compiles all tests and says how many need a cluster: those are ignored, and no others (see `tidy`).
pub(crate) fn list(nextest: &Path) -> Result<usize> {
    let said = command(nextest, "list").args(["--run-ignored", "only", "--message-format", "json"]).read_shown()?;
    on_cluster(&said)
}

/// Runs all tests that need no cluster.
pub(crate) fn unit(nextest: &Path) -> Result<Counts> {
    let cmd = command(nextest, "run").args(["--no-fail-fast"]);
    // Those that need a cluster count where they are run, or not run.
    Ok(Counts { skipped: 0, ..run(cmd)? })
}

/// Runs all tests that need a cluster: the end-to-end tests, and those of the libraries that talk to an API server.
pub(crate) fn cluster(nextest: &Path, env: &[(String, OsString)]) -> Result<Counts> {
    let cmd = command(nextest, "run").args(["--profile", "cluster", "--run-ignored", "only", "--no-fail-fast"]);
    Ok(Counts { skipped: 0, ..run(cmd.envs(env))? })
}

/// Runs the examples in the documentation, which nextest can not.
pub(crate) fn doc() -> Result<Counts> {
    run(cargo().args(["test", "--quiet", "--workspace", "--all-features", "--doc", "--no-fail-fast"]))
}

/// Runs the tests of this name that are not run with the others, because they need programs from outside.
pub(crate) fn target(name: &str, env: &[(String, OsString)]) -> Result<Counts> {
    part(name, "", env)
}

/// The same for those whose names begin so.
pub(crate) fn part(name: &str, begin: &str, env: &[(String, OsString)]) -> Result<Counts> {
    let cmd = cargo().args(["test", "--workspace", "--all-features", "--no-fail-fast", "--test", name, "--", begin]);
    run(cmd.envs(env))
}

fn command(nextest: &Path, verb: &str) -> Cmd {
    let config = paths::package().join("nextest.toml");
    once_in_ci(Cmd::new(nextest))
        .dir(&paths::workspace())
        .args(["nextest", verb, "--workspace", "--all-features", "--config-file"])
        .arg(config)
}

/// Runs it, shows what it says and adds up the lines that count.
fn run(cmd: Cmd) -> Result<Counts> {
    let (success, said) = cmd.tee()?;
    let counts = counts(&said);
    if !success && counts.failed == 0 {
        bail!("the tests could not be run; the messages are above");
    }
    Ok(counts)
}

/// How many ignored tests nextest's list has.
fn on_cluster(json: &str) -> Result<usize> {
    let list: Value = serde_json::from_str(json.trim()).context("`cargo nextest list` did not print JSON")?;
    let suites = list["rust-suites"].as_object().context("`cargo nextest list` named no test binaries")?;
    let cases = suites.values().filter_map(|suite| suite["testcases"].as_object()).flatten();
    Ok(cases.filter(|(_, case)| case["ignored"] == true).count())
}

/// Adds up nextest's summary (`Summary [1.2s] 9 tests run: 8 passed (1 slow), 1 failed, 2 skipped`) and libtest's
/// (`test result: ok. 3 passed; 0 failed; 1 ignored; …`).
fn counts(said: &str) -> Counts {
    let tails = said.lines().filter_map(|line| {
        let line = plain(line);
        // Nextest shows what a failed test printed indented, libtest's own line among it: that test is counted already.
        let libtest = line.strip_prefix("test result: ").map(str::to_owned);
        let nextest = line
            .trim_start()
            .strip_prefix("Summary [")
            .and_then(|l| l.split_once(" run: "))
            .map(|(_, rest)| rest.to_owned());
        libtest.or(nextest)
    });
    tails.fold(Counts::default(), |sum, tail| sum.and(count(&tail)))
}

fn count(tail: &str) -> Counts {
    let mut counts = Counts::default();
    for part in tail.split([',', ';', '.', '(', ')']) {
        let Some((number, word)) = part.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        match word {
            "passed" => counts.passed += number,
            "failed" | "timed out" | "exec failed" => counts.failed += number,
            "skipped" | "ignored" => counts.skipped += number,
            _ => {}
        }
    }
    counts
}

/// A line without the terminal's colours.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_both_runners_are_added_up() {
        let said = "\
     Summary [   1.2s] 9 tests run: 6 passed (1 slow), 1 failed, 2 timed out, 4 skipped
    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 4.6s
running 0 tests
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(counts(said), Counts { passed: 9, failed: 3, skipped: 5 });
    }

    #[test]
    fn colours_do_not_hide_the_summary() {
        let said = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(counts(said), Counts { passed: 2, failed: 0, skipped: 0 });
    }

    #[test]
    fn ignored_tests_of_every_binary_need_a_cluster() {
        let json = r#"{"rust-suites": {
            "homelab-tests::it": {"testcases": {"a": {"ignored": true}, "b": {"ignored": true}}},
            "homelab-core": {"testcases": {"c": {"ignored": false}, "d": {"ignored": true}}}}}"#;
        assert_eq!(on_cluster(json).unwrap(), 3);
    }
}
