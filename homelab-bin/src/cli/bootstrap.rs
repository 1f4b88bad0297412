//! `homelab bootstrap`: from an empty cluster to one that holds what a repository says, with a new store or one from its
//! backup.
//!
//! Each step looks at what is there first, so a run that was cut off is run again. What can be checked before anything is
//! touched, is: that the key opens the backup, above all.
#![expect(clippy::disallowed_methods, reason = "a deadline looks at the clock")]

mod chart;
mod home;
mod lost;
mod waiting;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use reqwest::Method;

use self::lost::Lost;
use self::waiting::Deadline;
use super::cluster::Cluster;
use super::kv::Client;
use super::output;
use super::secrets::rekey;
use crate::args::{self, Global, Server};

/// Kubernetes' minor version that the daemon needs.
const MINOR: u32 = 33;

pub(crate) async fn run(global: &Global, args: args::Bootstrap) -> Result<()> {
    let (start, deadline) = (Instant::now(), Deadline::after(args.timeout));
    let cluster = Cluster::connect(global).await?;
    supported(&cluster).await?;
    if let Some(file) = args.recovery_out.as_deref().filter(|file| file.exists()) {
        bail!("{} is there already: a recovery key never writes over another file", file.display());
    }
    let lost = match (&args.backup, &args.recovery) {
        (Some(backup), Some(recovery)) => Some(Lost::proved(backup, recovery).await?),
        _ => None,
    };
    home::check(&args.repository)?;
    chart::install(global, &cluster, &args.chart, lost.is_some()).await?;
    if let Some(lost) = &lost {
        lost.bring_back(global, &cluster, &deadline).await?;
    }
    waiting::daemon(&cluster, &deadline).await?;
    let client = waiting::admin(global, &deadline).await?;
    match &lost {
        Some(lost) => lost.proof.remember(&client).await,
        None => recovery(&client, args.recovery_out.as_deref()).await?,
    }
    if args.repository.url.is_some() {
        home::follow(&cluster, &args.repository).await?;
        home::ready(&cluster, &deadline).await?;
    }
    output::note(&format!("done in {}", waiting::minutes(start.elapsed())));
    output::note(
        "`homelab doctor` looks whether it would come back after a power cut, `homelab secrets backup FILE` keeps the store",
    );
    Ok(())
}

async fn supported(cluster: &Cluster) -> Result<()> {
    let version = cluster.client.apiserver_version().await;
    let version = version.map_err(|error| super::cluster::failed("ask the API server for its version", &error))?;
    let digits = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default();
    let (major, minor): (u32, u32) = (digits(&version.major), digits(&version.minor));
    if (major, minor) < (1, MINOR) {
        bail!("this is Kubernetes {major}.{minor}, homelab needs 1.{MINOR} or newer: update the cluster first");
    }
    output::note(&format!(
        "Kubernetes {} answers; homelab belongs into namespace {}",
        version.git_version, cluster.daemon
    ));
    Ok(())
}

/// A recovery key, unless there is one: in `file`, else on the screen.
async fn recovery(client: &Client, file: Option<&std::path::Path>) -> Result<()> {
    let keys = client.call(Method::GET, "sys/homelab/keys", None, "look at the ways to open the store").await?;
    let slots = keys["data"]["slots"].as_array();
    if slots.into_iter().flatten().any(|slot| slot["kind"] == "recovery key") {
        output::note("the store has a recovery key already, which was shown when it was made");
        return Ok(());
    }
    let key = rekey::recovery_key()?;
    if let Some(file) = file {
        rekey::make_file(file, &format!("{}\n", *key)).with_context(|| format!("make {}", file.display()))?;
        rekey::add_recovery(client, &key, None, || Ok(())).await?;
        output::note(&format!(
            "the recovery key is in {}: keep it elsewhere, it opens the store and every backup",
            file.display()
        ));
        return Ok(());
    }
    rekey::add_recovery(client, &key, None, || rekey::recovery::show(&key)).await
}

/// The daemon of the cluster, without flags of its own.
fn server() -> Server {
    Server::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_together_is_asked_for_together() {
        use clap::Parser as _;
        let parse = |flags: &[&str]| args::Args::try_parse_from(["homelab", "bootstrap"].iter().chain(flags));
        assert!(parse(&[]).is_ok());
        assert!(parse(&["--backup", "a", "--recovery", "b", "--repo", "https://git.example/me/home.git"]).is_ok());
        for wrong in [&["--backup", "a"][..], &["--recovery", "a"], &["--branch", "main"], &["--repo-user", "me"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
