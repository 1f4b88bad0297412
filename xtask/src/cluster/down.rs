//! Taking a cluster down, so that nothing of it stays: whatever state a crash left it in.

use std::{
    io::ErrorKind,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, unmount};

use super::{cgroup, network, spec::Spec};
use crate::paths;

/// Ends, unmounts and removes everything of this cluster.
pub(crate) fn destroy(spec: &Spec) -> Result<()> {
    cgroup::destroy(spec)?;
    remove_dead_sockets();
    unmount_below(&spec.dir)?;
    network::destroy(spec)?;
    remove_leftovers(spec);
    paths::remove_dir(&spec.dir)
}

/// Ends everything at once, as a power cut does: what was on the disk stays, what was in memory is gone. `up` is the power
/// coming back.
pub(crate) fn cut(spec: &Spec) -> Result<()> {
    cgroup::destroy(spec)?;
    remove_dead_sockets();
    // Volumes in memory, root file systems of containers, names of network namespaces.
    unmount_below(&spec.dir)?;
    network::destroy(spec)?;
    for volatile in ["run", "containerd/state"] {
        paths::remove_dir(&spec.file(volatile))?;
    }
    Ok(())
}

/// Shims listen under /run/containerd, whatever containerd's own folders are, and a killed one leaves its socket. One
/// that refuses has no listener any more, so it is of no use to any containerd.
fn remove_dead_sockets() {
    for socket in entries("/run/containerd/s") {
        if UnixStream::connect(&socket).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused) {
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// What kubelet and CNI keep in fixed places, recognised by our folder's path in it.
fn remove_leftovers(spec: &Spec) {
    for link in entries("/var/log/containers") {
        if std::fs::read_link(&link).is_ok_and(|to| to.starts_with(&spec.dir)) {
            let _ = std::fs::remove_file(link);
        }
    }
    let ours = format!("\"{}/", spec.dir.display());
    for result in entries("/var/lib/cni/results") {
        if std::fs::read_to_string(&result).is_ok_and(|text| text.contains(&ours)) {
            let _ = std::fs::remove_file(result);
        }
    }
    // Only if they are empty: another container runtime may use them.
    for dir in [
        "/var/log/containers",
        "/var/lib/cni/results",
        "/var/lib/cni/networks",
        "/var/lib/cni",
        "/run/containerd/s",
        "/run/containerd/io.containerd.runtime.v2.task",
        "/run/containerd/runc/k8s.io",
        "/run/containerd/runc",
        "/run/containerd",
    ] {
        let _ = std::fs::remove_dir(dir);
    }
}

fn entries(dir: &str) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect()
}

fn unmount_below(dir: &Path) -> Result<()> {
    let table = paths::read(Path::new("/proc/self/mountinfo"))?;
    for point in mounts_below(&table, dir) {
        // Lazily: a mount that something still looks at goes when that does.
        unmount(&point, UnmountFlags::DETACH).with_context(|| format!("{} can not be unmounted", point.display()))?;
    }
    Ok(())
}

/// Mount points below a folder, the last one mounted first.
fn mounts_below(table: &str, dir: &Path) -> Vec<PathBuf> {
    let points = table.lines().filter_map(|l| l.split(' ').nth(4)).map(|p| PathBuf::from(unescape(p)));
    let mut points: Vec<PathBuf> = points.filter(|p| p.starts_with(dir)).collect();
    points.reverse();
    points
}

/// proc(5): space, tab, newline and backslash are written as octal numbers.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |t, (from, to)| t.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_mounts_and_inner_ones_first() {
        let table = "\
20 1 0:18 / /proc rw - proc proc rw
30 1 0:30 / /c/dev/kubelet/a rw - tmpfs tmpfs rw
31 30 0:31 / /c/dev/kubelet/a/b\\040c rw - tmpfs tmpfs rw
32 1 0:32 / /c/development rw - tmpfs tmpfs rw";
        let expected = ["/c/dev/kubelet/a/b c", "/c/dev/kubelet/a"].map(PathBuf::from);
        assert_eq!(mounts_below(table, Path::new("/c/dev")), expected);
    }
}
