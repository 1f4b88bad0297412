//! `homelab kv`: a client of the KV v2 HTTP API, of ours or of any other server that speaks it.

pub(crate) mod client;
mod data;
mod edit;
mod versions;
mod way;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::client::Version;
pub(super) use self::client::{Client, is_denied, is_refused};
pub(super) use self::way::service_account_token;
use crate::args::{Global, Kv, Output, Server};
use crate::cli::output::{self, Table};

/// Version of what `-o json` prints.
const FORMAT: u32 = 1;

pub(crate) async fn run(global: &Global, command: Kv) -> Result<()> {
    match command {
        Kv::Get { path, version, field, output, server } => {
            let path = Path::parse(&path)?;
            get(&connect(global, &server).await?, &path, version, field.as_deref(), output).await
        }
        Kv::Put { path, data, output, server } => {
            let (path, values) = (Path::parse(&path)?, data::read(&data.pairs)?);
            let version = connect(global, &server).await?.write(&path, values, data.cas).await?;
            written(&path, &version, output)
        }
        Kv::Patch { path, data, output, server } => {
            let (path, values) = (Path::parse(&path)?, data::read(&data.pairs)?);
            let version = patch(&connect(global, &server).await?, &path, values, data.cas).await?;
            written(&path, &version, output)
        }
        Kv::Edit { path, output, server } => {
            let path = Path::parse(&path)?;
            edit::run(&connect(global, &server).await?, &path, output).await
        }
        Kv::List { path, output, server } => {
            let path = Path::parse_folder(&path);
            list(&connect(global, &server).await?, &path, output).await
        }
        Kv::Delete { path, versions, server } => {
            let path = Path::parse(&path)?;
            let warnings = connect(global, &server).await?.delete(&path, &versions).await?;
            warned(&warnings);
            output::note(&format!("deleted {} ({}); undelete brings it back", path.full(), names(&versions)));
            Ok(())
        }
        Kv::Undelete { path, versions, server } => {
            let path = Path::parse(&path)?;
            connect(global, &server).await?.undelete(&path, &versions).await?;
            output::note(&format!("undeleted {} ({})", path.full(), names(&versions)));
            Ok(())
        }
        Kv::Destroy { path, versions, server } => {
            let path = Path::parse(&path)?;
            let warnings = connect(global, &server).await?.destroy(&path, &versions).await?;
            warned(&warnings);
            output::note(&format!("destroyed {} ({}) for good", path.full(), names(&versions)));
            Ok(())
        }
        Kv::History { path, output, server } => {
            let path = Path::parse(&path)?;
            history(&connect(global, &server).await?, &path, output).await
        }
        Kv::Rollback { path, to, output, server } => {
            let path = Path::parse(&path)?;
            let version = versions::rollback(&connect(global, &server).await?, &path, to).await?;
            written(&path, &version, output)
        }
        Kv::Diff { path, from, to, values, output, server } => {
            let path = Path::parse(&path)?;
            versions::diff(&connect(global, &server).await?, &path, (from, to), values, output).await
        }
    }
}

async fn connect(global: &Global, server: &Server) -> Result<Client> {
    Client::connect(global, server).await
}

/// A secret: mount and path below it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path {
    mount: String,
    path: String,
}

impl Path {
    /// `MOUNT/PATH` of one secret.
    fn parse(text: &str) -> Result<Self> {
        let this = Self::parse_folder(text);
        if this.mount.is_empty() || this.path.is_empty() {
            bail!("`{text}` names no secret; write MOUNT/PATH, as in kv/web/db");
        }
        Ok(this)
    }

    /// `MOUNT` or `MOUNT/PATH` of a folder.
    fn parse_folder(text: &str) -> Self {
        let text = text.trim_matches('/');
        let (mount, path) = text.split_once('/').unwrap_or((text, ""));
        Self { mount: mount.to_owned(), path: path.to_owned() }
    }

    fn full(&self) -> String {
        if self.path.is_empty() { self.mount.clone() } else { format!("{}/{}", self.mount, self.path) }
    }
}

fn warned(warnings: &[String]) {
    warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
}

fn names(versions: &[u64]) -> String {
    match versions {
        [] => "newest version".to_owned(),
        [one] => format!("version {one}"),
        many => format!("versions {}", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// What `get -o json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    format: u32,
    path: String,
    version: u64,
    created: &'a str,
    data: &'a Map<String, Value>,
}

async fn get(client: &Client, path: &Path, version: Option<u64>, field: Option<&str>, out: Output) -> Result<()> {
    let (data, at) = client.read(path, version).await?;
    if let Some(field) = field {
        let Some(value) = data.get(field) else {
            let keys = data.keys().cloned().collect::<Vec<_>>().join(", ");
            bail!("{} has no key `{field}` at version {}; it has {keys}", path.full(), at.version);
        };
        let mut text = plain(value);
        if output::is_terminal() {
            text.push('\n');
        }
        return output::bytes(text.as_bytes());
    }
    if let Some(format) = out.format {
        let shown = Shown { format: FORMAT, path: path.full(), version: at.version, created: &at.created, data: &data };
        return output::data(&shown, format);
    }
    output::note(&format!("{} version {}, written {}", path.full(), at.version, at.created));
    let mut table = Table::new(["KEY", "VALUE"]);
    for (key, value) in &data {
        table.row([key.clone(), plain(value)]);
    }
    table.print("it has no keys")
}

/// Text as it is, everything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn written(path: &Path, version: &Version, out: Output) -> Result<()> {
    if let Some(format) = out.format {
        let shown =
            json!({"format": FORMAT, "path": path.full(), "version": version.version, "created": version.created});
        return output::data(&shown, format);
    }
    output::note(&format!("wrote {} version {}", path.full(), version.version));
    Ok(())
}

/// Reads, merges and writes with check-and-set, so that nobody's write in between is lost.
async fn patch(client: &Client, path: &Path, values: Map<String, Value>, cas: Option<u64>) -> Result<Version> {
    let (mut data, at) = client.read(path, None).await?;
    if let Some(cas) = cas.filter(|cas| *cas != at.version) {
        bail!("{} is at version {}, not {cas}; read it again", path.full(), at.version);
    }
    for (key, value) in values {
        if value.is_null() {
            data.remove(&key)
        } else {
            data.insert(key, value)
        };
    }
    client.write(path, data, Some(at.version)).await
}

async fn list(client: &Client, path: &Path, out: Output) -> Result<()> {
    let keys = client.list(path).await?;
    if let Some(format) = out.format {
        return output::data(&json!({"format": FORMAT, "path": path.full(), "keys": keys}), format);
    }
    keys.iter().try_for_each(|key| output::line(key))
}

async fn history(client: &Client, path: &Path, out: Output) -> Result<()> {
    let versions = client.history(path).await?;
    if let Some(format) = out.format {
        return output::data(&json!({"format": FORMAT, "path": path.full(), "versions": versions}), format);
    }
    let mut table = Table::new(["VERSION", "WRITTEN", "STATE"]);
    for version in versions.iter().rev() {
        let state = match (version.destroyed, &version.deleted) {
            (true, _) => "destroyed".to_owned(),
            (false, Some(at)) => format!("deleted {at}"),
            (false, None) => "live".to_owned(),
        };
        table.row([version.version.to_string(), version.created.clone(), state]);
    }
    table.print("it has no versions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let path = Path::parse("/kv/web/db/").expect("a path");
        assert_eq!((path.mount.as_str(), path.path.as_str()), ("kv", "web/db"));
        assert_eq!(
            Path::parse("kv").map(|_| ()).map_err(|e| e.to_string()),
            Err("`kv` names no secret; write MOUNT/PATH, as in kv/web/db".into())
        );
        assert_eq!(Path::parse_folder("kv").full(), "kv");
    }
}
