//! `homelab secrets unseal` and `seal`.

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use zeroize::Zeroizing;

use crate::args::{Global, Server};
use crate::cli::kv::client::Client;
use crate::cli::output;

pub(super) async fn unseal(global: &Global, server: &Server) -> Result<()> {
    let client = Client::find(global, server).await?;
    let key = key()?;
    ensure!(
        !key.trim().is_empty(),
        "no key was given: a key file's text, a passphrase, a recovery key or age identities"
    );
    if !client.unseal(key.trim()).await? {
        bail!("the store is still sealed");
    }
    output::note("the store is open");
    Ok(())
}

pub(super) async fn seal(global: &Global, server: &Server) -> Result<()> {
    Client::connect(global, server).await?.seal().await?;
    output::note("the store is sealed: nothing can be read or written until `homelab secrets unseal`");
    Ok(())
}

/// Goes on with a store that was put back.
pub(super) async fn accept_rollback(global: &Global, server: &Server) -> Result<()> {
    let client = Client::connect(global, server).await?;
    client.call(Method::POST, "sys/homelab/accept-rollback", None, "accept the store as it is").await?;
    output::note("the store is accepted as it is, and takes writes; what was written after that state is lost");
    Ok(())
}

/// From stdin; from a terminal without being shown.
fn key() -> Result<Zeroizing<String>> {
    if std::io::stdin().is_terminal() {
        let typed = rpassword::prompt_password("Key file's text, passphrase or recovery key: ");
        return typed.map(Zeroizing::new).context("read the key from the terminal");
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(64 * 1024).read_to_string(&mut text).context("read the key from stdin")?;
    Ok(text)
}
