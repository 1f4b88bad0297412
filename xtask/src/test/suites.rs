//! Peer suites: tests against other projects' programs (Istio, Argo CD, Flux, OLM …), which take long to build.
//!
//! They share what is left of the time: those whose files changed since they last passed come first, then those that
//! passed longest ago. What does not fit is said, with the time that it would need.

use std::{
    ffi::OsString,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Counts, Options, Report, nextest, step};
use crate::{cargo, cluster, image, paths, programs, shell::Cmd};

/// A suite: how it is called, what it depends on and how it is run.
#[derive(Debug)]
pub(crate) struct Suite {
    /// Name for `--suite`.
    name: &'static str,
    /// Files and folders of the repository whose change makes it urgent.
    paths: &'static [&'static str],
    /// How long it takes where it never ran before.
    minutes: u64,
    /// Runs it.
    run: fn() -> Result<Counts>,
}

/// All suites.
const SUITES: &[Suite] = &[
    Suite { name: "clients", paths: &["homelab-secrets", "xtask/pins.toml"], minutes: 4, run: clients },
    Suite {
        name: "external-secrets",
        paths: &["homelab-secrets", "tests/tests/external_secrets", "xtask/pins.toml"],
        minutes: 9,
        run: external_secrets,
    },
    Suite {
        name: "power-cut",
        paths: &["homelab-secrets", "homelab-bin", "charts", "tests/tests/power_cut"],
        minutes: 6,
        run: power_cut,
    },
    Suite {
        name: "disaster",
        paths: &["homelab-secrets", "homelab-bin", "charts", "examples", "tests/tests/disaster"],
        minutes: 6,
        run: disaster,
    },
];

/// The cluster of suites that need one.
const CLUSTER: &str = "peers";

/// `bao` and `hvac` against the secret server, OpenBao's server beside it, and backups in a bucket.
fn clients() -> Result<Counts> {
    let programs = programs::ensure(programs::CLIENTS)?;
    let folders = ["hvac", "requests", "urllib3", "certifi", "idna"];
    let folders = folders.iter().map(|name| programs.path(name)?.parent().context("a program is in a folder"));
    let python = std::env::join_paths(folders.collect::<Result<Vec<_>>>()?).context("the cache's path has a colon")?;
    let bao = programs.path("bao")?.as_os_str().to_owned();
    let weed = programs.path("weed")?.as_os_str().to_owned();
    let env = [("HOMELAB_TEST_BAO", bao), ("HOMELAB_TEST_PYTHONPATH", python), ("HOMELAB_TEST_WEED", weed)];
    let env = env.map(|(name, value)| (name.to_owned(), value));
    nextest::target("clients", &env)
}

/// External Secrets' controller against the daemon's secret server, on a cluster.
fn external_secrets() -> Result<Counts> {
    let programs = programs::ensure(programs::EXTERNAL_SECRETS)?;
    let program = programs.path("external-secrets")?.as_os_str().to_owned();
    let homelab = cargo::HOMELAB.build()?;
    let cluster = cluster::fresh(CLUSTER, None)?;
    let mut env = cluster.env()?;
    env.push(("HOMELAB_TEST_EXTERNAL_SECRETS".to_owned(), program));
    env.push(("HOMELAB_BIN".to_owned(), homelab.into_os_string()));
    on_cluster("external_secrets", &cluster, &env)
}

/// The installed daemon, and pods that it brings secrets into, through power cuts of a cluster of their own.
fn power_cut() -> Result<Counts> {
    let built = image::all(cargo::HOMELAB.profile)?;
    let cluster = cluster::fresh(CLUSTER, None)?;
    image::load_into(&cluster, &built.images)?;
    let mut env = [cluster.env()?, built.env()].concat();
    let xtask = std::env::current_exe().context("find this program, which cuts the power")?;
    env.push(("HOMELAB_TEST_XTASK".to_owned(), xtask.into_os_string()));
    env.push(("HOMELAB_TEST_CLUSTER".to_owned(), CLUSTER.into()));
    on_cluster("power_cut", &cluster, &env)
}

/// A home, and what comes back of it in another cluster: the first one is gone by then, with its disk.
fn disaster() -> Result<Counts> {
    let built = image::all(cargo::HOMELAB.profile)?;
    let elsewhere = paths::in_cache("elsewhere")?;
    paths::remove_dir(&elsewhere)?;
    std::fs::create_dir_all(&elsewhere).with_context(|| format!("make {}", elsewhere.display()))?;
    let mut all = Counts::default();
    for part in ["before", "after"] {
        let cluster = cluster::fresh(CLUSTER, None)?;
        image::load_into(&cluster, &built.images)?;
        let mut env = [cluster.env()?, built.env()].concat();
        env.push(("HOMELAB_TEST_ELSEWHERE".to_owned(), elsewhere.clone().into_os_string()));
        let counts = nextest::part("disaster", part, &env);
        all = all.and(ended(&cluster, counts)?);
        paths::remove_dir(&elsewhere.join(format!("disk-{part}")))?;
        if all.failed > 0 {
            break;
        }
    }
    paths::remove_dir(&elsewhere)?;
    Ok(all)
}

/// Runs a test target on a cluster that goes afterwards, and keeps its logs if one fails.
fn on_cluster(target: &str, cluster: &cluster::Cluster, env: &[(String, OsString)]) -> Result<Counts> {
    ended(cluster, nextest::target(target, env))
}

fn ended(cluster: &cluster::Cluster, counts: Result<Counts>) -> Result<Counts> {
    if !matches!(&counts, Ok(counts) if counts.failed == 0) {
        super::core::keep_logs(cluster);
    }
    cluster::down(CLUSTER, None)?;
    counts
}

/// When a suite passed last.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Record {
    commit: String,
    seconds: u64,
    when: u64,
}

/// What the order of suites depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    changed: bool,
    passed_at: u64,
    needs: Duration,
}

/// Runs as many suites as the time allows.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut suites = Vec::new();
    for suite in SUITES {
        suites.push((suite, standing(suite)?));
    }
    suites.sort_by_key(|(_, s)| urgency(s));
    for (suite, standing) in suites {
        if options.fast {
            report.not_run(suite.name, 0, "--fast");
        } else if options.all || fits(&standing, options.deadline.saturating_duration_since(Instant::now())) {
            run_suite(suite, report);
        } else {
            report.not_run(suite.name, 0, &format!("needs ~{} min", standing.needs.as_secs().div_ceil(60)));
        }
    }
    Ok(())
}

/// Runs the suite of this name.
pub(super) fn run_one(name: &str, report: &mut Report) -> Result<()> {
    let known = SUITES.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
    let suite = SUITES.iter().find(|s| s.name == name);
    let suite = suite.with_context(|| {
        format!("there is no suite `{name}`; there are: {}", if known.is_empty() { "none yet" } else { &known })
    })?;
    run_suite(suite, report);
    Ok(())
}

fn run_suite(suite: &Suite, report: &mut Report) {
    let start = Instant::now();
    if step(report, suite.name, suite.run) {
        let written = head().and_then(|commit| {
            let when = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let record = Record { commit, seconds: start.elapsed().as_secs(), when };
            paths::write(&record_file(suite)?, serde_json::to_vec(&record)?)
        });
        if let Err(error) = written {
            crate::shell::say(format!("that {} passed could not be written down: {error:#}", suite.name));
        }
    }
}

/// Sorts first what changed, then what passed longest ago, then what is quick.
fn urgency(standing: &Standing) -> (bool, u64, Duration) {
    (!standing.changed, standing.passed_at, standing.needs)
}

/// Half as long again as last time: machines differ.
fn fits(standing: &Standing, left: Duration) -> bool {
    standing.needs + standing.needs / 2 <= left
}

fn standing(suite: &Suite) -> Result<Standing> {
    let first = Standing { changed: true, passed_at: 0, needs: Duration::from_secs(suite.minutes * 60) };
    let Ok(bytes) = std::fs::read(record_file(suite)?) else { return Ok(first) };
    let Ok(record) = serde_json::from_slice::<Record>(&bytes) else { return Ok(first) };
    let unchanged = git().args(["diff", "--quiet", &record.commit, "--"]).args(suite.paths).ok();
    Ok(Standing { changed: !unchanged, passed_at: record.when, needs: Duration::from_secs(record.seconds) })
}

fn record_file(suite: &Suite) -> Result<PathBuf> {
    Ok(paths::in_cache("suites")?.join(format!("{}.json", suite.name)))
}

fn head() -> Result<String> {
    Ok(git().args(["rev-parse", "HEAD"]).read()?.trim().to_owned())
}

fn git() -> Cmd {
    Cmd::new("git").dir(&paths::workspace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(changed: bool, passed_at: u64, minutes: u64) -> Standing {
        Standing { changed, passed_at, needs: Duration::from_secs(minutes * 60) }
    }

    #[test]
    fn changed_suites_come_first_then_the_longest_unproved() {
        let mut all = [standing(false, 10, 1), standing(true, 90, 9), standing(false, 5, 20), standing(true, 0, 12)];
        all.sort_by_key(urgency);
        assert_eq!(all.map(|s| s.passed_at), [0, 90, 5, 10]);
    }

    #[test]
    fn a_suite_that_may_not_end_in_time_is_not_begun() {
        assert!(fits(&standing(true, 0, 10), Duration::from_secs(15 * 60)));
        assert!(!fits(&standing(true, 0, 10), Duration::from_secs(14 * 60)));
    }
}
