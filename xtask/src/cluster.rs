//! `cargo xtask cluster`: a real Kubernetes with one real node on this machine, or the cluster that `KUBECONFIG` names.
//!
//! Everything of a cluster lives in one network namespace, one tree of control groups and one folder of the cache, all
//! named after it. So two clusters stand side by side, `up` can repair what a crash left and `down` leaves nothing.

mod certs;
mod cgroup;
pub(crate) mod containerd;
mod control_plane;
mod down;
mod network;
mod node;
mod process;
pub(crate) mod spec;
mod status;
mod up;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use lexopt::{Arg, ValueExt as _};

use self::spec::Spec;
use crate::{
    lock, paths, programs,
    shell::{human, print, say},
};

/// The cluster that people work with.
pub(crate) const DEFAULT: &str = "dev";

/// A cluster to work on.
#[derive(Clone, Debug)]
pub(crate) enum Cluster {
    /// One of ours.
    Own(Spec),
    /// Someone else's (kind, k3s …), by its kubeconfig.
    Foreign(PathBuf),
}

impl Cluster {
    /// The file that gives access.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Own(spec) => spec.kubeconfig(),
            Self::Foreign(file) => file.clone(),
        }
    }

    /// What programs that work on this cluster find in their environment.
    pub(crate) fn env(&self) -> Result<Vec<(String, OsString)>> {
        let bin = programs::current()?;
        let mut vars = vec![("KUBECONFIG".to_owned(), self.kubeconfig().into_os_string())];
        for (key, program) in
            [("HOMELAB_HELM", "helm"), ("HOMELAB_KUBECTL", "kubectl"), ("HOMELAB_KUSTOMIZE", "kustomize")]
        {
            vars.push((key.to_owned(), bin.join(program).into_os_string()));
        }
        if let Self::Own(spec) = self {
            vars.push(("HOMELAB_HOST_IP".to_owned(), spec.host_ip().into()));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let path =
            env::join_paths(std::iter::once(bin).chain(env::split_paths(&path))).context("PATH can not be extended")?;
        vars.push(("PATH".to_owned(), path));
        Ok(vars)
    }
}

/// `cargo xtask cluster …`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let mut words: Vec<String> = Vec::new();
    let (mut name, mut kubeconfig, mut forget) = (DEFAULT.to_owned(), None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("name") => name = args.value()?.string()?,
            Arg::Long("kubeconfig") => kubeconfig = Some(PathBuf::from(args.value()?)),
            // `up` always waits; the word is there for those who expect to have to say it.
            Arg::Long("wait") => {}
            Arg::Long("all") => forget = true,
            Arg::Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["up"] => up(&name, kubeconfig).map(drop),
        ["down"] if forget => down_all(),
        ["down"] => down(&name, kubeconfig),
        ["cut"] => cut(&name),
        ["status"] => status::show(),
        ["load", file] => load(&name, kubeconfig, Path::new(file)),
        ["kubeconfig"] => {
            print(existing(&name, kubeconfig)?.kubeconfig().display().to_string());
            Ok(())
        }
        ["env"] => print_env(&existing(&name, kubeconfig)?),
        _ => bail!(
            "usage: cargo xtask cluster up|down [--all]|cut|status|load IMAGE.tar|kubeconfig|env [--name N] [--kubeconfig F]"
        ),
    }
}

/// Sees that there is a cluster: the one given by a kubeconfig, else ours of this name.
pub(crate) fn up(name: &str, kubeconfig: Option<PathBuf>) -> Result<Cluster> {
    if let Some(file) = foreign(kubeconfig)? {
        say(format!("using the cluster of {}; it is neither started nor stopped from here", file.display()));
        // Its users need helm and kubectl all the same.
        programs::ensure(programs::IMAGE)?;
        return Ok(Cluster::Foreign(file));
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "a cluster needs root: it makes network namespaces, mounts and control groups. Ways out:\n  \
             - run it as root: sudo -E env PATH=\"$PATH\" cargo xtask cluster up\n  \
             - use a cluster that you have (kind, k3s, minikube …): KUBECONFIG=FILE or --kubeconfig FILE\n  \
             - without a cluster: cargo xtask test --fast"
        );
    }
    spec::check_name(name)?;
    up::ensure(name).map(Cluster::Own)
}

/// The same, but one of ours is made anew: what an earlier run left in it must not decide about this one.
pub(crate) fn fresh(name: &str, kubeconfig: Option<PathBuf>) -> Result<Cluster> {
    if foreign(kubeconfig.clone())?.is_none() && rustix::process::geteuid().is_root() && Spec::find(name)?.is_some() {
        down(name, None)?;
    }
    up(name, kubeconfig)
}

/// Takes our cluster of this name down; someone else's is left alone.
pub(crate) fn down(name: &str, kubeconfig: Option<PathBuf>) -> Result<()> {
    if let Some(file) = foreign(kubeconfig)? {
        say(format!("the cluster of {} is not ours: left as it is", file.display()));
        return Ok(());
    }
    spec::check_name(name)?;
    let start = std::time::Instant::now();
    let _lock = lock::take(&format!("cluster-{name}"))?;
    let Some(spec) = Spec::find(name)? else {
        // A crash before the slot was written leaves at most an empty folder.
        paths::remove_dir(&paths::in_cache("clusters")?.join(name))?;
        say(format!("there is no cluster {name}"));
        return Ok(());
    };
    down::destroy(&spec).with_context(|| format!("cluster {name} can not be taken down wholly; repeat the command"))?;
    say(format!("cluster {name} is down ({})", human(start.elapsed())));
    Ok(())
}

/// A power cut of our cluster of this name.
fn cut(name: &str) -> Result<()> {
    spec::check_name(name)?;
    let _lock = lock::take(&format!("cluster-{name}"))?;
    let spec = Spec::find(name)?.with_context(|| format!("there is no cluster {name}"))?;
    down::cut(&spec)?;
    say(format!("cluster {name} is without power; cargo xtask cluster up --name {name} gives it back"));
    Ok(())
}

fn down_all() -> Result<()> {
    Spec::all()?.iter().try_for_each(|spec| down(&spec.name, None))
}

/// The cluster of this name, which must be there.
pub(crate) fn existing(name: &str, kubeconfig: Option<PathBuf>) -> Result<Cluster> {
    if let Some(file) = foreign(kubeconfig)? {
        return Ok(Cluster::Foreign(file));
    }
    let spec = Spec::find(name)?
        .with_context(|| format!("there is no cluster {name}: cargo xtask cluster up --name {name}"))?;
    Ok(Cluster::Own(spec))
}

fn load(name: &str, kubeconfig: Option<PathBuf>, file: &Path) -> Result<()> {
    match existing(name, kubeconfig)? {
        Cluster::Own(spec) => containerd::load_file(&spec, file),
        Cluster::Foreign(kubeconfig) => bail!(
            "images of the cluster of {} are loaded by its own tool, for example: kind load image-archive {}",
            kubeconfig.display(),
            file.display()
        ),
    }
}

fn print_env(cluster: &Cluster) -> Result<()> {
    for (key, value) in cluster.env()? {
        print(format!("export {key}='{}'", value.to_string_lossy().replace('\'', r"'\''")));
    }
    Ok(())
}

/// The kubeconfig of a cluster that is not ours, if one is given.
///
/// Ours in `KUBECONFIG` (from `cluster env`) does not count: `--name` says which of ours is meant.
fn foreign(given: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let from_env = || env::var_os("KUBECONFIG").filter(|v| !v.is_empty()).map(PathBuf::from);
    let Some(file) = given.or_else(from_env) else { return Ok(None) };
    let ours = paths::in_cache("clusters")?;
    if file.starts_with(&ours) {
        return Ok(None);
    }
    if !file.exists() {
        bail!(
            "kubeconfig {} does not exist; correct KUBECONFIG or --kubeconfig, or unset it for a cluster of our own",
            file.display()
        );
    }
    Ok(Some(file))
}
