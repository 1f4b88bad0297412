//! What people type: one module a command. Data goes to stdout, everything else to stderr.

mod app;
mod bootstrap;
mod cluster;
mod crds;
mod doctor;
mod edit;
mod editor;
mod forward;
mod kv;
pub mod output;
mod patience;
mod seal;
mod secrets;
mod stamp;
mod status;
mod sync;
mod uninstall;
mod watch;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

pub(crate) use self::cluster::{config as cluster_config, now};
use self::watch::watch;
use crate::args::{Args, Command};
use crate::{daemon, server};

/// Runs a command; 0 when it did what was asked, else 1.
pub(crate) fn run(args: Args) -> ExitCode {
    let Args { global, command } = args;
    let result = match command {
        Command::Stamp => stamp::run(),
        Command::PrintCrds(args) => crds::run(&args),
        Command::Completions { shell } => completions(shell),
        Command::Daemon(args) => with_runtime(Threads::Many, daemon::run(&global, *args)),
        Command::Server(args) => with_runtime(Threads::Many, server::run(*args)),
        Command::Bootstrap(args) => with_runtime(Threads::One, bootstrap::run(&global, *args)),
        Command::Kv(args) => with_runtime(Threads::One, kv::run(&global, args)),
        Command::Secrets(command) => with_runtime(Threads::One, secrets::run(&global, command)),
        Command::Seal(args) => with_runtime(Threads::One, seal::run(&global, *args)),
        Command::Edit(args) => with_runtime(Threads::One, edit::run(&global, args)),
        Command::App(args) => with_runtime(Threads::One, app::run(&global, args)),
        Command::Sync(args) => with_runtime(Threads::One, sync::run(&global, args)),
        Command::Doctor { output, server } => with_runtime(Threads::One, doctor::run(&global, &server, output)),
        Command::Uninstall => with_runtime(Threads::One, uninstall::run(&global)),
        Command::Status(args) => with_runtime(Threads::One, status::run(&global, args)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

enum Threads {
    One,
    Many,
}

fn with_runtime(threads: Threads, work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Many => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().context("start the asynchronous runtime")?;
    let result = runtime.block_on(work);
    // A blocking task (a Git fetch) must not hold up the end of the program.
    runtime.shutdown_background();
    result
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut buffer = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "homelab", &mut buffer);
    output::bytes(&buffer)
}
