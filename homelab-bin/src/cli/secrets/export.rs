//! `homelab secrets export`: secrets with settings and all versions, in the clear, as a client of the KV v2 API reads them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use homelab_secrets::sealed::GIT_MOUNT;
use homelab_secrets::transfer::Version;
use homelab_secrets::transfer::export::Writer;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::backup::draft_of;
use crate::args::{Export, Global};
use crate::cli::kv::{Client, is_denied};
use crate::cli::{now, output};

/// So many names of what can not be read are said.
const NAMED: usize = 20;

pub(super) async fn run(global: &Global, args: &Export) -> Result<()> {
    let is_stdout = args.to == Path::new("-");
    ensure!(
        is_stdout || !args.to.exists(),
        "{} is there already: an export never writes over another",
        args.to.display()
    );
    ensure!(
        !is_stdout || !output::is_terminal(),
        "an export is all secrets in the clear, and stdout is a terminal: name a file, or pipe it to a program that encrypts it"
    );
    let client = Client::connect(global, &args.server).await?;
    let mut walk = Walk { client: &client, unreadable: Vec::new(), found: Vec::new(), gone: 0, versions: 0 };
    for mount in mounts(&client, &args.mounts).await? {
        walk.folder(mount).await?;
    }
    let mut writer = Writer::begin(now(), env!("CARGO_PKG_VERSION"))?;
    for path in std::mem::take(&mut walk.found) {
        walk.secret(&path, &mut writer).await?;
    }
    let (unreadable, secrets) = (walk.unreadable, writer.secrets());
    if !unreadable.is_empty() {
        let said = format!("{} could not be read: {}", unreadable.len(), some(&unreadable));
        ensure!(args.skip_unreadable, "{said}; nothing was written (--skip-unreadable leaves them out)");
        output::note(&said);
    }
    let text = writer.end(unreadable)?;
    match is_stdout {
        true => output::bytes(&text)?,
        false => save(&args.to, &text)?,
    }
    output::note(&format!(
        "{} with {}; all values are in the clear: keep it safe",
        output::count(secrets, "secret"),
        output::count(walk.versions, "version")
    ));
    if walk.gone > 0 {
        output::note(&format!(
            "{} in it without values, deleted or destroyed; `homelab kv undelete` brings deleted ones back",
            output::count(walk.gone, "version")
        ));
    }
    Ok(())
}

/// What was asked for, or every mount that secrets can be written to.
async fn mounts(client: &Client, asked: &[String]) -> Result<Vec<String>> {
    let mut mounts = client.mounts().await?;
    if asked.is_empty() {
        mounts.retain(|mount| mount != GIT_MOUNT);
        return Ok(mounts);
    }
    for folder in asked {
        let mount = folder.split('/').next().unwrap_or_default();
        if !mounts.iter().any(|known| known == mount) {
            bail!("there is no mount {mount} of KV version 2; there are {}", mounts.join(", "));
        }
    }
    Ok(asked.iter().map(|folder| folder.trim_end_matches('/').to_owned()).collect())
}

struct Walk<'a> {
    client: &'a Client,
    /// Secrets, and folders with a slash.
    unreadable: Vec<String>,
    found: Vec<String>,
    /// Versions without a value.
    gone: usize,
    versions: usize,
}

impl Walk<'_> {
    /// Finds the secrets below a folder.
    async fn folder(&mut self, folder: String) -> Result<()> {
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            let Some(names) = self.readable(self.client.names(&folder).await, format!("{folder}/"))? else { continue };
            // What begins last is taken first, so that paths come in their order.
            for name in names.iter().rev().filter_map(|name| name.strip_suffix('/')) {
                folders.push(format!("{folder}/{name}"));
            }
            let secrets = names.iter().filter(|name| !name.ends_with('/'));
            self.found.extend(secrets.map(|name| format!("{folder}/{name}")));
        }
        Ok(())
    }

    async fn secret(&mut self, path: &str, writer: &mut Writer) -> Result<()> {
        let Some(outline) = self.readable(self.client.outline(path).await, path.to_owned())?.flatten() else {
            return Ok(());
        };
        let mut versions = BTreeMap::new();
        for (number, version) in outline.versions {
            let data = match version.destroyed {
                true => None,
                false => match self.readable(self.client.value(path, number).await, path.to_owned())? {
                    Some(data) => data,
                    None => return Ok(()),
                },
            };
            // Neither a value nor a mark: it was pruned since.
            if data.is_some() || version.destroyed || version.deleted.is_some() {
                versions.insert(number, Version { data, ..version });
            }
        }
        self.versions += versions.len();
        self.gone += versions.values().filter(|version| version.data.is_none()).count();
        Ok(writer.secret(path, &outline.settings, versions)?)
    }

    /// What was read; none, and named, when the server refused it.
    fn readable<T>(&mut self, read: Result<T>, name: String) -> Result<Option<T>> {
        match read {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_denied(&error) => {
                self.unreadable.push(name);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let named = names[..names.len() - more].join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

/// Whole or not at all, for its owner only, and never over another file.
fn save(to: &Path, text: &[u8]) -> Result<()> {
    let draft = draft_of(to);
    let what = || format!("write {}", draft.display());
    // One that is left of an earlier try may be readable by others.
    if let Err(error) = std::fs::remove_file(&draft)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error).with_context(what);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).with_context(what)?;
    let written = file.write_all(text).and_then(|()| file.sync_all()).with_context(what);
    let named = written.and_then(|()| name(&draft, to));
    named.inspect_err(|_| drop(std::fs::remove_file(&draft)))
}

fn name(draft: &Path, to: &Path) -> Result<()> {
    let renamed = match renameat_with(CWD, draft, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that can not (NFS, FAT): it was looked for before.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(draft, to),
        renamed => renamed.map_err(Into::into),
    };
    renamed.with_context(|| format!("name the export {}", to.display()))
}
