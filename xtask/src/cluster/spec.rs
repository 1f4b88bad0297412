//! One cluster's name, slot, addresses and places.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{paths, shell::Cmd};

/// Slots for clusters side by side; each has addresses of its own.
const SLOTS: u8 = 16;
/// Unix sockets below the folder must stay under the kernel's 107 bytes.
const LONGEST_DIR: usize = 70;

/// A cluster's name, slot and everything that follows from the two.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// The name given by `--name`.
    pub(crate) name: String,
    /// Chooses the addresses.
    pub(crate) slot: u8,
    /// All of its files.
    pub(crate) dir: PathBuf,
}

impl Spec {
    /// The cluster of this name, if one was made.
    pub(crate) fn find(name: &str) -> Result<Option<Self>> {
        check_name(name)?;
        let dir = clusters()?.join(name);
        let Ok(text) = std::fs::read_to_string(dir.join("slot")) else { return Ok(None) };
        let slot = text
            .trim()
            .parse()
            .with_context(|| format!("{}/slot holds no number; remove that folder", dir.display()))?;
        Ok(Some(Self { name: name.to_owned(), slot, dir }))
    }

    /// The cluster of this name; a new one gets a free slot, which is written down before anything else is done.
    pub(crate) fn find_or_make(name: &str) -> Result<Self> {
        if let Some(found) = Self::find(name)? {
            return Ok(found);
        }
        let dir = clusters()?.join(name);
        if dir.as_os_str().len() > LONGEST_DIR {
            bail!(
                "the cache's path {} is too long for Unix sockets; set HOMELAB_CACHE to a shorter one",
                dir.display()
            );
        }
        let _lock = crate::lock::take("slots")?;
        let taken: Vec<u8> = Self::all()?.iter().map(|c| c.slot).collect();
        // The interface may belong to a cluster of another cache.
        let free = |n: &u8| !taken.contains(n) && !Path::new(&format!("/sys/class/net/{}", veth(*n))).exists();
        let slot = (0..SLOTS)
            .find(free)
            .with_context(|| format!("all {SLOTS} slots for clusters are in use; take one down"))?;
        paths::make(&dir)?;
        paths::write(&dir.join("slot"), slot.to_string())?;
        Ok(Self { name: name.to_owned(), slot, dir })
    }

    /// All clusters of this cache.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let dir = clusters()?;
        let entries = std::fs::read_dir(&dir).with_context(|| format!("folder {} can not be read", dir.display()))?;
        let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        let mut all: Vec<Self> = names.filter_map(|n| Self::find(&n).ok().flatten()).collect();
        all.sort_by_key(|c| c.slot);
        Ok(all)
    }

    /// A file or folder of it.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// The same as text, for arguments and configuration files.
    pub(crate) fn text(&self, path: &str) -> String {
        self.file(path).display().to_string()
    }

    /// The file that gives an administrator's access.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.file("kubeconfig")
    }

    /// The address of this machine as the cluster sees it.
    pub(crate) fn host_ip(&self) -> String {
        format!("10.89.{}.1", self.slot)
    }

    /// The address of the node and the API server.
    pub(crate) fn node_ip(&self) -> String {
        format!("10.89.{}.2", self.slot)
    }

    /// The addresses of pods.
    pub(crate) fn pods(&self) -> String {
        format!("10.88.{}.0/24", self.slot)
    }

    /// The addresses of Services: a /20, for tests with a thousand apps.
    pub(crate) fn services(&self) -> String {
        format!("10.96.{}.0/20", self.slot * 16)
    }

    /// The API server's own Service.
    pub(crate) fn api_service_ip(&self) -> String {
        format!("10.96.{}.1", self.slot * 16)
    }

    /// The Service of the cluster's DNS.
    pub(crate) fn dns_ip(&self) -> String {
        format!("10.96.{}.10", self.slot * 16)
    }

    /// The API server's URL.
    pub(crate) fn api_url(&self) -> String {
        format!("https://{}:6443", self.node_ip())
    }

    /// The network namespace; also the name of its control group and pod network.
    pub(crate) fn namespace(&self) -> String {
        format!("homelab-{}", self.name)
    }

    /// The network namespace's file.
    pub(crate) fn namespace_file(&self) -> PathBuf {
        Path::new("/var/run/netns").join(self.namespace())
    }

    /// The interface on this machine that leads to the cluster.
    pub(crate) fn veth(&self) -> String {
        veth(self.slot)
    }

    /// A command that runs in the cluster's network.
    ///
    /// `ip netns exec` is of no use: it mounts /sys anew and so hides the control groups.
    pub(crate) fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Cmd {
        Cmd::new("nsenter").arg(format!("--net={}", self.namespace_file().display())).arg(program)
    }
}

fn veth(slot: u8) -> String {
    format!("homelab{slot}")
}

fn clusters() -> Result<PathBuf> {
    paths::in_cache("clusters")
}

/// Refuses names that would not fit an interface, a folder or a control group.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = (1..=20).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits {
        bail!("cluster name `{name}` does not fit: 1 to 20 lowercase letters, digits and dashes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_share_no_address() {
        let spec = |slot| Spec { name: "a".into(), slot, dir: PathBuf::new() };
        let all: Vec<_> =
            (0..SLOTS).map(spec).flat_map(|s| [s.pods(), s.services(), s.node_ip(), s.dns_ip()]).collect();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(spec(15).services(), "10.96.240.0/20");
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        assert!(["..", "a/b", "", "A"].iter().all(|n| check_name(n).is_err()));
    }
}
