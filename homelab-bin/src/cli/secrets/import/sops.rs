//! Files of SOPS, opened by the `sops` of this machine with the keys that it finds.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use homelab_core::process::{ProcessError, Program};
use serde_json::Value;
use zeroize::Zeroizing;

/// Beginnings of what sops, gpg and the key services that it asks are told by the environment.
const PASSED: [&str; 13] = [
    "SOPS_",
    "GNUPG",
    "GPG_",
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "CLOUDSDK_",
    "VAULT_",
    "BAO_",
    "XDG_",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSH_",
];

/// Whether a document is a file of SOPS.
pub(super) fn is_like(document: &Value) -> bool {
    document["sops"]["mac"].is_string()
}

/// Whether a text is a `.env` file of SOPS.
pub(super) fn is_env(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("sops_mac="))
}

/// What is in a file, opened.
pub(super) async fn opened(file: &Path, text: &str) -> Result<Value> {
    let kind = if is_env(text) {
        "dotenv"
    } else if text.trim_start().starts_with('{') {
        "json"
    } else {
        "yaml"
    };
    let file = if file == Path::new("-") { Path::new("/dev/stdin") } else { file };
    let is_passed =
        |name: &str| matches!(name, "PATH" | "HOME" | "TMPDIR") || PASSED.iter().any(|part| name.starts_with(part));
    let program =
        Program::new("sops").args(["-d", "--input-type", kind, "--output-type", "json"]).arg(file).stdin(text);
    let environment = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed));
    let program = environment.fold(program, |program, (name, value)| program.env(name, value));
    let output = match program.run_ok().await {
        Ok(output) => Zeroizing::new(output.stdout),
        Err(ProcessError::Start { .. }) => bail!(
            "it is sealed by SOPS, and there is no program `sops` on the PATH: install it, or open the file elsewhere \
             (`sops -d --output-type json`) and bring the values by `homelab kv put MOUNT/PATH -`"
        ),
        Err(error) => return Err(anyhow!(error).context("sops did not open it (has this machine its key?)")),
    };
    let broken = |error: serde_json::Error| anyhow!("what sops opened is no JSON: it breaks at line {}", error.line());
    serde_json::from_slice(&output).map_err(broken)
}
