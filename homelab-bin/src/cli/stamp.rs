//! `homelab stamp`: what Helm runs on the objects that it rendered.
#![expect(
    clippy::disallowed_methods,
    reason = "Helm hands over its post-renderer's input by environment, file and stdin"
)]

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use homelab_rollout::stamp::{self, StampInput};

use super::output;
use crate::adapters::injector::Injector;

pub(crate) fn run() -> Result<()> {
    let file = std::env::var_os("HOMELAB_STAMP")
        .map(PathBuf::from)
        .context("HOMELAB_STAMP names no file: `homelab stamp` is run by Helm, not by people")?;
    let result = stamped(&file);
    if let Err(error) = &result {
        // Helm swallows what a plugin says on stderr: the daemon reads this file instead.
        let mut name = file.into_os_string();
        name.push(".error");
        std::fs::write(PathBuf::from(name), output::chain(error)).context("write down why the stamp failed")?;
    }
    output::bytes(result?.as_bytes())
}

fn stamped(file: &PathBuf) -> Result<String> {
    let input = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let input = StampInput::read(&input)?;
    let injector = Injector::from_json(&input.injector)?;
    let mut objects = String::new();
    std::io::stdin().read_to_string(&mut objects).context("read the rendered objects")?;
    Ok(stamp::run(&objects, &input, &injector)?)
}
