//! The main job, end to end, on a real cluster: push → blue-green → secret in the pods → switch → rollback, under load.
//!
//! Needs `KUBECONFIG` and the images of `cargo xtask image` in the cluster; `cargo xtask demo` sees to both.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::forge::Forge;
use crate::load::Load;
use crate::repo::Repo;

mod app;
mod install;
mod kill;
mod output;
mod steps;

/// Namespace of the daemon.
const SYSTEM: &str = "homelab";
/// Namespace and name of the App of `examples/home`.
const WEB: &str = "web";
/// The App's file in the repository.
const APP_FILE: &str = "apps/web/app.yaml";
/// Longest wait for a rollout. A good one takes a quarter of it on two cores.
const ROLLOUT: Duration = Duration::from_secs(180);

/// What the command line chose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Leave everything as it is at the end.
    pub keep: bool,
    /// Watch only the demo's namespaces: other daemons work on this cluster.
    pub shared: bool,
}

/// One run.
struct Demo {
    cluster: Cluster,
    /// Serves the repository as long as it is not dropped.
    _forge: Forge,
    repo: Repo,
    load: Option<Load>,
    url: String,
}

/// A row of the table at the end.
struct Row {
    step: &'static str,
    what: String,
    took: Duration,
}

/// What became of the Deployment that served and was deleted.
#[derive(Clone, Copy)]
struct Repaired {
    /// Until it was healthy again.
    after: Duration,
    /// Requests that failed meanwhile.
    failed: u64,
}

/// Runs all steps; an error if one failed or a request did.
pub async fn run(options: Options) -> Result<()> {
    let cluster = Cluster::from_env().await?;
    let forge = Forge::start(cluster.host).await?;
    let repo = forge.create("home").await?;
    let mut demo = Demo { cluster, _forge: forge, repo, load: None, url: String::new() };
    let mut rows = Vec::new();
    let result = demo.steps(options, &mut rows).await;
    let report = match demo.load.take() {
        Some(load) => Some(load.stop().await),
        None => None,
    };
    let repaired = match &result {
        Ok(()) => Some(demo.lose_active().await),
        Err(_) => None,
    };
    output::table(&rows, report.as_ref(), repaired.as_ref().and_then(|r| r.as_ref().ok()).copied());
    if result.is_err() {
        output::look(&demo.cluster).await;
    }
    if options.keep {
        output::look_around(&demo);
    } else {
        install::remove(&demo.cluster).await;
    }
    result?;
    repaired.transpose()?;
    match report {
        Some(report) if report.failed > 0 => bail!("{} of {} requests failed", report.failed, report.requests),
        _ => Ok(()),
    }
}

impl Demo {
    async fn steps(&mut self, options: Options, rows: &mut Vec<Row>) -> Result<()> {
        macro_rules! step {
            ($name:literal, $step:expr) => {{
                output::begin($name);
                let start = Instant::now();
                let what: String = $step.await.with_context(|| format!("step \"{}\"", $name))?;
                output::end(&what, start.elapsed());
                rows.push(Row { step: $name, what, took: start.elapsed() });
            }};
        }
        step!("1 install", install::install(&self.cluster, options.shared));
        step!("1 first version", self.first_version());
        step!("2 changed secret", self.changed_secret());
        step!("3 version 2", self.second_version());
        step!("4 failing gate", self.failing_gate());
        step!("5 rollback", self.rollback());
        step!("6 repair", self.repair());
        step!("6 git revert", self.git_revert());
        step!("6 kill -9", self.kill_in_switch());
        Ok(())
    }

    fn load(&self) -> Result<&Load> {
        self.load.as_ref().context("the load has not been started")
    }
}
