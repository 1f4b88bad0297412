//! `homelab secrets import`: everything is read, checked and compared with what is there before the first write.

mod cluster;
mod read;
mod sops;

use anyhow::{Context as _, Result, bail, ensure};
use homelab_secrets::store::{SecretData, SecretPath};
use homelab_secrets::transfer::{self, Entry, Existing, History, Kept, Planned, Step, What, check, place};
use serde::Serialize;

use crate::args::{Global, Import, Output, Source};
use crate::cli::kv::Client;
use crate::cli::output::{self, Table};

/// Version of what `-o json` prints.
const FORMAT: u32 = 1;

pub(super) async fn run(global: &Global, args: &Import) -> Result<()> {
    let secrets = secrets(global, args).await?;
    check(&secrets)?;
    let client = Client::connect(global, &args.server).await?;
    known_mounts(&client, &secrets).await?;
    let mut plans = Vec::with_capacity(secrets.len());
    for (path, entry) in &secrets {
        let existing = existing(&client, path.as_str(), entry).await?;
        plans.push(Task { path, entry, planned: transfer::plan(entry, existing.as_ref(), args.overwrite) });
    }
    report(&plans, args.output)?;
    if args.dry_run {
        output::note("nothing was written: it was a dry run");
    } else {
        write(&client, &plans).await?;
    }
    finish(&plans)
}

/// One secret, and what is to be done about it.
struct Task<'a> {
    path: &'a SecretPath,
    entry: &'a Entry,
    planned: Planned<'a>,
}

/// What comes in, by the paths that it will have.
async fn secrets(global: &Global, args: &Import) -> Result<Vec<(SecretPath, Entry)>> {
    let entries = if args.from == Some(Source::ExternalSecrets) {
        ensure!(args.files.is_empty(), "external-secrets are read from the cluster: name no files");
        cluster::entries(global, args).await?
    } else {
        ensure!(!args.files.is_empty(), "name a file to import, or `-` for stdin");
        let mut entries = Vec::new();
        for file in &args.files {
            let read = read::entries(file, args.from, global.namespace.as_deref()).await;
            entries.extend(read.with_context(|| format!("import {}", file.display()))?);
        }
        entries
    };
    let placed = entries.into_iter().map(|entry| Ok((place(&entry.name, args.to.as_deref())?, entry)));
    placed.collect()
}

async fn known_mounts(client: &Client, secrets: &[(SecretPath, Entry)]) -> Result<()> {
    let mounts = client.mounts().await?;
    match secrets.iter().find(|(path, _)| !mounts.iter().any(|mount| mount == path.mount())) {
        None => Ok(()),
        Some((path, _)) => bail!(
            "{path}: there is no mount {0} of KV version 2; make it (`bao secrets enable -path={0} -version=2 kv`), or name another with --to",
            path.mount()
        ),
    }
}

/// What is at a path, with as many values as are to be compared.
async fn existing(client: &Client, path: &str, entry: &Entry) -> Result<Option<Existing>> {
    let Some(outline) = client.outline(path).await? else { return Ok(None) };
    let last = entry.last().unwrap_or(0);
    let mut there = Existing { settings: outline.settings, current: outline.current, versions: Default::default() };
    for (number, version) in
        outline.versions.into_iter().filter(|(number, _)| *number <= last || *number == there.current)
    {
        let data = if version.destroyed { None } else { client.value(path, number).await? };
        there.versions.insert(number, data.map_or(Kept::Dead, Kept::Live));
    }
    Ok(Some(there))
}

/// A secret as it is shown: no value.
#[derive(Serialize)]
struct Row<'a> {
    path: &'a str,
    versions: usize,
    action: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
}

impl<'a> Row<'a> {
    fn of(task: &Task<'a>) -> Self {
        let (action, mut note) = match &task.planned.what {
            What::Create => ("create", String::new()),
            What::Complete => ("complete", String::new()),
            What::Unchanged => ("unchanged", String::new()),
            What::Overwrite => ("overwrite", String::new()),
            What::Conflict(why) => ("conflict", why.clone()),
        };
        if task.planned.keeps_settings {
            note.push_str("keeps the metadata that it has there");
        }
        Row { path: task.path.as_str(), versions: task.entry.versions(), action, note }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    format: u32,
    secrets: Vec<Row<'a>>,
}

fn report(plans: &[Task<'_>], out: Output) -> Result<()> {
    let rows: Vec<_> = plans.iter().map(Row::of).collect();
    if let Some(format) = out.format {
        return output::data(&Shown { format: FORMAT, secrets: rows }, format);
    }
    let mut table = Table::new(["PATH", "VERSIONS", "ACTION", "NOTE"]);
    for row in rows {
        table.row([row.path.to_owned(), row.versions.to_string(), row.action.to_owned(), row.note]);
    }
    table.print("there is nothing to import")
}

async fn write(client: &Client, plans: &[Task<'_>]) -> Result<()> {
    let mut done = 0;
    for task in plans.iter().filter(|task| !task.planned.steps.is_empty()) {
        for step in &task.planned.steps {
            apply(client, task.path.as_str(), step).await.with_context(|| {
                format!(
                    "stopped after {}; import it again when this is cleared up, and it goes on from here",
                    output::count(done, "secret")
                )
            })?;
        }
        done += 1;
    }
    output::note(&format!("{} written", output::count(done, "secret")));
    Ok(())
}

async fn apply(client: &Client, path: &str, step: &Step<'_>) -> Result<()> {
    match step {
        Step::Set(settings) => client.set(path, settings).await,
        Step::Write { cas, data: Some(data) } => client.follow(path, *cas, data).await,
        Step::Write { cas, data: None } => client.follow(path, *cas, &SecretData::default()).await,
        Step::Delete(versions) => client.take("delete", path, versions).await,
        Step::Destroy(versions) => client.take("destroy", path, versions).await,
    }
}

fn finish(plans: &[Task<'_>]) -> Result<()> {
    let gone = |task: &Task<'_>| match &task.entry.history {
        History::All(versions) if task.planned.what == What::Create => {
            versions.values().filter(|version| version.data.is_none()).count()
        }
        _ => 0,
    };
    let gone: usize = plans.iter().map(gone).sum();
    if gone > 0 {
        output::note(&format!(
            "{} deleted or destroyed where they come from: destroyed here",
            output::count(gone, "version")
        ));
    }
    let conflicts = plans.iter().filter(|task| matches!(task.planned.what, What::Conflict(_))).count();
    ensure!(
        conflicts == 0,
        "{} with other values there, left as they are; look at them (`homelab kv get`), then --overwrite writes a new version",
        output::count(conflicts, "secret")
    );
    Ok(())
}
