//! A Go program of which only parts are built: its module is copied, and files that name all its parts are replaced by ours.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{paths, pins::Parts, shell::Cmd};

/// Makes `work`, a copy of the wrapper module, take the module from a copy with our files in it. Returns where that is.
pub(super) fn cut(work: &Path, parts: &Parts, go: impl Fn() -> Cmd) -> Result<PathBuf> {
    let module = &parts.module;
    let place = go().args(["list", "-m", "-f", "{{.Dir}}", module]).read()?;
    let copy = work.join("module");
    // The module cache is read-only, the copy must not be.
    Cmd::new("cp").args(["-r", "--no-preserve=mode", place.trim()]).arg(&copy).quiet()?;
    for (file, ours) in &parts.replace {
        let to = copy.join(file);
        if !to.is_file() {
            anyhow::bail!("{module} has no {file}; correct `parts.replace` in xtask/pins.toml");
        }
        paths::write(&to, paths::read(&work.join(ours))?)?;
    }
    go().args(["mod", "edit", "-replace", &format!("{module}=./module")]).quiet()?;
    Ok(copy)
}

/// Keeps files of the module beside the program.
pub(super) fn keep(copy: &Path, parts: &Parts, out: &Path) -> Result<()> {
    for file in &parts.keep {
        let from = copy.join(file);
        std::fs::copy(&from, out.join(super::base(file)))
            .with_context(|| format!("{} has no {file}; correct `parts.keep` in xtask/pins.toml", parts.module))?;
    }
    Ok(())
}
