//! `cargo xtask demo` and `cargo xtask bench`: a cluster, the images, and a program of the package homelab-tests.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use lexopt::Arg;

use crate::{
    cargo::build_here,
    cluster::{self, Cluster},
    image,
    shell::{Cmd, say},
};

/// What was asked for.
struct Options {
    keep: bool,
    kubeconfig: Option<PathBuf>,
    /// For the program itself.
    words: Vec<String>,
}

/// `cargo xtask demo [--keep] [--kubeconfig F]`.
pub(crate) fn demo(args: lexopt::Parser) -> Result<ExitCode> {
    start("demo", "dev", args)
}

/// `cargo xtask bench [WHAT …] [--keep] [--kubeconfig F]`.
pub(crate) fn bench(args: lexopt::Parser) -> Result<ExitCode> {
    start("bench", "release", args)
}

/// Runs the program of this name on the cluster of this name.
fn start(name: &str, profile: &str, args: lexopt::Parser) -> Result<ExitCode> {
    let options = options(args)?;
    let cluster = cluster::fresh(name, options.kubeconfig.clone())?;
    let built = image::all(profile)?;
    image::load_into(&cluster, &built.images)?;
    let passed = run(name, profile, &options.words, &cluster, &built)?;
    leave(name, &cluster, &options, passed)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(mut args: lexopt::Parser) -> Result<Options> {
    let mut options = Options { keep: false, kubeconfig: None, words: Vec::new() };
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("kubeconfig") => options.kubeconfig = Some(PathBuf::from(args.value()?)),
            Arg::Long(flag) => {
                options.keep |= flag == "keep";
                options.words.push(format!("--{flag}"));
            }
            Arg::Value(word) => options.words.push(word.to_string_lossy().into_owned()),
            Arg::Short(flag) => bail!("-{flag} is not known"),
        }
    }
    Ok(options)
}

fn run(program: &str, profile: &str, words: &[String], cluster: &Cluster, built: &image::Built) -> Result<bool> {
    let file = build_here("homelab-tests", program, profile)?;
    let mut cmd = Cmd::new(file).args(words).envs(&cluster.env()?).envs(&built.env()).into_inner();
    let status = cmd.status().with_context(|| format!("the program `{program}` can not be started"))?;
    Ok(status.success())
}

fn leave(name: &str, cluster: &Cluster, options: &Options, passed: bool) -> Result<()> {
    if !passed {
        crate::test::keep_logs(cluster);
    }
    if options.keep {
        say(format!(
            "the cluster stays: eval \"$(cargo xtask cluster env --name {name})\"; later: cargo xtask cluster down --name {name}"
        ));
        return Ok(());
    }
    cluster::down(name, options.kubeconfig.clone())
}
