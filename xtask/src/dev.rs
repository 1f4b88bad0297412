//! `cargo xtask dev`: a cluster if there is none, the daemon on this machine, started anew when a file is saved.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use lexopt::{Arg, ValueExt as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cargo,
    cluster::{self, Cluster},
    paths,
    shell::{Cmd, human, say, wait},
};

/// How often it is looked for a save and for Ctrl-C.
const PERIOD: Duration = Duration::from_millis(300);
/// The daemon's own namespace.
const HOME: &str = "homelab";
/// How long the daemon may take to end; it gives itself 12 s.
const STOP: Duration = Duration::from_secs(15);

/// `cargo xtask dev …`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let (mut name, mut kubeconfig, mut extra) = (cluster::DEFAULT.to_owned(), None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("name") => name = args.value()?.string()?,
            Arg::Long("kubeconfig") => kubeconfig = Some(PathBuf::from(args.value()?)),
            // What follows `--` is the daemon's.
            Arg::Value(word) => extra.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let cluster = cluster::up(&name, kubeconfig)?;
    let data = paths::in_cache("dev-data")?.join(&name);
    paths::make(&data)?;
    let env = [cluster.env()?, vec![("HOMELAB_DATA_DIR".to_owned(), data.into_os_string())]].concat();
    let args = [reachable(&cluster, &extra), extra].concat();
    let ended = on_signals()?;
    say("restarting at each save; Ctrl-C ends");
    say(format!("the cluster: eval \"$(cargo xtask cluster env --name {name})\""));
    say(format!("pods with secrets need the agent in it, once: cargo xtask image --load --name {name}"));
    let mut running = None;
    while !ended.load(Ordering::Relaxed) {
        let seen = newest(&paths::workspace());
        // What fails has said why, and the daemon before goes on; the next save is the next try.
        match prepare(&env) {
            Ok(homelab) => {
                stop(running.take())?;
                running = Some(start(&homelab, &args, &env)?);
            }
            Err(error) => say(format!("{error:#}")),
        }
        wait_for_save(&mut running, seen, &ended)?;
    }
    stop(running)
}

/// Set by Ctrl-C or SIGTERM: we end after the daemon, not before it.
fn on_signals() -> Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).context("signals can not be caught")?;
    }
    Ok(ended)
}

/// Flags by which pods and the API server of our cluster reach a daemon on this machine, unless they are given.
fn reachable(cluster: &Cluster, given: &[String]) -> Vec<String> {
    let Cluster::Own(spec) = cluster else { return Vec::new() };
    let urls = [("--advertise-secrets-url", 8200), ("--webhook-url", 8443)];
    let missing = urls.into_iter().filter(|(flag, _)| !given.iter().any(|arg| arg.starts_with(flag)));
    missing.map(|(flag, port)| format!("{flag}=https://{}:{port}", spec.host_ip())).collect()
}

/// Builds the daemon and gives the cluster its kinds and policies.
fn prepare(env: &[(String, OsString)]) -> Result<PathBuf> {
    let homelab = cargo::HOMELAB.build()?;
    install(&homelab, env)?;
    Ok(homelab)
}

fn start(homelab: &Path, args: &[String], env: &[(String, OsString)]) -> Result<Child> {
    let cmd = Cmd::new(homelab).arg("daemon").args(args).envs(env);
    cmd.into_inner().spawn().context("`homelab daemon` can not be started")
}

/// What `helm install` would make, but for the Deployment and what it needs.
fn install(homelab: &Path, env: &[(String, OsString)]) -> Result<()> {
    let chart = paths::workspace().join("charts/homelab");
    let template = Cmd::new("helm").args(["template", HOME]).arg(chart).args(["--namespace", HOME]).envs(env);
    let parts = ["admin", "admission"].map(|part| format!("--show-only=templates/{part}.yaml"));
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {HOME}}}\n");
    let kinds = Cmd::new(homelab).arg("print-crds").read()?;
    for manifests in [namespace, kinds, template.args(parts).read()?] {
        let file = paths::in_cache("dev-data")?.join("apply.yaml");
        paths::write(&file, manifests)?;
        let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=homelab-dev", "--filename"];
        // A new kind is served a moment after it is there.
        let kubectl = || Cmd::new("kubectl").args(apply).arg(&file).envs(env).quiet();
        wait("kinds and policies in the cluster", Duration::from_secs(10), kubectl)?;
    }
    Ok(())
}

/// Returns when a source file is newer or we are to end.
fn wait_for_save(running: &mut Option<Child>, seen: SystemTime, ended: &AtomicBool) -> Result<()> {
    while !ended.load(Ordering::Relaxed) && newest(&paths::workspace()) <= seen {
        thread::sleep(PERIOD);
        let Some(child) = running else { continue };
        if let Some(status) = child.try_wait().context("the daemon can not be watched")? {
            *running = None;
            if !ended.load(Ordering::Relaxed) {
                say(format!("the daemon has ended ({status}); it is started again after the next save"));
            }
        }
    }
    Ok(())
}

/// Asks the daemon to end, so that it gives its Lease back, and insists after a while.
fn stop(running: Option<Child>) -> Result<()> {
    let Some(mut child) = running else { return Ok(()) };
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        // It may have ended in between.
        let _ = kill_process(pid, Signal::TERM);
    }
    let start = Instant::now();
    while child.try_wait().context("the daemon can not be watched")?.is_none() {
        if start.elapsed() > STOP {
            say(format!("the daemon does not end by itself within {}: killed", human(STOP)));
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
