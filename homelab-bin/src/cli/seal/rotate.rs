//! A new epoch for all sealed files of a checkout, to be committed at once.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use homelab_secrets::sealed::SealedFile;

use super::git::Checkout;
use super::{Remote, parse, read, write};
use crate::args::{Global, Server};
use crate::cli::output;

/// Makes a new epoch and reseals every sealed file of the checkout that `folder` is in. Nothing is written before all
/// of them could be resealed; called again after a failure it goes on with the epoch that is there.
pub(crate) async fn run(global: &Global, server: &Server, folder: &Path) -> Result<()> {
    let checkout = Checkout::find(folder).await?;
    let names = checkout.sealed_files().await?;
    if names.is_empty() {
        bail!("{} tracks no sealed files", checkout.top.display());
    }
    clean(&checkout, &names).await?;
    let files = names.iter().map(|name| sealed(&checkout.top.join(name))).collect::<Result<Vec<_>>>()?;
    let repository = one_repository(&files)?;
    let remote = Remote::connect(global, server).await?;
    let mut known = remote.repository(&repository).await?;
    // In the epoch that is there: what is broken or forbidden shows before there is a new one.
    for file in &files {
        remote.reseal(file).await?;
    }
    let newest = files.iter().flat_map(SealedFile::epochs).max().unwrap_or(known.epoch);
    if newest >= known.epoch {
        known = remote.rotate(&repository, known.epoch).await?;
    }
    let mut resealed = Vec::new();
    for file in &files {
        resealed.push(remote.reseal(file).await?.to_string());
    }
    for (name, text) in names.iter().zip(&resealed) {
        write(&checkout.top.join(name), text)?;
    }
    let (count, epoch) = (names.len(), known.epoch);
    output::note(&format!(
        "repository {repository} is in epoch {epoch}, and its {count} sealed files here are resealed: commit them in one \
         commit. Earlier commits still open by earlier epochs; to change a secret that leaked, change its value"
    ));
    Ok(())
}

fn sealed(file: &Path) -> Result<SealedFile> {
    parse(file, &read(file)?)
}

/// All in one commit: nothing else may be in the way.
async fn clean(checkout: &Checkout, names: &[String]) -> Result<()> {
    let mut args = vec!["status", "--porcelain", "--untracked-files=no", "--"];
    args.extend(names.iter().map(String::as_str));
    let changed = checkout.ask(&args).await?;
    if !changed.is_empty() {
        bail!("these sealed files have changes that are not committed; commit them first:\n{}", changed.trim_end());
    }
    Ok(())
}

fn one_repository(files: &[SealedFile]) -> Result<String> {
    let names: BTreeSet<_> = files.iter().map(|file| file.repository().to_string()).collect();
    let all = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 1 {
        bail!("the sealed files here belong to several repositories ({all}); a checkout holds those of one");
    }
    Ok(all)
}
