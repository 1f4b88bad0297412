//! Programs from outside: built or downloaded once, kept in the cache by pin, found under one folder.

mod build;
mod parts;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{
    lock, paths,
    pins::{self, Program, Source},
    shell::{during, human, say},
};

/// The programs of a cluster's node and control plane.
pub(crate) const CLUSTER: &[&str] = &["pause", "helm-kubectl", "kubernetes", "etcd", "coredns", "kustomize"];
/// The programs that the project's image carries.
pub(crate) const IMAGE: &[&str] = &["helm-kubectl", "kustomize"];
/// Clients of the secret server, and what they are compared with.
pub(crate) const CLIENTS: &[&str] = &["openbao", "seaweedfs", "hvac", "requests", "urllib3", "certifi", "idna"];
/// External Secrets' controller, and the definitions of its kinds.
pub(crate) const EXTERNAL_SECRETS: &[&str] = &["external-secrets"];
/// The programs that run the checks.
pub(crate) const CHECKS: &[&str] = &["cargo-nextest", "cargo-deny"];

/// Programs that are there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    files: BTreeMap<String, PathBuf>,
}

impl Programs {
    /// Where a program of this file name is.
    pub(crate) fn path(&self, file: &str) -> Result<&Path> {
        self.files.get(file).map(PathBuf::as_path).with_context(|| format!("no pin in xtask/pins.toml yields `{file}`"))
    }

    /// What changes when any of the programs does.
    pub(crate) fn fingerprint(&self) -> String {
        self.files.values().map(|p| p.to_string_lossy().into_owned()).collect::<Vec<_>>().join("\n")
    }
}

/// A pin with the place that its programs have in the cache.
struct Wanted {
    name: String,
    pin: Program,
    dir: PathBuf,
}

/// Sees that the programs of these pins are in the cache.
///
/// Downloads overlap with each other and with the one compiler that runs; compilers never fight for the cores.
pub(crate) fn ensure(names: &[&str]) -> Result<Programs> {
    let wanted = wanted(names)?;
    if wanted.iter().any(|w| !w.dir.exists()) {
        let _lock = lock::take("programs")?;
        build::sweep()?;
        let missing: Vec<&Wanted> = wanted.iter().filter(|w| !w.dir.exists()).collect();
        make(&missing)?;
    }
    link(&wanted)?;
    let files = wanted.iter().flat_map(|w| w.pin.files.iter().map(|f| (base(f), w.dir.join(base(f)))));
    Ok(Programs { files: files.collect() })
}

/// Starts the downloads of these pins' modules and packages, and returns at once with a handle to wait for.
pub(crate) fn prefetch(names: &'static [&'static str]) -> thread::JoinHandle<Result<()>> {
    thread::spawn(move || {
        for w in wanted(names)?.iter().filter(|w| !w.dir.exists()) {
            build::download(&w.name, &w.pin)?;
        }
        Ok(())
    })
}

/// The folder with a link to every program, for PATH.
pub(crate) fn current() -> Result<PathBuf> {
    paths::in_cache("bin/current")
}

fn wanted(names: &[&str]) -> Result<Vec<Wanted>> {
    let pins = pins::load()?;
    let bin = paths::in_cache("bin")?;
    let one = |name: &&str| {
        let pin =
            pins.programs.get(*name).with_context(|| format!("xtask/pins.toml has no [programs.{name}]"))?.clone();
        let dir = bin.join(format!("{name}-{}-{}", pin.version, &hash(name, &pin)?[..8]));
        Ok(Wanted { name: (*name).to_owned(), pin, dir })
    };
    names.iter().map(one).collect()
}

fn make(missing: &[&Wanted]) -> Result<()> {
    let total = missing.iter().map(|w| w.pin.seconds).sum();
    let names: Vec<&str> = missing.iter().map(|w| w.name.as_str()).collect();
    say(format!(
        "making programs that are not in the cache yet: {} (about {} in all, once for each pinned version)",
        names.join(", "),
        human(Duration::from_secs(total))
    ));
    thread::scope(|scope| {
        let (sender, downloads) = mpsc::channel();
        scope.spawn(move || {
            for w in missing {
                let result = build::download(&w.name, &w.pin);
                if sender.send((*w, result)).is_err() {
                    return;
                }
            }
        });
        for (w, result) in downloads {
            result.with_context(|| format!("program {} {} can not be downloaded", w.name, w.pin.version))?;
            let title = format!("{} {} {}", verb(&w.pin.source), w.name, w.pin.version);
            during(&title, Duration::from_secs(w.pin.seconds), || build::make(&w.name, &w.pin, &w.dir))
                .with_context(|| format!("program {} {} can not be made", w.name, w.pin.version))?;
        }
        Ok(())
    })
}

fn verb(source: &Source) -> &'static str {
    match source {
        Source::Go { .. } | Source::C => "compiling",
        Source::Wheel { .. } => "unpacking",
    }
}

/// Changes when the pin or a file of the wrapper module does.
fn hash(name: &str, pin: &Program) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(pin)?);
    let dir = paths::package().join("programs").join(name);
    if dir.exists() {
        for file in build::sources(&dir)? {
            hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update(std::fs::read(&file).with_context(|| format!("{} can not be read", file.display()))?);
        }
    }
    Ok(hex(&hash.finalize()))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn base(file: &str) -> String {
    file.rsplit('/').next().unwrap_or(file).to_owned()
}

fn link(wanted: &[Wanted]) -> Result<()> {
    let dir = current()?;
    let git = paths::which("git").map(|p| ("git".to_owned(), p));
    let files = wanted.iter().flat_map(|w| w.pin.files.iter().map(|f| (base(f), w.dir.join(base(f)))));
    for (name, target) in files.chain(git) {
        let place = dir.join(&name);
        if std::fs::read_link(&place).is_ok_and(|t| t == target) {
            continue;
        }
        let part = dir.join(format!(".{name}-{}", std::process::id()));
        std::os::unix::fs::symlink(&target, &part)
            .and_then(|()| std::fs::rename(&part, &place))
            .with_context(|| format!("link {} can not be made", place.display()))?;
    }
    Ok(())
}
