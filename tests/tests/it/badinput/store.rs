//! Policies that let nobody in, and a disk that is full.
#![expect(clippy::disallowed_methods, reason = "unmounting when dropped can not wait")]

use anyhow::{Context, Result, ensure};
use homelab_core::process::Program;
use homelab_tests::case::Case;
use serde_json::json;

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_policy_that_lets_nobody_in_says_so() -> Result<()> {
    let case = Case::new("policy").await?;
    let policy = |name: &str, rules| {
        let meta = json!({"name": name, "namespace": case.namespace});
        json!({"apiVersion": "homelab.dev/v1alpha1", "kind": "SecretPolicy", "metadata": meta, "spec": {"rules": rules}})
    };
    case.cluster.apply(&policy("empty", json!([]))).await?;
    case.says("SecretPolicy", "empty", ("Ready", "False", "LetsNobodyIn")).await?;
    case.told("SecretPolicy", "empty", "LetsNobodyIn").await?;
    let foreign = json!([{"serviceAccounts": ["default"], "paths": ["kv/other/*"], "capabilities": ["read"]}]);
    case.cluster.apply(&policy("foreign", foreign)).await?;
    let message = case.says("SecretPolicy", "foreign", ("Ready", "False", "")).await?;
    ensure!(message.contains("kv/other/*"), "{message}");
    case.finish().await
}

/// A small file system of its own, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    async fn mount() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().display().to_string();
        Program::new("/bin/mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs", &path])
            .run_ok()
            .await
            .context("mounting needs root")?;
        Ok(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The daemon that used it may still be ending: lazily.
        let _ = std::process::Command::new("/bin/umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_full_disk_refuses_writes_and_still_answers_reads() -> Result<()> {
    let small = Small::mount().await?;
    let flag = format!("--data-dir={}", small.0.path().display());
    // The audit log needs space for each answer: it lies elsewhere.
    let audit = tempfile::tempdir()?;
    let audit = format!("--audit-dir={}", audit.path().display());
    let case = Case::with("disk", &[&flag, &audit]).await?;
    let path = format!("kv/{}/db", case.namespace);
    case.put("db", "password=first").await?;
    let ballast = small.0.path().join("ballast");
    let fill = format!("head -c 4194304 /dev/zero > {} || true", ballast.display());
    Program::new("/bin/sh").args(["-c", &fill]).env("PATH", "/bin:/usr/bin").run().await?;
    let mut refused = None;
    // What the store has set aside may take a few small writes yet.
    // An argument of a program has room for 128 KiB.
    let large = format!("password={}", "x".repeat(120_000));
    for _ in 0..50 {
        let output = case.daemon.cli(&case.cluster, ["kv", "put", &path, &large]).await?;
        if !output.status.success() {
            refused = Some(output.complaint());
            break;
        }
    }
    let refused = refused.context("a full disk took everything")?;
    ensure!(!refused.contains("xxx"), "the secret is in the message: {refused}");
    let read = case.daemon.cli(&case.cluster, ["kv", "get", &path, "--version", "1", "--field", "password"]).await?;
    ensure!(read.text() == "first", "reads stopped: {}", read.complaint());
    std::fs::remove_file(&ballast)?;
    case.put("db", "password=second").await?;
    case.finish().await
}
