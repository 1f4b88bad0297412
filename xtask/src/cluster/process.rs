//! The cluster's processes: started detached, known by id and start time, so that a recycled id is never signalled.

use std::{fs::File, path::Path, process::Stdio};

use anyhow::{Context, Result, bail};

use super::{cgroup, spec::Spec};
use crate::{paths, shell::tail};

/// One program of the cluster and how it is started.
pub(crate) struct Component {
    /// Names its log and its record.
    pub(crate) name: &'static str,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
}

/// Starts it unless it runs.
pub(crate) fn ensure(spec: &Spec, component: &Component) -> Result<()> {
    if alive(spec, component.name).is_some() {
        return Ok(());
    }
    let log = log_file(spec, component.name);
    rotate(&log)?;
    let out = File::create(&log).with_context(|| format!("log {} can not be made", log.display()))?;
    let err = out.try_clone().with_context(|| format!("log {} can not be shared", log.display()))?;
    // The process joins its group before it becomes the program, so that whatever it starts is found there too, even if
    // this xtask is killed before the next line. `setsid`: a closing terminal must not end the cluster.
    let join = "for group in $HOMELAB_GROUPS; do echo $$ > $group/cgroup.procs || exit 97; done; unset HOMELAB_GROUPS; exec \"$@\"";
    let groups = cgroup::system(spec)?.iter().map(|g| g.display().to_string()).collect::<Vec<_>>().join(" ");
    let child = crate::shell::Cmd::new("setsid")
        .args(["sh", "-c", join, "sh", "nsenter"])
        .arg(format!("--net={}", spec.namespace_file().display()))
        .args(&component.argv)
        .env("HOMELAB_GROUPS", groups)
        .dir(&spec.dir)
        .into_inner()
        .stdout(Stdio::from(out))
        .stderr(Stdio::from(err))
        .spawn()
        .with_context(|| format!("{} can not be started", component.name))?;
    let id = child.id();
    let started = stat(id).map(|s| s.started).unwrap_or_default();
    paths::write(&record(spec, component.name), format!("{id} {started}\n"))
}

/// The id of a component's process while it runs.
pub(crate) fn alive(spec: &Spec, name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(record(spec, name)).ok()?;
    let (id, started) = text.trim().split_once(' ')?;
    let (id, started): (u32, u64) = (id.parse().ok()?, started.parse().ok()?);
    let now = stat(id)?;
    (now.started == started && !now.zombie).then_some(id)
}

/// Fails when a component has ended, with its last words.
pub(crate) fn check(spec: &Spec, name: &str) -> Result<()> {
    if alive(spec, name).is_some() {
        return Ok(());
    }
    let log = log_file(spec, name);
    let said = std::fs::read(&log).unwrap_or_default();
    bail!("{name} has ended; the last lines of {}:\n{}", log.display(), tail(&String::from_utf8_lossy(&said), 12))
}

/// A component's log.
pub(crate) fn log_file(spec: &Spec, name: &str) -> std::path::PathBuf {
    spec.file(&format!("logs/{name}.log"))
}

fn record(spec: &Spec, name: &str) -> std::path::PathBuf {
    spec.file(&format!("run/{name}.pid"))
}

/// Keeps the log of the run before: it tells why a component ended.
fn rotate(log: &Path) -> Result<()> {
    match std::fs::rename(log, log.with_extension("log.1")) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("log {} can not be moved", log.display()))
        }
        _ => Ok(()),
    }
}

struct Stat {
    started: u64,
    zombie: bool,
}

fn stat(id: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// proc(5): the name in parentheses may hold anything, so fields are counted from its end; 3 is the state, 22 the start.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    Some(Stat { started: fields.nth(18)?.parse().ok()?, zombie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let tail = "S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 7777 4096 1";
        let stat = parse_stat(&format!("42 (a ) b) {tail}")).unwrap();
        assert_eq!((stat.started, stat.zombie), (7777, false));
        assert!(parse_stat(&format!("42 (x) {}", tail.replacen('S', "Z", 1))).unwrap().zombie);
    }
}
