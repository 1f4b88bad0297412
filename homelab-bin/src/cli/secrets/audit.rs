//! `homelab secrets audit`: is the record of who did what still whole?

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use homelab_secrets::audit::{AuditKey, Report};
use homelab_secrets::backend::{System, audit_file, key_file};
use homelab_secrets::keys::KeyTable;
use serde::Serialize;

use crate::args::{AuditCommand, AuditLog, Output};
use crate::cli::output;

/// Version of what `-o json` prints.
const FORMAT: u32 = 1;

pub(crate) fn run(command: AuditCommand) -> Result<()> {
    match command {
        AuditCommand::Verify { log, output } => verify(&log, output),
        AuditCommand::Hash { log } => {
            let key = key(&log)?;
            let mut value = Vec::new();
            std::io::stdin().read_to_end(&mut value).context("read the value from stdin")?;
            output::line(&key.digest(&value))
        }
    }
}

/// The key of the log: the wrapped keys lie beside it, so the store may be in use or gone.
fn key(log: &AuditLog) -> Result<AuditKey> {
    let dir = &log.dir;
    let beside = || dir.parent().unwrap_or(dir).join("store.key");
    let file = log.key_file.clone().unwrap_or_else(beside);
    let unlock = key_file(&file, false, &System)
        .with_context(|| format!("read the key file {} (--key-file names another)", file.display()))?;
    let table = audit_file::stored_keys(dir).context("read the audit log (--dir names another)")?;
    let opened = KeyTable::from_json(&table).and_then(|table| table.open(&unlock));
    let keys = opened.with_context(|| format!("open the keys of {} with {}", dir.display(), file.display()))?;
    Ok(AuditKey::new(&*keys.derived(AuditKey::PURPOSE)?)?)
}

/// What `verify -o json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    format: u32,
    intact: bool,
    #[serde(flatten)]
    report: &'a Report,
    messages: Vec<String>,
}

fn verify(log: &AuditLog, out: Output) -> Result<()> {
    let report = audit_file::check(&log.dir, &key(log)?)?;
    let messages: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    if let Some(format) = out.format {
        let shown = Shown { format: FORMAT, intact: report.is_intact(), report: &report, messages };
        output::data(&shown, format)?;
    } else {
        messages.iter().try_for_each(|message| output::line(message))?;
        summary(&report).iter().for_each(|line| output::note(line));
    }
    if !report.is_intact() {
        let count = report.findings.len() as u64 + report.unlisted;
        bail!("the audit log in {} is not as it was written: {count} findings", log.dir.display());
    }
    Ok(())
}

/// What is said to people besides findings.
fn summary(report: &Report) -> Vec<String> {
    let mut lines = vec![match (report.first, report.last) {
        (Some(first), Some(last)) => {
            format!("checked {} records, {first} to {last}, in {} files", report.records, report.files)
        }
        _ => "the log is empty".to_owned(),
    }];
    if let Some(torn) = &report.torn {
        let (file, bytes) = (&torn.file, torn.bytes);
        lines.push(format!("{file} ends within a line ({bytes} bytes): it is being written, or a crash has cut it"));
    }
    if report.recovered > 0 {
        lines.push(format!("{} times a crash has left half a line, which the next start cut off", report.recovered));
    }
    if report.unlisted > 0 {
        lines.push(format!("{} more findings are not listed", report.unlisted));
    }
    match report.anchored {
        Some(seq) => lines.push(format!("the end is known up to record {seq}: what was cut off behind it is not seen")),
        None => lines.push("there is no anchor: an end that was cut off is not seen".to_owned()),
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homelab_secrets::audit::{Durability, Entry, Event};
    use homelab_secrets::backend::audit::AuditSink as _;
    use homelab_secrets::backend::audit_file::{FileAudit, FileConfig};
    use homelab_secrets::backend::memory::Memory;
    use homelab_secrets::store::SecretStore;

    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "changes a file of the log, as somebody might")]
    async fn a_log_is_checked_with_the_key_file_alone() {
        let data = tempfile::tempdir().expect("a directory");
        let log = AuditLog { dir: data.path().join("audit"), key_file: None };
        let unlock = key_file(&data.path().join("store.key"), true, &System).expect("a key file");
        let store =
            SecretStore::open_or_init(Arc::new(Memory::default()), unlock, Arc::new(System)).await.expect("a store");
        let secret = store.derived_key(AuditKey::PURPOSE).expect("a key");
        let ours = Arc::new(AuditKey::new(&secret).expect("a key"));
        let audit = FileAudit::open(&FileConfig::new(&log.dir), ours.clone(), Arc::new(System), None).expect("a log");
        audit.keep_keys(&store.key_table().expect("keys")).expect("kept");
        let entry = Entry::new(&Event::Action { who: "root", op: "test", object: "kv" }).expect("an entry");
        audit.append(entry, Durability::Synced).await.expect("a record");
        verify(&log, Output::default()).expect("intact while it is in use");
        drop(audit);
        assert_eq!(key(&log).expect("the key").digest(b"v"), ours.digest(b"v"));

        let mut file = std::fs::read_dir(&log.dir).expect("files").filter_map(|e| Some(e.ok()?.path()));
        let file = file.find(|path| path.extension().is_some_and(|e| e == "log")).expect("a file");
        let text = std::fs::read_to_string(&file).expect("text").replace("\"object\":\"kv\"", "\"object\":\"kw\"");
        std::fs::write(&file, text).expect("written");
        let error = verify(&log, Output::default()).expect_err("an edit").to_string();
        assert!(error.ends_with("is not as it was written: 1 findings"), "{error}");
        let elsewhere = AuditLog { dir: data.path().into(), key_file: Some(data.path().join("store.key")) };
        let error = output::chain(&key(&elsewhere).expect_err("no log"));
        assert!(error.contains("is it the directory of an audit log?"), "{error}");
    }
}
