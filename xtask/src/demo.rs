//! `cargo xtask demo` and `cargo xtask bench`: a cluster, the images, and a program of the package homelab-tests.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lexopt::Arg;

use crate::{
    cargo::{self, cargo},
    cluster::{self, Cluster},
    image,
    shell::say,
};

/// `cargo xtask demo [--keep] …`.
pub(crate) fn demo(args: lexopt::Parser) -> Result<ExitCode> {
    let (keep, extra) = words(args)?;
    let cluster = cluster::up("demo", None)?;
    let built = image::all(cargo::HOMELAB.profile)?;
    image::load_into(&cluster, &built.images)?;
    let passed = run("demo", &[], &extra, &cluster, &built)?;
    leave("demo", &cluster, keep, passed)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `cargo xtask bench [WHAT …] [--keep]`.
pub(crate) fn bench(args: lexopt::Parser) -> Result<ExitCode> {
    let (keep, extra) = words(args)?;
    let cluster = cluster::up("bench", None)?;
    let built = image::all("release")?;
    image::load_into(&cluster, &built.images)?;
    let passed = run("bench", &["--release"], &extra, &cluster, &built)?;
    leave("bench", &cluster, keep, passed)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether to keep the cluster, and everything else as it is.
fn words(mut args: lexopt::Parser) -> Result<(bool, Vec<String>)> {
    let mut words = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long(flag) => words.push(format!("--{flag}")),
            Arg::Value(word) => words.push(word.to_string_lossy().into_owned()),
            Arg::Short(flag) => bail!("-{flag} is not known"),
        }
    }
    Ok((words.iter().any(|w| w == "--keep"), words))
}

fn run(program: &str, flags: &[&str], extra: &[String], cluster: &Cluster, built: &image::Built) -> Result<bool> {
    let cmd = cargo().args(["run", "--quiet", "--package", "homelab-tests", "--bin", program]).args(flags);
    let mut cmd = cmd.arg("--").args(extra).envs(&cluster.env()?).envs(&built.env()).into_inner();
    let status = cmd.status().with_context(|| format!("the program `{program}` can not be started"))?;
    Ok(status.success())
}

fn leave(name: &str, cluster: &Cluster, keep: bool, passed: bool) -> Result<()> {
    if !passed {
        crate::test::keep_logs(cluster);
    }
    if keep {
        say(format!(
            "the cluster stays: eval \"$(cargo xtask cluster env --name {name})\"; later: cargo xtask cluster down --name {name}"
        ));
        return Ok(());
    }
    cluster::down(name, None)
}
