//! `homelab seal --install`: what a checkout needs. Each part is left alone when it is there already.
#![expect(clippy::disallowed_methods, reason = "reads and writes the checkout's .gitattributes and hooks")]

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use homelab_secrets::sealed::{RepositoryName, SUFFIX};

use super::git::{self, Checkout};
use super::{Remote, write};
use crate::args::{Global, Server};
use crate::cli::output;

/// What Git is told. Never cache what textconv prints: Git would keep the open values in its notes.
const CONFIG: [(&str, &str); 4] = [
    ("diff.homelab.textconv", "homelab seal --textconv"),
    ("diff.homelab.cachetextconv", "false"),
    ("merge.homelab.name", "sealed files, by field"),
    ("merge.homelab.driver", "homelab seal --merge %O %A %B"),
];
const CHECK: &str = "homelab seal --check --staged";
/// `pre-commit` is not run for the commit of a merge.
const HOOKS: [&str; 2] = ["pre-commit", "pre-merge-commit"];

pub(super) async fn run(global: &Global, server: &Server, repository: Option<&str>) -> Result<()> {
    let checkout = Checkout::find(Path::new(".")).await?;
    let name = match repository {
        Some(name) => name.to_owned(),
        None => git::repository(&checkout)
            .await?
            .context("name the repository with --repository, as in --repository home: it is made if there is none")?,
    };
    RepositoryName::parse(&name)?;
    attributes(&checkout.top)?;
    for (key, value) in CONFIG.into_iter().chain([("homelab.repository", name.as_str())]) {
        checkout.ask(&["config", "--local", key, value]).await?;
    }
    for hook in HOOKS {
        let file = checkout.ask(&["rev-parse", "--git-path", &format!("hooks/{hook}")]).await?;
        install_hook(hook, &checkout.top.join(file.trim_end_matches('\n')))?;
    }
    output::note("this checkout is set up: diffs and merges of sealed files, and the check in front of a commit");
    server_side(global, server, &name).await
}

/// The repository's key. Who may not make one can still work with those that are there.
async fn server_side(global: &Global, server: &Server, name: &str) -> Result<()> {
    let remote = Remote::connect(global, server).await.context("the repository's key could not be looked up")?;
    if let Ok(found) = remote.repository(name).await {
        output::note(&format!("repository {name} ({}) is in epoch {}", found.id, found.epoch));
        return Ok(());
    }
    let (made, new) = remote.create(name).await?;
    let words = if new { "has a new key" } else { "is there" };
    output::note(&format!("repository {name} ({}) {words}, epoch {}", made.id, made.epoch));
    Ok(())
}

fn attributes(top: &Path) -> Result<()> {
    let file = top.join(".gitattributes");
    let line = format!("*{SUFFIX} text eol=lf diff=homelab merge=homelab");
    let found = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        other => other.with_context(|| format!("read {}", file.display()))?,
    };
    if found.lines().any(|known| known.trim() == line) {
        return Ok(());
    }
    let gap = if found.is_empty() || found.ends_with('\n') { "" } else { "\n" };
    write(&file, &format!("{found}{gap}{line}\n"))?;
    output::note(&format!("added to {}, which belongs into Git: {line}", file.display()));
    Ok(())
}

fn install_hook(hook: &str, file: &Path) -> Result<()> {
    match std::fs::read_to_string(file) {
        Ok(text) if text.contains("homelab seal --check") => Ok(()),
        Ok(_) => {
            output::note(&format!(
                "there is a {hook} hook already; add this line to {}: {CHECK} || exit 1",
                file.display()
            ));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            write(file, &format!("#!/bin/sh\nexec {CHECK}\n"))?;
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))
                .with_context(|| format!("make {} executable", file.display()))
        }
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}
