//! `homelab secrets`: care for the store itself.

mod audit;

use anyhow::Result;

use crate::args::Secrets;

pub(crate) fn run(command: Secrets) -> Result<()> {
    match command {
        Secrets::Audit(command) => audit::run(command),
    }
}
