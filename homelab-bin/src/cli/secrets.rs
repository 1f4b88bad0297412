//! `homelab secrets`: care for the store itself.

mod audit;
pub(super) mod backup;
mod export;
mod holders;
mod import;
mod policy;
pub(super) mod rekey;
mod rotate;
mod seal;
mod status;

use anyhow::Result;

use crate::args::{Global, Secrets, Slots};

pub(crate) async fn run(global: &Global, command: Secrets) -> Result<()> {
    match command {
        Secrets::Unseal { server } => seal::unseal(global, &server).await,
        Secrets::Seal { server } => seal::seal(global, &server).await,
        Secrets::Audit(command) => audit::run(command),
        Secrets::Policy(command) => policy::run(global, command).await,
        Secrets::Rotate(args) => rotate::run(global, args).await,
        Secrets::Rekey(args) => rekey::run(global, args).await,
        Secrets::Slots(Slots::List { output, server }) => status::list_slots(global, &server, output).await,
        Secrets::Slots(Slots::Remove { slot, server }) => rekey::remove(global, &server, &slot).await,
        Secrets::Status { watch, output, server } => status::status(global, &server, watch, output).await,
        Secrets::Where { path: None, output, server } => status::places(global, &server, output).await,
        Secrets::Where { path: Some(path), output, server } => holders::run(global, &server, &path, output).await,
        Secrets::Backup(args) => backup::take(global, &args).await,
        Secrets::Restore(args) => backup::restore(&args).await,
        Secrets::Export(args) => export::run(global, &args).await,
        Secrets::Import(args) => import::run(global, &args).await,
        Secrets::AcceptRollback { server } => seal::accept_rollback(global, &server).await,
    }
}
