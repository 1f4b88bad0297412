//! The audit log of the secret server: where it is, what keeps its end known, and what its trouble does to health.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use homelab_secrets::audit::{Anchor, AuditKey, Mode};
use homelab_secrets::backend::System;
use homelab_secrets::backend::audit::AuditSink as _;
use homelab_secrets::backend::audit_file::{FileAudit, FileConfig};
use homelab_secrets::server;
use homelab_secrets::server::audit::Audit;
use homelab_secrets::store::{SecretStore, StorePlace};
use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::metrics::Metrics;
use crate::args::{AuditFlags, AuditSync};

/// Where the store keeps the end of the log: whoever cuts the log has to put the store back, too.
const DOCUMENT: (&str, &str) = ("audit-anchor", "file");
/// How often it is noted there. A write of the store each time, so not often.
const NOTED: Duration = Duration::from_secs(60);
const PART: &str = "audit";

/// The open log.
#[derive(Clone)]
pub(crate) struct Log {
    file: Arc<FileAudit>,
    folder: PathBuf,
    /// What requests are recorded by.
    pub(crate) audit: Audit,
}

/// The place of a store with that of its log.
pub(crate) fn placed(place: StorePlace, log: Option<&Log>) -> StorePlace {
    StorePlace { audit: log.map(|log| log.folder.display().to_string()), ..place }
}

/// Opens the log; none when that was asked for.
pub(crate) async fn open(flags: &AuditFlags, data_dir: &Path, store: &SecretStore) -> Result<Option<Log>> {
    if flags.no_audit {
        tracing::warn!("--no-audit: nobody will know who read or wrote which secret");
        return Ok(None);
    }
    let folder = flags.audit_dir.clone().unwrap_or_else(|| data_dir.join("audit"));
    let shown = folder.display().to_string();
    let (file_size, total_size) = (flags.audit_file_size << 20, flags.audit_total_size << 20);
    let config = FileConfig { file_size, total_size, ..FileConfig::new(&folder) };
    let key = Arc::new(AuditKey::new(&*store.derived_key(AuditKey::PURPOSE)?)?);
    let expected: Option<Anchor> =
        store.document(DOCUMENT.0, DOCUMENT.1).await.context("read the audit log's anchor")?;
    let (table, its_key) = (store.key_table()?, key.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let file = FileAudit::open(&config, its_key, Arc::new(System), expected)?;
        file.keep_keys(&table)?;
        Ok::<_, homelab_secrets::Error>(file)
    });
    let file = opened.await.context("open the audit log")?.with_context(|| {
        format!("open the audit log {shown} (--audit-dir names another directory, --no-audit does without)")
    })?;
    let file = Arc::new(file);
    let mode = match flags.audit_sync {
        AuditSync::People => Mode::People,
        AuditSync::Always => Mode::Always,
    };
    let audit = Audit::new(file.clone(), key, mode);
    Ok(Some(Log { file, folder, audit }))
}

impl Log {
    /// Lets Prometheus see how it is doing.
    pub(crate) fn show(&self, metrics: &Metrics) {
        let (file, folder) = (Arc::clone(&self.file), self.folder.clone());
        metrics.watch_audit(Box::new(move || {
            let free = rustix::fs::statvfs(&folder).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
            (file.stats(), free)
        }));
    }
}

/// Has every answer of `router` recorded, if there is a log.
pub(crate) fn layered(router: Router, log: Option<&Log>) -> Router {
    match log {
        Some(log) => server::audit::audited(router, log.audit.clone()),
        None => router,
    }
}

/// Lets health follow the log, and notes its end in the store, until `stop`.
pub(crate) async fn keep(log: Log, store: SecretStore, health: Arc<Health>, stop: CancellationToken) -> Result<()> {
    let mut trouble = log.file.trouble();
    let (mut noted, mut keys) = (0, store.key_table().unwrap_or_default());
    let mut ticks = tokio::time::interval(NOTED);
    loop {
        let well = trouble.borrow_and_update().is_none();
        health.set(PART, well);
        tokio::select! {
            () = stop.cancelled() => break,
            changed = trouble.changed() => if changed.is_err() { break },
            _ = ticks.tick() => {
                note(&log, &store, &mut noted).await;
                keep_keys(&log, &store, &mut keys);
            }
        }
    }
    note(&log, &store, &mut noted).await;
    Ok(())
}

/// Keys are rotated and slots replaced while the store is in use: the copy beside the log follows.
fn keep_keys(log: &Log, store: &SecretStore, keys: &mut Vec<u8>) {
    // None while the store is sealed.
    let Ok(table) = store.key_table() else { return };
    if table == *keys {
        return;
    }
    match log.file.keep_keys(&table) {
        Ok(()) => *keys = table,
        Err(error) => tracing::warn!("{error}"),
    }
}

async fn note(log: &Log, store: &SecretStore, noted: &mut u64) {
    let anchor = log.file.synced(&System);
    if anchor.at.seq == *noted {
        return;
    }
    match store.put_document(DOCUMENT.0, DOCUMENT.1, &anchor).await {
        Ok(()) => *noted = anchor.at.seq,
        Err(error) => tracing::warn!("the end of the audit log was not noted in the store: {error}"),
    }
}
