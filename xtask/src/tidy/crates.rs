//! Which crate may depend on which, and what a library is without its features.

use anyhow::{Context, Result};
use serde_json::Value;

use super::File;
use crate::cargo::cargo;

/// The libraries, which never depend on each other.
const LIBRARIES: [&str; 4] = ["homelab-secrets", "homelab-gitops", "homelab-rollout", "homelab-mesh"];
/// What all of them may depend on.
const CORE: &str = "homelab-core";
/// Crates that reach outside: none of them is in a library's tree without features.
const IMPURE: [&str; 7] = ["tokio", "kube-client", "kube-runtime", "gix", "reqwest", "hyper", "axum"];
/// Crates that automation does without, so that its first build stays short.
const HEAVY: [&str; 6] = ["tokio", "kube", "k8s-openapi", "reqwest", "hyper", "clap"];
/// Lines of homelab-core without tests.
const LARGEST_CORE: usize = 3_000;

/// Findings about the workspace's crates.
pub(super) fn check(files: &[File]) -> Result<Vec<String>> {
    let metadata = cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]).read()?;
    let metadata: Value = serde_json::from_str(&metadata).context("`cargo metadata` did not print JSON")?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` named no packages")?;
    let mut found: Vec<String> = packages.iter().flat_map(edges).collect();
    for library in LIBRARIES.iter().chain([&CORE]) {
        found.extend(without_features(library)?);
    }
    found.extend(
        tree("xtask", &[])?
            .into_iter()
            .filter(|c| HEAVY.contains(&c.as_str()))
            .map(|c| format!("xtask/Cargo.toml: {c} is too heavy for automation: do it with a program instead")),
    );
    found.extend(core_size(files));
    Ok(found)
}

/// Findings about one package's own dependencies and features.
fn edges(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    if !LIBRARIES.contains(&name) && name != CORE {
        return found;
    }
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let other = dependency["name"].as_str().unwrap_or_default();
        if LIBRARIES.contains(&other) {
            found.push(format!("{name}/Cargo.toml: {name} depends on {other}: own the trait here and let homelab-bin/src/adapters join them"));
        }
    }
    let defaults = package["features"]["default"].as_array().map_or(0, Vec::len);
    if defaults > 0 {
        found.push(format!("{name}/Cargo.toml: has default features: `default = []`, pure is the default"));
    }
    found
}

fn without_features(library: &str) -> Result<Vec<String>> {
    let crates = tree(library, &["--no-default-features"])?;
    let bad = crates.into_iter().filter(|c| IMPURE.contains(&c.as_str()));
    Ok(bad
        .map(|c| {
            format!("{library}/Cargo.toml: without features it still has {c} in its tree: make what needs it optional")
        })
        .collect())
}

/// The names of the crates that a package is built from.
fn tree(package: &str, extra: &[&str]) -> Result<Vec<String>> {
    let cmd = cargo()
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package", package])
        .args(extra);
    let mut names: Vec<String> = cmd.read()?.lines().filter_map(|l| l.split(' ').next().map(str::to_owned)).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn core_size(files: &[File]) -> Option<String> {
    let sources = files.iter().filter(|f| f.path.starts_with("homelab-core/src/") && f.is_rust() && !f.is_test());
    let lines: usize = sources.map(|f| f.code().len()).sum();
    (lines > LARGEST_CORE).then(|| format!("homelab-core: {lines} lines without tests, more than {LARGEST_CORE}: a module belongs there only with its second user"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_library_that_uses_another_and_a_default_feature_are_found() {
        let package = json!({
            "name": "homelab-mesh", "features": {"default": ["client"]},
            "dependencies": [{"name": "homelab-core"}, {"name": "homelab-gitops"}],
        });
        assert_eq!(edges(&package).len(), 2);
        assert_eq!(
            edges(&json!({"name": "homelab-bin", "features": {}, "dependencies": [{"name": "homelab-mesh"}]})).len(),
            0
        );
    }
}
