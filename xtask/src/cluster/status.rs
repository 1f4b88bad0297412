//! What clusters there are and how they do.

use anyhow::Result;

use super::{cgroup, process, spec::Spec, up};
use crate::shell::human;

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
pub(crate) fn print() -> Result<()> {
    let all = Spec::all()?;
    if all.is_empty() {
        println!("no cluster; make one: cargo xtask cluster up");
    }
    for spec in all {
        println!(
            "{}: {} · pods {} · services {} · this machine is {} · {} processes",
            spec.name,
            spec.api_url(),
            spec.pods(),
            spec.services(),
            spec.host_ip(),
            cgroup::members(&spec)?
        );
        for name in COMPONENTS {
            match process::alive(&spec, name) {
                Some(id) => println!("  {name:<24} running   {id:<8} {}", age(id)),
                None => println!(
                    "  {name:<24} ENDED     repair: cargo xtask cluster up --name {}; log: {}",
                    spec.name,
                    process::log_file(&spec, name).display()
                ),
            }
        }
        print_nodes(&spec);
    }
    Ok(())
}

fn age(id: u32) -> String {
    let modified = std::fs::metadata(format!("/proc/{id}")).and_then(|m| m.modified()).ok();
    modified.and_then(|t| t.elapsed().ok()).map(human).unwrap_or_default()
}

fn print_nodes(spec: &Spec) {
    let kubectl = crate::programs::current().map(|dir| dir.join("kubectl"));
    let asked = kubectl.and_then(|k| up::kubectl_at(spec, &k).args(["get", "nodes", "--no-headers"]).read());
    match asked {
        Ok(nodes) => print!("  {nodes}"),
        Err(error) => println!("  the API server does not answer: {error:#}"),
    }
}
