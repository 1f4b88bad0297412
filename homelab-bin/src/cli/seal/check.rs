//! `homelab seal --check`: refuses what looks like a plain secret. It needs no server. It finds mistakes, not intent: what
//! it knows is a short list, and who wants to can commit around it.

mod tokens;

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail};
use homelab_secrets::sealed::{SUFFIX, SealedFile};
use serde_json::Value;

use super::git::Checkout;
use crate::cli::output;

/// A line that has this is not looked at.
const ALLOW: &str = "homelab:allow";

/// One thing that should not be in Git. Never holds what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    line: usize,
    what: String,
}

pub(super) async fn run(files: &[PathBuf], staged: bool) -> Result<()> {
    let mut found = Vec::new();
    for (name, content) in contents(files, staged).await? {
        found.extend(
            findings(&name, &content).into_iter().map(|Finding { line, what }| format!("{name}:{line}: {what}")),
        );
    }
    found.iter().try_for_each(|line| output::line(line))?;
    match found.len() {
        0 => Ok(()),
        n => bail!(
            "{n} plain secrets, as it seems: seal them (`homelab seal FILE`), or end the line with `# {ALLOW}` where it is none"
        ),
    }
}

async fn contents(files: &[PathBuf], staged: bool) -> Result<Vec<(String, Vec<u8>)>> {
    if !files.is_empty() {
        let read = |file: &PathBuf| {
            let bytes = bytes(file).with_context(|| format!("read {}", file.display()))?;
            Ok((file.display().to_string(), bytes))
        };
        return files.iter().map(read).collect();
    }
    let checkout = Checkout::find(Path::new(".")).await?;
    let names: &[&str] = if staged {
        &["diff", "--cached", "--name-only", "--diff-filter=ACMRT", "-z"]
    } else {
        &["ls-files", "--cached", "-z"]
    };
    let names = checkout.names(names).await?;
    let contents = checkout.staged(&names).await?;
    Ok(names.into_iter().zip(contents).filter_map(|(name, content)| Some((name, content?))).collect())
}

fn bytes(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is wrong in one file.
fn findings(name: &str, content: &[u8]) -> Vec<Finding> {
    let Ok(text) = std::str::from_utf8(content) else { return Vec::new() };
    if name.ends_with(SUFFIX) || name.ends_with(".sealed.yml") {
        return match SealedFile::from_str(text) {
            Ok(_) => Vec::new(),
            Err(error) => {
                let words = error.to_string();
                let place = words.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
                let place = place.and_then(|(n, what)| Some((n.parse().ok()?, what.to_owned())));
                let (line, what) = place.unwrap_or((1, words));
                vec![Finding { line, what: format!("not a sealed file: {what}") }]
            }
        };
    }
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let mut found = Vec::new();
    if matches!(ending, "yaml" | "yml" | "json") {
        found.extend(kubernetes(text));
    }
    let config = matches!(ending, "yaml" | "yml" | "json" | "toml" | "ini" | "conf" | "properties" | "env" | "tfvars")
        || Path::new(name).file_name().is_some_and(|name| name.to_string_lossy().starts_with(".env"));
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.contains(ALLOW)) {
        let what = tokens::known(line).map(|what| format!("holds {what}"));
        let what = what.or_else(|| {
            let key = tokens::guess(line).filter(|_| config)?;
            Some(format!("`{key}` has a value that looks like a secret"))
        });
        found.extend(what.map(|what| Finding { line: n + 1, what }));
    }
    found.sort_by_key(|finding| finding.line);
    found
}

/// Secrets of Kubernetes with values in them. What does not parse (a template) is left to the other rules.
fn kubernetes(text: &str) -> Vec<Finding> {
    let Some(line) = text.lines().position(|line| line.contains("kind") && line.contains("Secret")) else {
        return Vec::new();
    };
    if text.lines().nth(line).is_some_and(|line| line.contains(ALLOW)) {
        return Vec::new();
    }
    let documents = serde_saphyr::from_multiple::<Value>(text).unwrap_or_default();
    let plain = documents.iter().filter(|document| is_plain_secret(document)).count();
    let what = "a Kubernetes Secret with plain values (base64 hides nothing)".to_owned();
    if plain > 0 { vec![Finding { line: line + 1, what }] } else { Vec::new() }
}

fn is_plain_secret(document: &Value) -> bool {
    let filled = |part: &str| {
        let values = document[part].as_object().into_iter().flatten();
        values.filter_map(|(_, value)| value.as_str()).any(|text| !text.is_empty() && !text.contains("${"))
    };
    // Sealed by SOPS, the values are no longer plain.
    let sops = document.get("sops").is_some_and(Value::is_object);
    let list = document["items"].as_array().is_some_and(|items| items.iter().any(is_plain_secret));
    (document["kind"] == "Secret" && !sops && (filled("data") || filled("stringData"))) || list
}

#[cfg(test)]
mod tests;
