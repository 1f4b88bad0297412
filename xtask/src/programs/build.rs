//! How one program is come by, each in a folder of its own that is renamed to its place when it is whole.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::parts;
use crate::{
    debian, paths,
    pins::{self, Parts, Program, Source},
    shell::Cmd,
};

/// Brings what is needed from outside to this machine; the compiler then works offline.
pub(crate) fn download(name: &str, pin: &Program) -> Result<()> {
    match &pin.source {
        Source::Go { .. } => {
            let work = Work::new(&format!("download-{name}"))?;
            copy_sources(name, &work.0)?;
            go(&work.0).args(["mod", "download"]).quiet()
        }
        Source::Wheel { package, .. } => pip(package, &paths::in_cache("downloads")?),
        Source::C => Ok(()),
    }
}

/// Makes a program in `dir`, whole or not at all.
pub(crate) fn make(name: &str, pin: &Program, dir: &Path) -> Result<()> {
    let work = Work::new(&format!("make-{name}"))?;
    let out = work.0.join("out");
    paths::make(&out)?;
    match &pin.source {
        Source::Go { ldflags, cgo, parts } => compile_go(name, (&work.0, &out), (ldflags, *cgo), parts.as_ref())?,
        Source::Wheel { package, unpack } => take_out(package, unpack, &pin.files, &work.0, &out)?,
        Source::C => compile_c(name, &out)?,
    }
    for file in &pin.files {
        let file = out.join(super::base(file));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))
            .with_context(|| format!("{name} did not yield {}; correct `files` in xtask/pins.toml", file.display()))?;
    }
    std::fs::rename(&out, dir).with_context(|| format!("{} can not be put in its place", dir.display()))
}

/// Removes what crashed runs left. Only to be called by the holder of the lock.
pub(crate) fn sweep() -> Result<()> {
    let dir = paths::in_cache("work")?;
    let entries = std::fs::read_dir(&dir).with_context(|| format!("folder {} can not be read", dir.display()))?;
    for path in entries.flatten().map(|e| e.path()) {
        let pid = path.to_string_lossy().rsplit('-').next().map(str::to_owned).unwrap_or_default();
        // A download may be under way in another process: it needs no lock.
        if !Path::new("/proc").join(pid).exists() {
            paths::remove_dir(&path)?;
        }
    }
    Ok(())
}

/// The files of a wrapper folder, sorted.
pub(crate) fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("folder {} can not be read", dir.display()))?;
    let mut files = entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    files.retain(|f| f.is_file());
    files.sort();
    Ok(files)
}

/// A folder for work in progress, gone when the value is.
struct Work(PathBuf);

impl Work {
    fn new(name: &str) -> Result<Self> {
        let dir = paths::cache()?.join("work").join(format!("{name}-{}", std::process::id()));
        paths::remove_dir(&dir)?;
        paths::make(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What stays is swept by the next run.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Go may rewrite `go.mod` and `go.sum`, so it never works in the checkout.
fn copy_sources(name: &str, dir: &Path) -> Result<()> {
    for file in sources(&paths::package().join("programs").join(name))? {
        let to = dir.join(file.file_name().unwrap_or_default());
        std::fs::copy(&file, &to).with_context(|| format!("{} can not be copied", file.display()))?;
    }
    Ok(())
}

fn go(dir: &Path) -> Cmd {
    // GOFLAGS and GOWORK of the user's own projects must not reach in.
    Cmd::new("go").dir(dir).env("GOFLAGS", "-buildvcs=false").env("GOWORK", "off")
}

fn compile_go(
    name: &str,
    (work, out): (&Path, &Path),
    (ldflags, cgo): (&str, bool),
    parts: Option<&Parts>,
) -> Result<()> {
    copy_sources(name, work)?;
    let copy = parts.map(|parts| parts::cut(work, parts, || go(work))).transpose()?;
    // A wrapper with a main package of its own is built; one without names its program in a `tool` line.
    let target = if work.join("main.go").exists() { "." } else { "tool" };
    let flags = format!("-s -w {ldflags}");
    go(work)
        .env("CGO_ENABLED", if cgo { "1" } else { "0" })
        .args(["build", "-trimpath", "-ldflags", flags.trim(), "-o"])
        .arg(format!("{}/", out.display()))
        .arg(target)
        .quiet()
        .context("Go 1.26 or newer is needed; `go version` tells which one is on PATH")?;
    match (copy, parts) {
        (Some(copy), Some(parts)) => parts::keep(&copy, parts, out),
        _ => Ok(()),
    }
}

fn pip(package: &str, dir: &Path) -> Result<()> {
    if wheel(package, dir)?.is_some() {
        return Ok(());
    }
    if !Cmd::new("python3").args(["-m", "pip", "--version"]).ok() {
        debian::ensure(&pins::load()?.debian.python, "downloading ready programs")?;
    }
    let cmd =
        Cmd::new("python3").args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]).arg(dir).arg(package);
    cmd.quiet().context("Python's package index must answer; `python3 -m pip --version` tells whether pip works")
}

/// The downloaded file of `name==version`.
fn wheel(package: &str, dir: &Path) -> Result<Option<PathBuf>> {
    let stem = package.replacen("==", "-", 1);
    let (name, version) = stem.rsplit_once('-').with_context(|| format!("pin `{package}` is not name==version"))?;
    let start = format!("{}-{version}-", name.replace('-', "_"));
    let found =
        sources(dir)?.into_iter().find(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&start)));
    Ok(found)
}

fn take_out(package: &str, unpack: &[String], files: &[String], work: &Path, out: &Path) -> Result<()> {
    let downloads = paths::in_cache("downloads")?;
    let mut archive = wheel(package, &downloads)?.with_context(|| format!("package {package} was not downloaded"))?;
    let outermost = archive.clone();
    let mut dir = work.join("0");
    extract(&archive, &dir)?;
    for (depth, inner) in unpack.iter().enumerate() {
        archive = dir.join(inner);
        dir = work.join(format!("{}", depth + 1));
        extract(&archive, &dir)?;
    }
    for file in files {
        let from = dir.join(file);
        std::fs::rename(&from, out.join(super::base(file)))
            .with_context(|| format!("{package} has no {file}; correct `unpack` and `files` in xtask/pins.toml"))?;
    }
    // The programs are kept, so the package is not.
    std::fs::remove_file(&outermost).with_context(|| format!("{} can not be removed", outermost.display()))
}

fn extract(archive: &Path, dir: &Path) -> Result<()> {
    paths::make(dir)?;
    let name = archive.to_string_lossy();
    if name.ends_with(".tgz") || name.ends_with(".tar.gz") {
        return Cmd::new("tar").arg("-xzf").arg(archive).arg("-C").arg(dir).quiet();
    }
    if name.ends_with(".zip") || name.ends_with(".whl") {
        return Cmd::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(dir).quiet();
    }
    bail!("{name}: archives of this kind are not known; extend xtask/src/programs/build.rs")
}

fn compile_c(name: &str, out: &Path) -> Result<()> {
    let source = paths::package().join("programs").join(name).join(format!("{name}.c"));
    Cmd::new("cc")
        .args(["-Os", "-static", "-s", "-Wall", "-Werror", "-o"])
        .arg(out.join(name))
        .arg(source)
        .quiet()
        .context("a C compiler with a static libc is needed (Debian: apt-get install gcc libc6-dev)")
}
