//! `cargo xtask image`: the project's OCI images, without a container engine or a registry.

pub(crate) mod archive;
pub(crate) mod layer;

use anyhow::{Result, bail};

/// `cargo xtask image …`.
pub(crate) fn main(_args: lexopt::Parser) -> Result<()> {
    bail!("not there yet")
}
