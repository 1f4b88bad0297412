//! `cargo xtask image`: the project's OCI images, without a container engine or a registry.
//!
//! Layers are kept by the digest of what went in, so a change of the daemon writes one layer and nothing below it.

pub(crate) mod archive;
mod foreign;
pub(crate) mod layer;
mod rootfs;

use std::{ffi::OsString, fs::File, io::BufWriter, path::PathBuf, thread};

use anyhow::{Context, Result, bail};
use lexopt::{Arg, ValueExt as _};
use serde_json::json;

use self::{
    archive::Image,
    layer::{Entry, Layer},
};
use crate::{
    cargo,
    cluster::{self, Cluster, containerd},
    paths, programs,
    shell::say,
};

/// The daemon with `git`, `helm` and `kustomize`.
const HOMELAB: &str = "homelab.dev/homelab:dev";
/// What an init container runs.
const AGENT: &str = "homelab.dev/homelab-agent:dev";
/// The application that demo and tests roll out.
const TESTAPP: &str = "homelab.dev/testapp:dev";
/// A numeric user, so that `runAsNonRoot` can be checked.
const USER: &str = "65532:65532";

/// `cargo xtask image …`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let (mut name, mut kubeconfig, mut load) = (cluster::DEFAULT.to_owned(), None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("name") => name = args.value()?.string()?,
            Arg::Long("kubeconfig") => kubeconfig = Some(PathBuf::from(args.value()?)),
            Arg::Long("load") => load = true,
            other => return Err(other.unexpected().into()),
        }
    }
    // A cluster that is not there is said before the builds, not after.
    let cluster = if load { Some(cluster::existing(&name, kubeconfig)?) } else { None };
    let images = all(cargo::HOMELAB.profile)?.images;
    match cluster {
        Some(cluster) => load_into(&cluster, &images),
        None => images.iter().try_for_each(|image| write(image).map(drop)),
    }
}

/// The project's programs and images.
pub(crate) struct Built {
    /// `homelab`, for use on this machine too.
    pub(crate) homelab: PathBuf,
    /// `homelab-agent`, as it ships.
    agent: PathBuf,
    /// All images.
    pub(crate) images: Vec<Image>,
}

impl Built {
    /// What tests, demo and bench find in their environment.
    pub(crate) fn env(&self) -> Vec<(String, OsString)> {
        let image = |variable: &str, name: &str| (variable.to_owned(), OsString::from(name));
        vec![
            ("HOMELAB_BIN".to_owned(), self.homelab.clone().into_os_string()),
            ("HOMELAB_AGENT_BIN".to_owned(), self.agent.clone().into_os_string()),
            image("HOMELAB_IMAGE", HOMELAB),
            image("HOMELAB_AGENT_IMAGE", AGENT),
            image("HOMELAB_TESTAPP_IMAGE", TESTAPP),
        ]
    }
}

/// Builds all images of the project, with `homelab` in this profile.
pub(crate) fn all(profile: &str) -> Result<Built> {
    // The root file system comes over the network while the compiler works.
    let base = thread::spawn(rootfs::layer);
    let homelab = cargo::HOMELAB.build_as(profile)?;
    let agent = cargo::AGENT.build()?;
    let testapp = cargo::TESTAPP.build()?;
    let tools = programs::ensure(programs::IMAGE)?;
    let tools = Layer::of_files(vec![
        file("usr/local/bin/helm", tools.path("helm")?.to_path_buf()),
        file("usr/local/bin/kustomize", tools.path("kustomize")?.to_path_buf()),
    ])?;
    let ours = Layer::of_files(vec![
        file("usr/local/bin/homelab", homelab.clone()),
        file("usr/local/bin/homelab-agent", agent.clone()),
    ])?;
    let Ok(base) = base.join() else { bail!("the thread that makes the root file system has panicked; see above") };
    let config = json!({
        "Entrypoint": ["/usr/local/bin/homelab"], "Cmd": ["daemon"], "User": USER, "WorkingDir": "/tmp",
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp"],
    });
    let images = vec![
        Image { name: HOMELAB.to_owned(), config, layers: vec![base?, tools, ours] },
        alone(AGENT, "homelab-agent", agent.clone())?,
        alone(TESTAPP, "homelab-testapp", testapp)?,
    ];
    Ok(Built { homelab, agent, images })
}

/// Imports images into a cluster: ours directly, another one by its own tool where that is known.
pub(crate) fn load_into(cluster: &Cluster, images: &[Image]) -> Result<()> {
    match cluster {
        Cluster::Own(spec) => images.iter().try_for_each(|image| containerd::load(spec, image)),
        Cluster::Foreign(kubeconfig) => {
            let files = images.iter().map(write).collect::<Result<Vec<_>>>()?;
            foreign::load(kubeconfig, &files)
        }
    }
}

fn file(to: &'static str, from: PathBuf) -> Entry {
    Entry { to, from, mode: 0o755 }
}

/// An image that is one static program.
fn alone(name: &str, to: &'static str, from: PathBuf) -> Result<Image> {
    let layers = vec![Layer::of_files(vec![file(to, from)])?];
    Ok(Image { name: name.to_owned(), config: json!({ "Entrypoint": [format!("/{to}")], "User": USER }), layers })
}

/// Writes an image under `target/images`, unless the same one is there.
fn write(image: &Image) -> Result<PathBuf> {
    let dir = paths::workspace().join("target/images");
    paths::make(&dir)?;
    let stem = image.name.rsplit('/').next().unwrap_or("image").replace(':', "-");
    let (file, mark) = (dir.join(format!("{stem}.tar")), dir.join(format!("{stem}.digest")));
    let digest = image.digest()?;
    if !file.exists() || std::fs::read_to_string(&mark).unwrap_or_default() != digest {
        let part = dir.join(format!("{stem}.part"));
        let out = File::create(&part).with_context(|| format!("{} can not be made", part.display()))?;
        image.write(BufWriter::new(out), |_| false)?;
        std::fs::rename(&part, &file).with_context(|| format!("{} can not be put in its place", file.display()))?;
        paths::write(&mark, &digest)?;
    }
    say(format!("{}: {} ({digest})", image.name, file.display()));
    Ok(file)
}
