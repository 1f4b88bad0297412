//! Many secrets into a backup, and back.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::{Access, jwt};
use crate::bench::Number;
use crate::case::Case;

const SECRETS: usize = 10_000;
const AT_ONCE: usize = 16;

pub(super) async fn measure(case: &Case, access: &Access) -> Result<Vec<Number>> {
    let token = access.login(&jwt(case, "homelab-admin").await?).await?;
    let put = |n: usize| {
        let url = format!("{}/v1/kv/data/{}/many/{n}", access.address, case.namespace);
        let value = json!({"data": {"user": format!("user-{n}"), "password": format!("{n:032}")}});
        let request = access.http.post(url).header("X-Vault-Token", &token).json(&value);
        async move { request.send().await?.error_for_status().map(drop) }
    };
    stream::iter(0..SECRETS).map(put).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;

    let named = |name: &str| access.folder.path().join(name).display().to_string();
    let (backup, key) = (named("store.backup"), case.daemon.data().join("store.key").display().to_string());
    let taken = timed(case, &["secrets", "backup", &backup]).await?;
    let proved = timed(case, &["secrets", "backup", &named("proved"), "--verify-recovery", &key]).await?;
    let restored = timed(case, &["secrets", "restore", &backup, "--data-dir", &named("again")]).await?;
    let size = std::fs::metadata(&backup)?.len() as f64 / 1e6;
    Ok(vec![
        Number::new(format!("backup of {SECRETS} secrets"), taken, "s"),
        Number::new("the same, put back into memory and opened", proved, "s"),
        Number::new("its size", size, "MB"),
        Number::new(format!("restore of {SECRETS} secrets, on the disk"), restored, "s"),
    ])
}

async fn timed(case: &Case, args: &[&str]) -> Result<f64> {
    let start = Instant::now();
    let output = case.daemon.cli(&case.cluster, args.iter().copied()).await.context("run homelab")?;
    ensure!(output.status.success(), "homelab {}: {}", args.join(" "), output.complaint());
    Ok(start.elapsed().as_secs_f64())
}
