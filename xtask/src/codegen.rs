//! `cargo xtask codegen`: CRDs and JSON schemas, as `homelab print-crds` prints them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use lexopt::Arg;

use crate::{
    cargo, paths,
    shell::{Cmd, say},
};

const CRDS: &str = "charts/homelab/crds";
const SCHEMAS: &str = "docs/schemas";

/// `cargo xtask codegen …`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let mut check = false;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("check") => check = true,
            other => return Err(other.unexpected().into()),
        }
    }
    run(check)
}

/// Writes the files, or only checks that they are as they would be written.
pub(crate) fn run(check: bool) -> Result<()> {
    let homelab = cargo::HOMELAB.build()?;
    let top = paths::workspace();
    let mut stale = settle(&top, CRDS, "yaml", &crds(&homelab)?, check)?;
    stale.extend(settle(&top, SCHEMAS, "json", &schemas(&homelab)?, check)?);
    if check && !stale.is_empty() {
        bail!(
            "these generated files are not as the code would write them: {}; run `cargo xtask codegen` and commit them",
            stale.join(", ")
        );
    }
    say(if stale.is_empty() {
        "generated files are as they should be".to_owned()
    } else {
        format!("written: {}", stale.join(", "))
    });
    Ok(())
}

/// File name → content of each CRD.
fn crds(homelab: &Path) -> Result<BTreeMap<String, String>> {
    let printed = Cmd::new(homelab).arg("print-crds").read().context("`homelab print-crds` must print the CRDs")?;
    split(&printed)
}

/// File name → content of each JSON schema.
fn schemas(homelab: &Path) -> Result<BTreeMap<String, String>> {
    let dir = paths::workspace().join("target/schemas");
    paths::remove_dir(&dir)?;
    paths::make(&dir)?;
    Cmd::new(homelab)
        .args(["print-crds", "--schemas"])
        .arg(&dir)
        .quiet()
        .context("`homelab print-crds --schemas DIR` must write the schemas")?;
    read(&dir, "json")
}

/// Takes a YAML stream apart into one file for each CRD, named as the CRD is.
fn split(stream: &str) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut document = String::new();
    for line in stream.lines().chain(["---"]) {
        if line.trim_end() != "---" {
            document += line;
            document.push('\n');
            continue;
        }
        let whole = std::mem::take(&mut document);
        if whole.trim().is_empty() {
            continue;
        }
        let name = name_of(&whole).context("a CRD that `homelab print-crds` printed has no metadata.name")?;
        files.insert(format!("{name}.yaml"), whole);
    }
    Ok(files)
}

/// `metadata.name` of a document in block style.
fn name_of(document: &str) -> Option<&str> {
    let mut lines = document.lines().skip_while(|l| l.trim_end() != "metadata:").skip(1);
    lines
        .by_ref()
        .take_while(|l| l.starts_with(' '))
        .find_map(|l| l.trim().strip_prefix("name:"))
        .map(|n| n.trim().trim_matches('"'))
}

/// The files with this ending in a folder; a missing folder has none.
fn read(dir: &Path, ending: &str) -> Result<BTreeMap<String, String>> {
    let paths: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    let ours = paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == ending));
    ours.map(|p| Ok((p.file_name().unwrap_or_default().to_string_lossy().into_owned(), paths::read(&p)?))).collect()
}

/// Makes a folder hold exactly these files. Returns which ones were or would be changed.
fn settle(
    top: &Path,
    folder: &str,
    ending: &str,
    wanted: &BTreeMap<String, String>,
    check: bool,
) -> Result<Vec<String>> {
    let dir = top.join(folder);
    let there = read(&dir, ending)?;
    let changed: Vec<&String> =
        wanted.iter().filter(|(name, text)| there.get(*name) != Some(text)).map(|(name, _)| name).collect();
    let surplus: Vec<&String> = there.keys().filter(|name| !wanted.contains_key(*name)).collect();
    if !check {
        paths::make(&dir)?;
        for name in &changed {
            paths::write(&dir.join(name), &wanted[*name])?;
        }
        for name in &surplus {
            std::fs::remove_file(dir.join(name)).with_context(|| format!("{folder}/{name} can not be removed"))?;
        }
    }
    Ok(changed.into_iter().chain(surplus).map(|name| format!("{folder}/{name}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_becomes_files_named_as_the_crds_are() {
        let stream = "---\nkind: CustomResourceDefinition\nmetadata:\n  labels: {}\n  name: apps.homelab.dev\nspec:\n  name: no\n---\nmetadata:\n  name: b\n";
        let files = split(stream).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["apps.homelab.dev.yaml", "b.yaml"]);
        assert!(files["apps.homelab.dev.yaml"].ends_with("name: no\n"));
        assert!(split("kind: X\n").is_err());
    }
}
