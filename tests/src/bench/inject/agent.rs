//! `homelab-agent`: start → files written, beside OpenBao's agent against the same server; its size, and a sidecar's memory.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use homelab_core::process::Program;
use serde_json::json;

use super::{Access, milliseconds};
use crate::bench::{Number, median};
use crate::case::Case;

const RUNS: usize = 21;
/// A sidecar looks this often and is watched this long.
const REFRESH: &str = "1";
const WATCHED: Duration = Duration::from_secs(5);

/// The agent's numbers; `beside`: with OpenBao's and the login alone, in the same rounds.
pub(crate) async fn measure(case: &Case, access: &Access, beside: bool) -> Result<Vec<Number>> {
    let agent = binary()?;
    let jwt = std::fs::read_to_string(&access.token)?;
    let (mut ours, mut logins, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let root = access.folder.path().join(run.to_string());
        std::fs::create_dir(&root)?;
        let program = settings(case, access, &root).into_iter();
        let program = program.fold(Program::new(&agent), |program, (key, value)| program.env(key, value));
        let start = Instant::now();
        program.run_ok().await?;
        ours.push(milliseconds(start.elapsed()));
        if beside {
            let start = Instant::now();
            access.login(&jwt).await?;
            logins.push(milliseconds(start.elapsed()));
            theirs.push(openbao(case, access, &root).await?);
        }
    }
    let size = std::fs::metadata(&agent)?.len() as f64 / 1e6;
    let mut numbers = vec![Number::new("agent: start → files written, with login", median(&mut ours), "ms").goal(20.0)];
    if beside {
        numbers.push(Number::new("the login alone, with its TokenReview", median(&mut logins), "ms"));
        numbers.push(Number::new("`bao agent`: start → file written, same login", median(&mut theirs), "ms"));
    }
    numbers.push(Number::new("agent: size", size, "MB").goal(5.0));
    Ok(numbers)
}

fn settings(case: &Case, access: &Access, root: &Path) -> Vec<(&'static str, String)> {
    let path = format!("kv/{}/db", case.namespace);
    let wish = json!({"format": 1, "mode": "0440", "secrets": [
        {"path": path, "version": 1, "keys": ["password"], "as": {"files": "/run/secrets/db"}, "to": "0"},
    ]});
    vec![
        ("HOMELAB_SECRETS", wish.to_string()),
        ("HOMELAB_ADDR", access.address.clone()),
        ("HOMELAB_CA", access.pem.clone()),
        ("HOMELAB_TOKEN_FILE", access.token.display().to_string()),
        ("HOMELAB_ROOT", root.display().to_string()),
    ]
}

/// OpenBao's agent with the same token, one template with the same value, ending when it is written.
async fn openbao(case: &Case, access: &Access, root: &Path) -> Result<f64> {
    let bao =
        std::env::var_os("HOMELAB_TEST_BAO").context("HOMELAB_TEST_BAO is not set: run `cargo xtask bench inject`")?;
    let (config, ca, out) = (root.join("agent.hcl"), root.join("ca.crt"), root.join("password"));
    std::fs::write(&ca, &access.pem)?;
    let text = format!(
        r#"exit_after_auth = true
vault {{
  address = "{address}"
  ca_cert = {ca:?}
}}
auto_auth {{
  method "kubernetes" {{
    config = {{
      role = "homelab-agent"
      token_path = {token:?}
    }}
  }}
}}
template {{
  contents = "{{{{ with secret \"kv/data/{namespace}/db?version=1\" }}}}{{{{ .Data.data.password }}}}{{{{ end }}}}"
  destination = {out:?}
  perms = 0440
}}
"#,
        address = access.address,
        token = access.token,
        namespace = case.namespace,
    );
    std::fs::write(&config, text)?;
    let program = Program::new(bao).args(["agent", "-config"]).arg(&config).env("HOME", root);
    let start = Instant::now();
    program.timeout(Duration::from_secs(60)).run_ok().await?;
    let time = milliseconds(start.elapsed());
    ensure!(std::fs::read_to_string(&out)? == "first", "OpenBao's agent wrote something else");
    Ok(time)
}

/// Resident memory of the sidecar, after some looks.
pub(super) async fn sidecar(case: &Case, access: &Access) -> Result<Number> {
    let root = access.folder.path().join("sidecar");
    std::fs::create_dir(&root)?;
    let mut command = tokio::process::Command::new(binary()?);
    command.env_clear().env("HOMELAB_REFRESH", REFRESH).envs(settings(case, access, &root));
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    tokio::time::sleep(WATCHED).await;
    ensure!(child.try_wait()?.is_none(), "the sidecar ended by itself");
    let id = child.id().context("the sidecar ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    child.kill().await?;
    Ok(Number::new("sidecar: resident memory, peak", peak.context("no VmHWM")? * 1024.0 / 1e6, "MB").goal(5.0))
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
