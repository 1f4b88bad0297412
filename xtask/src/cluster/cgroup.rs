//! Control groups: every process of a cluster, pods included, is in a tree of the cluster's own.
//!
//! That tree is what makes `down` complete: containers outlive containerd, their shims and us, but not their group.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::spec::Spec;
use crate::paths;

const ROOT: &str = "/sys/fs/cgroup";

/// Makes the cluster's groups. The kubelet demands that its root exists in every hierarchy.
pub(crate) fn ensure(spec: &Spec) -> Result<()> {
    let hierarchies = hierarchies()?;
    for hierarchy in &hierarchies {
        let dir = hierarchy.join(spec.namespace());
        paths::make(&dir)?;
        inherit_cpuset(hierarchy, &dir);
        if unified() {
            delegate(hierarchy);
            delegate(&dir);
        }
    }
    system(spec).map(drop)
}

/// The groups that the cluster's own programs join: one is enough to find them again.
pub(crate) fn system(spec: &Spec) -> Result<Vec<PathBuf>> {
    let hierarchies = hierarchies()?;
    let named = |name: &str| hierarchies.iter().find(|h| h.ends_with(name));
    let chosen = named("pids").or_else(|| named("systemd")).or_else(|| hierarchies.first());
    let dir = chosen
        .context("there is no control group hierarchy under /sys/fs/cgroup")?
        .join(spec.namespace())
        .join("system");
    paths::make(&dir)?;
    Ok(vec![dir])
}

/// Kills everything in the cluster's groups and removes them.
pub(crate) fn destroy(spec: &Spec) -> Result<()> {
    let start = Instant::now();
    let mut trees: Vec<PathBuf> = hierarchies()?.iter().map(|h| h.join(spec.namespace())).collect();
    loop {
        trees.retain(|t| t.exists());
        let groups: Vec<PathBuf> = trees.iter().flat_map(|t| below(t)).collect();
        if groups.is_empty() {
            return Ok(());
        }
        for group in &groups {
            kill_members(group);
            // Fails while a member is still ending; the next round tries again.
            let _ = std::fs::remove_dir(group);
        }
        if start.elapsed() > Duration::from_secs(30) {
            bail!(
                "processes in {} do not end although killed; see `ps` for state D and what they wait for",
                groups[0].display()
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// How many processes the cluster has.
pub(crate) fn members(spec: &Spec) -> Result<usize> {
    let mut ids: Vec<i32> = Vec::new();
    for tree in hierarchies()?.iter().map(|h| h.join(spec.namespace())).filter(|t| t.exists()) {
        ids.extend(below(&tree).iter().flat_map(|g| read_members(g)));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids.len())
}

fn kill_members(group: &Path) {
    for id in read_members(group) {
        if let Some(pid) = Pid::from_raw(id) {
            // It may have ended in between.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn read_members(group: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|l| l.parse().ok()).filter(|id| *id > 0).collect()
}

/// A group and all below it, deepest first: the order in which they can be removed.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(entries) = std::fs::read_dir(dir) {
        for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            found.extend(below(&entry.path()));
        }
    }
    found.push(dir.to_path_buf());
    found
}

fn unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Version 2 has one hierarchy; version 1 has one for each controller, some of them under two names.
fn hierarchies() -> Result<Vec<PathBuf>> {
    if unified() {
        return Ok(vec![PathBuf::from(ROOT)]);
    }
    let entries = std::fs::read_dir(ROOT).with_context(|| format!("{ROOT} can not be read; is it mounted?"))?;
    let mut dirs: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| !p.is_symlink() && p.join("cgroup.procs").exists()).collect();
    dirs.sort();
    Ok(dirs)
}

/// Version 1: a new cpuset is empty and takes no process until it is told its processors.
fn inherit_cpuset(hierarchy: &Path, dir: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = std::fs::read_to_string(hierarchy.join(file)) {
            let _ = std::fs::write(dir.join(file), value);
        }
    }
}

/// Version 2: lets the groups below use the controllers that there are.
fn delegate(dir: &Path) {
    let have = std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for controller in have.split_whitespace() {
        let _ = std::fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}
