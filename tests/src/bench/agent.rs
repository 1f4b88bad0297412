//! `homelab-agent`: start → files written, and its size.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use homelab_core::meta::TOKEN_AUDIENCE;
use homelab_core::process::Program;
use serde_json::json;

use super::{Number, median};
use crate::case::Case;

const RUNS: usize = 21;

pub(super) async fn measure(case: &Case) -> Result<Vec<Number>> {
    let agent = binary()?;
    let folder = tempfile::tempdir()?;
    let token = folder.path().join("token");
    let audience = format!("--audience={TOKEN_AUDIENCE}");
    let made = case.cluster.kubectl(["create", "token", "default", "-n", &case.namespace, &audience]).await?;
    std::fs::write(&token, made.text().trim())?;
    let ca =
        case.cluster.get("v1", "ConfigMap", &case.namespace, "homelab-ca").await?.context("no ConfigMap homelab-ca")?;
    let pem = ca["data"]["ca.crt"].as_str().context("the ConfigMap homelab-ca has no key ca.crt")?.to_owned();
    let path = format!("kv/{}/db", case.namespace);
    let wish = json!({"format": 1, "mode": "0440", "secrets": [
        {"path": path, "version": 1, "keys": ["password"], "as": {"files": "/run/secrets/db"}, "to": "0"},
    ]});
    let mut times = Vec::new();
    for run in 0..RUNS {
        let root = folder.path().join(run.to_string());
        std::fs::create_dir(&root)?;
        let program = Program::new(&agent)
            .env("HOMELAB_SECRETS", wish.to_string())
            .env("HOMELAB_ADDR", case.daemon.secrets_url(&case.cluster))
            .env("HOMELAB_CA", &pem)
            .env("HOMELAB_TOKEN_FILE", &token)
            .env("HOMELAB_ROOT", &root);
        let start = Instant::now();
        program.run_ok().await?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let size = std::fs::metadata(&agent)?.len() as f64 / 1e6;
    Ok(vec![
        Number::new("agent: start → files written (with login)", median(&mut times), "ms").goal(20.0),
        Number::new("agent: size", size, "MB").goal(5.0),
    ])
}

/// `HOMELAB_AGENT_BIN`, else what `cargo xtask image` built.
fn binary() -> Result<PathBuf> {
    let named = std::env::var_os("HOMELAB_AGENT_BIN").filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder =
        || std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::workspace().join("target"), PathBuf::from);
    let file = named.unwrap_or_else(|| folder().join("agent/homelab-agent"));
    if !file.is_file() {
        bail!("{} does not exist: build it (`cargo xtask image`) or name another by HOMELAB_AGENT_BIN", file.display());
    }
    Ok(file)
}
