//! kill -9 of the daemon inside its pod.
//!
//! A process can not be killed as pid 1 from inside its own pid namespace, so it is looked up on this host, where the
//! node of `cargo xtask cluster` runs. On another cluster that is not possible, and is said.

use std::path::Path;

use anyhow::{Context, Result, bail};
use homelab_core::process::Program;

use crate::cluster::Cluster;

use super::SYSTEM;

/// Kills the process of the daemon's pod with SIGKILL; the kubelet starts the container again.
pub(super) async fn kill_daemon(cluster: &Cluster) -> Result<()> {
    let pods = cluster.list("v1", "Pod", SYSTEM, "app.kubernetes.io/component=daemon").await?;
    let pod = pods.iter().find(|p| p["status"]["phase"] == "Running").context("the daemon has no running pod")?;
    let uid = pod["metadata"]["uid"].as_str().context("a pod without uid")?;
    let Some(id) = process_of(uid)? else {
        bail!("the daemon's process is not on this host (the node is elsewhere), so it can not be killed from here");
    };
    Program::new("/bin/kill").args(["-KILL", &id.to_string()]).run_ok().await.context("kill -9 needs root")?;
    Ok(())
}

/// The process of this host that runs `homelab daemon` in the cgroup of the pod `uid`.
fn process_of(uid: &str) -> Result<Option<u32>> {
    // The kubelet writes the uid with dashes (cgroupfs driver) or with underscores (systemd driver).
    let names = [uid.to_owned(), uid.replace('-', "_")];
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let read = |file: &str| {
            std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join(file)).unwrap_or_default()
        };
        let command = read("cmdline");
        let mut words = command.split('\0');
        let ours = words.next().is_some_and(|w| w.ends_with("homelab")) && words.next() == Some("daemon");
        if ours && names.iter().any(|name| read("cgroup").contains(name.as_str())) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}
