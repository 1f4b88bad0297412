//! A daemon without the part that keeps secrets: another process does, and is asked over HTTP.
#![expect(clippy::disallowed_methods, reason = "reads the token that the kubelet keeps current")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use homelab_core::client::Clients;
use homelab_secrets::Error;
use homelab_secrets::client::{Credential, RemoteConfig, RemoteVersions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::settings::Settings;
use super::{Daemon, Shared, publish};
use crate::args::Part;
use crate::cli::output;

/// How often it is looked whether the published CA is still the one that we believe.
const LOOK: Duration = Duration::from_secs(30);

/// Finds the secret server. Waits until its CA is published, which its first start does.
pub(super) async fn find(daemon: &Daemon, tasks: &mut JoinSet<Result<()>>) -> Result<Shared> {
    let settings = &daemon.settings;
    let parts = &settings.args.parts;
    if !parts.has(Part::Rollout) && parts.secrets_addr.is_none() {
        tracing::info!("no --secrets-addr: sealed files of GitSyncs are shown nowhere");
        return Ok(Shared { versions: None, sealed: None, ca_pem: String::new(), keeper: None });
    }
    let address = parts.secrets_addr.clone().unwrap_or_else(|| settings.secrets_url.clone());
    let client = daemon.clients.own();
    let ca_pem =
        daemon.retry("the CA of the secret server", async || publish::published(&client, &settings.home).await).await?;
    let file = parts.secrets_token.clone();
    let credential: Credential = Arc::new(move || token(&file));
    let config = RemoteConfig { address, ca_pem: Some(ca_pem.clone()), credential };
    tracing::info!(address = config.address, "secrets are kept by another process");
    let versions = Arc::new(RemoteVersions::new(config)?);
    tasks.spawn(follow(daemon.clients.clone(), Arc::clone(settings), ca_pem.clone(), daemon.stop.clone()));
    Ok(Shared { versions: Some(versions.clone()), sealed: Some(versions), ca_pem, keeper: None })
}

/// Read at each login: the kubelet writes a new one long before the old one ends.
fn token(file: &Path) -> Result<Zeroizing<String>, Error> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|error| {
        Error::Backend(format!(
            "read the token for the secret server, {}: {error}; it has to be a projected ServiceAccount token for the \
             audience homelab (--secrets-token names another file)",
            file.display()
        ))
    })?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Ends the process when another CA is published: pods that are started get the CA from us, and have to believe it.
async fn follow(clients: Clients, settings: Arc<Settings>, known: String, stop: CancellationToken) -> Result<()> {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        match publish::published(&clients.own(), &settings.home).await {
            Ok(ca) if ca != known => {
                bail!("the secret server has another CA than at our start: this process ends, to start with that one")
            }
            Ok(_) => {}
            Err(error) => tracing::debug!("{}", output::chain(&error)),
        }
    }
    Ok(())
}

/// Complains early about what can not work later.
pub(super) fn check(settings: &Settings) -> Result<()> {
    settings.args.parts.check().map_err(anyhow::Error::msg)?;
    match settings.args.parts.secrets_addr.as_deref().filter(|url| !url.starts_with("https://")) {
        Some(url) => Err(anyhow::anyhow!("it is no https:// URL")).with_context(|| format!("--secrets-addr {url}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use homelab_core::class::Class;

    use super::*;

    #[test]
    fn the_token_is_read_anew_each_time_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let error = token(&file).expect_err("there is none");
        assert!(error.class() == Class::Retry && error.to_string().contains("--secrets-token"), "{error}");
        for text in ["one\n", "two"] {
            std::fs::write(&file, text).expect("written");
            assert_eq!(*token(&file).expect("a token"), text.trim());
        }
    }
}
