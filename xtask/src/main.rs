//! Automation of the project: clusters, images, generated files, checks, tests, demo. Run as `cargo xtask`.
//!
//! It is the first thing that a newcomer compiles, so it stays thin: no Kubernetes client, no async runtime, no library of
//! ours. What it needs done on a cluster it does with `kubectl`; everything from outside is pinned in `pins.toml`.
#![expect(
    clippy::disallowed_methods,
    reason = "automation reads files, the clock and the environment and starts programs"
)]

mod cargo;
mod cluster;
mod codegen;
mod debian;
mod demo;
mod dev;
mod image;
mod lock;
mod paths;
mod pins;
mod programs;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::Arg;

const HELP: &str = "\
cargo xtask COMMAND

  cluster up|down [--all]|status|load IMAGE|kubeconfig|env [--name N] [--kubeconfig F]
                                                               a real Kubernetes with one real node
  image [--load] [--name CLUSTER]                              the project's OCI images, under target/images or in a cluster
  dev [--name CLUSTER] [-- DAEMON ARGUMENTS]                   the daemon on this machine, started anew at each save
  test [--fast] [--all] [--suite NAME] [--deadline 80m] [--keep]   everything that has to hold; --fast without a cluster
  demo [--keep]                                                the main job, end to end, on a cluster of its own
  bench [--keep]                                               the numbers, with a release build
  bench inject [--keep]                                        how secrets come into pods, beside OpenBao's agent
  bench secrets [--quick] [--profile P]                        the secret server's numbers beside OpenBao's
  tidy                                                         the design's invariants
  codegen [--check]                                            CRDs and JSON schemas

test, demo, bench, dev and image --load take --kubeconfig FILE (or KUBECONFIG) for a cluster that you have.
Programs from outside are built or downloaded once and kept in $HOMELAB_CACHE (or $XDG_CACHE_HOME/homelab, ~/.cache/homelab).";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            shell::say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut args = lexopt::Parser::from_env();
    match args.next()? {
        None | Some(Arg::Short('h') | Arg::Long("help")) => {
            shell::print(HELP);
            Ok(ExitCode::SUCCESS)
        }
        Some(Arg::Value(command)) => command_of(&command.to_string_lossy(), args),
        Some(other) => Err(other.unexpected().into()),
    }
}

fn command_of(name: &str, args: lexopt::Parser) -> Result<ExitCode> {
    match name {
        "cluster" => cluster::main(args)?,
        "image" => image::main(args)?,
        "dev" => dev::main(args)?,
        "codegen" => codegen::main(args)?,
        "tidy" => tidy::run()?,
        "test" => return test::main(args),
        "demo" => return demo::demo(args),
        "bench" => return demo::bench(args),
        "help" => shell::print(HELP),
        other => bail!("there is no command `{other}`; `cargo xtask help` lists them"),
    }
    Ok(ExitCode::SUCCESS)
}
