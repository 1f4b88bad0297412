//! Debian packages of this machine.

use std::path::Path;

use anyhow::{Result, bail};

use crate::{
    paths,
    pins::Package,
    shell::{Cmd, during},
};

/// Sees that these packages are there: installs the missing ones when root, else says the exact command.
pub(crate) fn ensure(packages: &[Package], purpose: &str) -> Result<()> {
    let absent = missing(packages);
    if absent.is_empty() {
        return Ok(());
    }
    let list = absent.join(" ");
    if !rustix::process::geteuid().is_root() || paths::which("apt-get").is_none() {
        bail!(
            "{purpose} needs programs that this machine lacks; install them with\n  sudo apt-get install --no-install-recommends {list}\nor your system's equivalent"
        );
    }
    let _lock = crate::lock::take("apt")?;
    during(&format!("installing Debian packages for {purpose}: {list}"), std::time::Duration::from_secs(25), || {
        apt().arg("update").quiet()?;
        apt().args(["install", "--no-install-recommends"]).args(&absent).quiet()
    })?;
    let still = missing(packages);
    if !still.is_empty() {
        bail!("apt-get installed {list}, and yet these are not found: {}", still.join(" "));
    }
    Ok(())
}

fn apt() -> Cmd {
    // Another apt may be at work on a fresh machine: wait for its lock rather than fail.
    Cmd::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300"])
}

fn missing(packages: &[Package]) -> Vec<String> {
    let mut names: Vec<String> = packages.iter().filter(|p| !present(&p.needs)).map(|p| p.package.clone()).collect();
    names.dedup();
    names
}

fn present(needs: &str) -> bool {
    match needs.rsplit_once('/') {
        // Other distributions keep the CNI plugins in /opt/cni/bin.
        Some((_, "bridge")) => cni_bin().is_some(),
        Some(_) => Path::new(needs).exists(),
        None => paths::which(needs).is_some(),
    }
}

/// The folder with the CNI plugins.
pub(crate) fn cni_bin() -> Option<&'static Path> {
    ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"].map(Path::new).into_iter().find(|d| d.join("bridge").exists())
}
