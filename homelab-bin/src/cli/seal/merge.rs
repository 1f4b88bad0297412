//! Git's merge driver: BASE OURS THEIRS, the result goes into OURS; ends badly when something is left to a person.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use homelab_core::process::Program;
use homelab_secrets::sealed::{Merged, SealedFile, Side, merge};

use super::{parse, read, write};

pub(super) async fn run(files: &[PathBuf]) -> Result<()> {
    let [base, ours, theirs] = files else {
        bail!("--merge takes BASE OURS THEIRS and is run by `git merge`");
    };
    match by_field(base, ours, theirs) {
        Ok(Merged { text, conflicts }) => {
            write(ours, &text)?;
            if conflicts.is_empty() {
                return Ok(());
            }
            bail!(
                "both sides changed {}: keep one value of each, or edit it anew after the merge",
                conflicts.join(", ")
            )
        }
        // A side that is no sealed file is left to Git's own merge, which marks what it can not do.
        Err(error) => {
            let merged = Program::new("git").arg("merge-file").args([ours, base, theirs]).run().await?;
            match merged.status.success() {
                true => Ok(()),
                false => bail!("{error:#}; merged line by line instead"),
            }
        }
    }
}

fn by_field(base: &Path, ours: &Path, theirs: &Path) -> Result<Merged> {
    let (before, left, right) = (read(base)?, read(ours)?, read(theirs)?);
    // Git hands over an empty file where both sides made the file.
    let before = if before.trim().is_empty() { None } else { Some(parse(base, &before)?) };
    let (left, right): (SealedFile, SealedFile) = (parse(ours, &left)?, parse(theirs, &right)?);
    let (ours, theirs) = (Side { label: "ours", file: &left }, Side { label: "theirs", file: &right });
    Ok(merge(before.as_ref(), ours, theirs)?)
}
