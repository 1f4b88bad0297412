//! What the daemon was told, completed by what it can find out.
#![expect(clippy::disallowed_methods, reason = "reads the pod's environment and the machine's name once, at the start")]

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use kube::Config;

use crate::args::{self, Global};

/// Namespace when nothing else names one.
const HOME: &str = "homelab";

/// Everything that the daemon needs to know about itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The flags.
    pub args: args::Daemon,
    /// Namespace of its Lease, certificates and ConfigMap.
    pub home: String,
    /// Name in the Lease, unique among living processes.
    pub identity: String,
    /// Runs in a pod of the cluster.
    pub in_cluster: bool,
    /// URL under which pods reach the secret server.
    pub secrets_url: String,
}

impl Settings {
    /// From the flags and the surroundings.
    pub fn new(global: &Global, args: args::Daemon, config: &Config) -> Result<Self> {
        let in_cluster = global.kubeconfig.is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let home = home(global, &args, in_cluster.then_some(config.default_namespace.as_str()));
        let secrets_url =
            args.advertise_secrets_url.clone().unwrap_or_else(|| format!("https://{}.{home}.svc:8200", args.service));
        for (flag, url) in
            [("--advertise-secrets-url", Some(&secrets_url)), ("--webhook-url", args.webhook_url.as_ref())]
        {
            if let Some(url) = url.filter(|url| !url.starts_with("https://")) {
                bail!("{flag} {url} is no https:// URL");
            }
        }
        Ok(Self { identity: identity()?, home, in_cluster, secrets_url, args })
    }

    /// Names of files and directories below the data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.args.data_dir.join(name)
    }

    /// Where the CA is kept: in the cluster, unless this is one of several daemons, or one on a host.
    pub fn keeps_ca_in_cluster(&self) -> bool {
        self.in_cluster || self.args.namespaces.is_empty()
    }

    /// The namespaces that it is confined to; none: all.
    pub fn only(&self) -> Option<Vec<String>> {
        Some(self.args.namespaces.clone()).filter(|namespaces| !namespaces.is_empty())
    }

    /// The webhook can be reached: by a Service in the cluster, or by the URL that was given.
    pub fn has_webhook(&self) -> bool {
        self.in_cluster || self.args.webhook_url.is_some()
    }

    /// Name of the cluster-scoped objects of this daemon.
    pub fn cluster_name(&self) -> String {
        cluster_name(&self.home)
    }
}

/// Name of the cluster-scoped objects of the daemon in namespace `home`.
pub(crate) fn cluster_name(home: &str) -> String {
    if home == HOME { HOME.to_owned() } else { format!("{HOME}-{home}") }
}

fn home(global: &Global, args: &args::Daemon, pod: Option<&str>) -> String {
    let named = global.daemon_namespace.as_deref().or(pod).or_else(|| args.namespaces.first().map(String::as_str));
    named.unwrap_or(HOME).to_owned()
}

/// A pod's name stays when its container is restarted, so that it leads on at once; a process on a host is new each time.
fn identity() -> Result<String> {
    if let Some(pod) = std::env::var("HOMELAB_POD_NAME").ok().filter(|name| !name.is_empty()) {
        return Ok(pod);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).context("make a random name")?;
    let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let host = host.trim();
    Ok(format!("{}-{}-{random}", if host.is_empty() { "host" } else { host }, std::process::id()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn check(flags: &[&str], pod: Option<&str>) -> String {
        let args = Args::try_parse_from(["homelab", "daemon"].iter().chain(flags)).expect("flags");
        let Command::Daemon(daemon) = args.command else { unreachable!("it is the daemon") };
        home(&args.global, &daemon, pod)
    }

    #[test]
    fn its_namespace_is_named_or_its_pods_or_the_first_it_watches() {
        assert_eq!(check(&["--daemon-namespace", "infra"], Some("pod")), "infra");
        assert_eq!(check(&["--namespaces", "a,b"], Some("pod")), "pod");
        assert_eq!(check(&["--namespaces", "a,b"], None), "a");
        assert_eq!(check(&[], None), "homelab");
    }
}
