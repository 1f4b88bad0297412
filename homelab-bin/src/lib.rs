//! The program homelab: daemon and command line over the homelab libraries.
//!
//! [`daemon`] composes the libraries into one process; [`cli`] is everything that people type. The four libraries do not
//! know each other: what one needs of another it asks for by a trait of its own, and the newtypes in `adapters` answer.

pub mod adapters;
pub mod args;
pub mod cli;
pub mod daemon;
mod server;

use std::process::ExitCode;

/// Makes ring the process's TLS provider. Has to come first: without it the first TLS client panics.
pub fn install_crypto() {
    // An error only says that there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Keeps keys in this process's memory out of core files and away from debuggers of the same user.
pub(crate) fn seclude() -> anyhow::Result<()> {
    use anyhow::Context as _;
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("keep the process from being dumped")?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context("forbid core files")
}

/// Takes as many open files as are allowed: each connection is one, and the usual first limit of 1,024 is for programs
/// that use `select`.
pub(crate) fn allow_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Does what the arguments say.
pub fn run(args: args::Args) -> ExitCode {
    cli::run(args)
}
