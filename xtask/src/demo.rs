//! `cargo xtask demo` and `cargo xtask bench`: a cluster, the images, and a program of the package homelab-tests.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use lexopt::{Arg, ValueExt as _};

use crate::{
    cargo::{HOMELAB, build_here},
    cluster::{self, Cluster},
    image, programs,
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

/// `cargo xtask bench [inject] [--keep] [--kubeconfig F]`, `cargo xtask bench secrets [--quick] [--profile P]`.
pub(crate) fn bench(args: lexopt::Parser) -> Result<ExitCode> {
    if args.clone().raw_args()?.next().is_some_and(|word| word == "secrets") {
        secrets(args)
    } else {
        start("bench", "release", args)
    }
}

/// The secret server beside OpenBao: no cluster is needed for that.
fn secrets(mut args: lexopt::Parser) -> Result<ExitCode> {
    let (mut profile, mut words) = ("release".to_owned(), Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("profile") => profile = args.value()?.string()?,
            Arg::Long("quick") => words.push("--quick"),
            Arg::Value(word) if word == "secrets" => words.insert(0, "secrets"),
            other => return Err(other.unexpected().into()),
        }
    }
    let programs = programs::ensure(&["openbao"])?;
    let homelab = HOMELAB.build_as(&profile)?;
    let file = build_here("homelab-tests", "bench", &profile)?;
    let env = [("HOMELAB_BIN", homelab.as_path()), ("HOMELAB_TEST_BAO", programs.path("bao")?)];
    let mut cmd = Cmd::new(file).args(words).into_inner();
    let status = cmd.envs(env).status().context("the program `bench` can not be started")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    if words.iter().any(|word| word == "inject") {
        cmd.env("HOMELAB_TEST_BAO", programs::ensure(&["openbao"])?.path("bao")?);
    }
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
