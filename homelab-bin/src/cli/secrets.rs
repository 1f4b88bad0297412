//! `homelab secrets`: care for the store itself.

mod audit;
mod seal;

use anyhow::Result;

use crate::args::{Global, Secrets};

pub(crate) async fn run(global: &Global, command: Secrets) -> Result<()> {
    match command {
        Secrets::Unseal { server } => seal::unseal(global, &server).await,
        Secrets::Seal { server } => seal::seal(global, &server).await,
        Secrets::Audit(command) => audit::run(command),
        Secrets::Rotate { git, server } => super::seal::rotate(global, &server, &git).await,
    }
}
