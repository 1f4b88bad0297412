//! What clusters there are and how they do.

use anyhow::Result;

use super::{cgroup, process, spec::Spec, up};
use crate::shell::{human, print};

const COMPONENTS: [&str; 8] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
    "coredns",
];

/// Prints every cluster of this cache with its components.
pub(crate) fn show() -> Result<()> {
    let all = Spec::all()?;
    if all.is_empty() {
        print("no cluster; make one: cargo xtask cluster up");
    }
    for spec in all {
        print(format!(
            "{}: {} · pods {} · services {} · this machine is {} · {} processes",
            spec.name,
            spec.api_url(),
            spec.pods(),
            spec.services(),
            spec.host_ip(),
            cgroup::members(&spec)?
        ));
        COMPONENTS.iter().for_each(|name| print(component(&spec, name)));
        print(format!("  {}", nodes(&spec)));
    }
    Ok(())
}

fn component(spec: &Spec, name: &str) -> String {
    match process::alive(spec, name) {
        Some(id) => format!("  {name:<24} running   {id:<8} {}", age(id)),
        None => format!(
            "  {name:<24} ENDED     repair: cargo xtask cluster up --name {}; log: {}",
            spec.name,
            process::log_file(spec, name).display()
        ),
    }
}

fn age(id: u32) -> String {
    let modified = std::fs::metadata(format!("/proc/{id}")).and_then(|m| m.modified()).ok();
    modified.and_then(|t| t.elapsed().ok()).map(human).unwrap_or_default()
}

fn nodes(spec: &Spec) -> String {
    let kubectl = crate::programs::current().map(|dir| dir.join("kubectl"));
    let asked = kubectl.and_then(|k| up::kubectl_at(spec, &k).args(["get", "nodes", "--no-headers"]).read());
    match asked {
        Ok(nodes) => nodes.trim_end().to_owned(),
        Err(error) => format!("the API server does not answer: {error:#}"),
    }
}
