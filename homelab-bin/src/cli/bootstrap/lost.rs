//! A store that is lost, and its backup.
#![expect(clippy::disallowed_methods, reason = "reads the files that somebody names")]

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use homelab_core::meta::Account;
use reqwest::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::server;
use super::waiting::Deadline;
use crate::adapters::backups;
use crate::args::Global;
use crate::cli::cluster::Cluster;
use crate::cli::kv::{Client, service_account_token};
use crate::cli::output;
use crate::cli::secrets::backup::{self, Proof};
use crate::daemon::OWNER;

/// A backup that is known to be whole, with what opens it.
pub(super) struct Lost {
    backup: Vec<u8>,
    key: Zeroizing<String>,
    pub(super) proof: Proof,
}

impl Lost {
    /// Reads both, and sees that the key opens all of the backup.
    pub(super) async fn proved(backup: &str, key: &Path) -> Result<Self> {
        let (name, bytes) = match backups::is_remote(backup) {
            true => backups::fetch(backup, &std::env::temp_dir()).await?,
            false => (backup.to_owned(), std::fs::read(backup).with_context(|| format!("read the backup {backup}"))?),
        };
        let proof = backup::prove(&bytes, key).await.with_context(|| format!("try the backup {name}"))?;
        output::note(&format!("{name}: {}", proof.words()));
        let read = |file: &Path| format!("read {}", file.display());
        let text = std::fs::read_to_string(key).map(Zeroizing::new).with_context(|| read(key))?;
        Ok(Self { backup: bytes, key: text, proof })
    }

    /// Puts it back where the daemon waits for it, and opens it. Where a store is, only its seal is opened.
    pub(super) async fn bring_back(&self, global: &Global, cluster: &Cluster, deadline: &Deadline) -> Result<()> {
        let client = deadline.until("the daemon to answer", async || {
            let client = Client::find(global, &server()).await?;
            seal(&client).await?;
            Ok(client)
        });
        let client = client.await?;
        let mut state = seal(&client).await?;
        if state["initialized"] == json!(false) {
            let jwt = service_account_token(cluster, &Account::new(&cluster.daemon, OWNER)).await;
            let jwt = jwt.context("the chart's homelab-admin puts backups back (bootstrap.adminAccount)")?;
            let answer = client.restore(&jwt, self.backup.clone()).await?;
            output::note(&format!(
                "the store of {} is put back",
                answer["data"]["made"].as_str().unwrap_or("the backup")
            ));
            state = seal(&client).await?;
        } else {
            output::note("the cluster has a store already: nothing is put back");
        }
        if state["sealed"] == json!(true) && !client.unseal(self.key.trim()).await? {
            bail!("the store stays sealed");
        }
        Ok(())
    }
}

async fn seal(client: &Client) -> Result<Value> {
    client.call(Method::GET, "sys/seal-status", None, "look at the seal").await
}
