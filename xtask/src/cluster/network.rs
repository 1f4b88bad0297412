//! The cluster's network namespace, its link to this machine and the routes to pods and Services.

use anyhow::{Context, Result};

use super::spec::Spec;
use crate::shell::Cmd;

/// Makes what is missing. Says whether the namespace is new: processes of an older one are then cut off.
pub(crate) fn ensure(spec: &Spec) -> Result<bool> {
    // A crash can leave the file without the mount on it; such a name can not be entered.
    let usable = spec.namespace_file().exists() && spec.inside("true").ok();
    if !usable {
        let _ = ip(&["netns", "del", &spec.namespace()]);
        let _ = std::fs::remove_file(spec.namespace_file());
        ip(&["netns", "add", &spec.namespace()])?;
    }
    link(spec)?;
    spec.inside("sh")
        .args(["-c", SETTINGS])
        .quiet()
        .with_context(|| format!("network namespace {} can not be set up", spec.namespace()))?;
    Ok(!usable)
}

/// Removes it all; routes and the far end of the link go with the namespace.
pub(crate) fn destroy(spec: &Spec) -> Result<()> {
    if spec.namespace_file().exists() {
        ip(&["netns", "del", &spec.namespace()])?;
    }
    // The namespace itself lives until its last process is reaped, so the link is removed by name.
    if std::path::Path::new("/sys/class/net").join(spec.veth()).exists() {
        let _ = ip(&["link", "del", &spec.veth()]);
    }
    Ok(())
}

/// `bridge-nf-call-iptables`: without it the answer of a pod to a pod of the same node goes past the Service's
/// translation, and the client drops it.
const SETTINGS: &str = "\
echo 1 > /proc/sys/net/ipv4/ip_forward
for f in /proc/sys/net/bridge/bridge-nf-call-iptables; do [ ! -e $f ] || echo 1 > $f; done";

fn link(spec: &Spec) -> Result<()> {
    let (outside, netns) = (spec.veth(), spec.namespace());
    let node = format!("{}/24", spec.node_ip());
    let host = format!("{}/24", spec.host_ip());
    if !spec.inside("ip").args(["link", "show", "eth0"]).ok() {
        let _ = ip(&["link", "del", &outside]);
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &netns])?;
    }
    ip(&["addr", "replace", &host, "dev", &outside])?;
    ip(&["link", "set", &outside, "up"])?;
    ip(&["-n", &netns, "link", "set", "lo", "up"])?;
    ip(&["-n", &netns, "addr", "replace", &node, "dev", "eth0"])?;
    ip(&["-n", &netns, "link", "set", "eth0", "up"])?;
    ip(&["-n", &netns, "route", "replace", "default", "via", &spec.host_ip()])?;
    ip(&["route", "replace", &spec.pods(), "via", &spec.node_ip()])?;
    ip(&["route", "replace", &spec.services(), "via", &spec.node_ip()])
}

fn ip(args: &[&str]) -> Result<()> {
    Cmd::new("ip").args(args).quiet()
}
