//! Automation of the project: clusters, images, generated files, checks, tests, demo. Run as `cargo xtask`.
//!
//! It is the first thing that a newcomer compiles, so it stays thin: no Kubernetes client, no async runtime, no library of
//! ours. What it needs done on a cluster it does with `kubectl`; everything from outside is pinned in `pins.toml`.
#![expect(
    clippy::disallowed_methods,
    reason = "automation reads files, the clock and the environment and starts programs"
)]
#![expect(clippy::print_stderr, reason = "progress goes to stderr")]
#![expect(clippy::print_stdout, reason = "data goes to stdout")]

mod cargo;
mod cluster;
mod debian;
mod image;
mod lock;
mod paths;
mod pins;
mod programs;
mod shell;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  cluster up|down|status|load IMAGE|kubeconfig|env [--name N] [--kubeconfig F]   a real Kubernetes with one real node
  image [--load] [--name CLUSTER]                                               the project's OCI images

Programs from outside are built or downloaded once and kept in $HOMELAB_CACHE (or $XDG_CACHE_HOME/homelab, ~/.cache/homelab).
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = lexopt::Parser::from_env();
    let Some(first) = args.next()? else {
        print!("{HELP}");
        return Ok(());
    };
    match first {
        lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => print!("{HELP}"),
        lexopt::Arg::Value(command) => match command.to_string_lossy().as_ref() {
            "cluster" => cluster::main(args)?,
            "image" => image::main(args)?,
            "help" => print!("{HELP}"),
            other => bail!("there is no command `{other}`; `cargo xtask help` lists them"),
        },
        other => return Err(other.unexpected().into()),
    }
    Ok(())
}
