//! `cargo xtask dev`: a cluster if there is none, the daemon on this machine, started anew when a file is saved.

use std::{
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use lexopt::{Arg, ValueExt as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cargo, cluster, paths,
    shell::{Cmd, say},
};

/// `cargo xtask dev …`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let (mut name, mut kubeconfig, mut extra) = (cluster::DEFAULT.to_owned(), None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("name") => name = args.value()?.string()?,
            Arg::Long("kubeconfig") => kubeconfig = Some(PathBuf::from(args.value()?)),
            // What follows `--` is the daemon's.
            Arg::Value(word) => extra.push(word),
            other => return Err(other.unexpected().into()),
        }
    }
    let cluster = cluster::up(&name, kubeconfig)?;
    let data = paths::in_cache("dev-data")?.join(&name);
    paths::make(&data)?;
    say("restarting at each save; Ctrl-C ends");
    loop {
        let seen = newest(&paths::workspace());
        // A build that fails has said why; the next save is the next try.
        let child = match cargo::HOMELAB.build() {
            Ok(homelab) => {
                let cmd =
                    Cmd::new(homelab).arg("daemon").args(&extra).env("HOMELAB_DATA_DIR", &data).envs(&cluster.env()?);
                Some(cmd.into_inner().spawn().context("`homelab daemon` can not be started")?)
            }
            Err(error) => {
                say(format!("{error:#}"));
                None
            }
        };
        wait_for_save(child, seen)?;
    }
}

/// Returns when a source file is newer; the daemon is ended then.
fn wait_for_save(mut child: Option<Child>, seen: SystemTime) -> Result<()> {
    while newest(&paths::workspace()) <= seen {
        thread::sleep(Duration::from_secs(1));
        let Some(running) = &mut child else { continue };
        if let Some(status) = running.try_wait().context("the daemon can not be watched")? {
            say(format!("the daemon has ended ({status}); it is started again after the next save"));
            child = None;
        }
    }
    child.map_or(Ok(()), stop)
}

/// Asks the daemon to end, so that it gives its Lease back, and insists after ten seconds.
fn stop(mut child: Child) -> Result<()> {
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        // It may have ended in between.
        let _ = kill_process(pid, Signal::TERM);
    }
    let start = Instant::now();
    while child.try_wait().context("the daemon can not be watched")?.is_none() {
        if start.elapsed() > Duration::from_secs(10) {
            say("the daemon does not end by itself within 10 s: killed");
            child.kill().context("the daemon can not be killed")?;
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// When the newest source file was saved.
fn newest(top: &Path) -> SystemTime {
    let packages = std::fs::read_dir(top).into_iter().flatten().flatten().map(|e| e.path());
    let ours = packages.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("homelab-")));
    ours.map(|p| newest_below(&p)).chain([modified(&top.join("Cargo.lock"))]).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn newest_below(dir: &Path) -> SystemTime {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let times = entries.map(|path| match path.is_dir() {
        true => newest_below(&path),
        false if path.extension().is_some_and(|e| e == "rs" || e == "toml") => modified(&path),
        false => SystemTime::UNIX_EPOCH,
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn modified(file: &Path) -> SystemTime {
    file.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
