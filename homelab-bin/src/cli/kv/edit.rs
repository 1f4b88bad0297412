//! `homelab kv edit`: the newest version in the person's editor, written back as the next one.

use anyhow::{Result, bail};
use homelab_secrets::store::SecretData;

use super::client::{Client, Version};
use super::{Path, written};
use crate::args::Output;
use crate::cli::editor::{Draft, edited, head};
use crate::cli::output;
use crate::cli::seal::as_yaml;

/// Lets the person edit. A version that somebody wrote in the meantime is not written over; the draft is kept then.
pub(super) async fn run(client: &Client, path: &Path, out: Output) -> Result<()> {
    let (before, at) = match client.newest(path).await? {
        Some((data, version)) => (SecretData::new(data), version.version),
        None => (SecretData::default(), 0),
    };
    let version = if at == 0 { "new".to_owned() } else { format!("version {at}") };
    let head = head(&format!("{} ({version})", path.full()));
    let draft = Draft::new("secret.yaml", &format!("{head}{}", *as_yaml(before.expose())?))?;
    let changed = async {
        let plain = edited(&draft, &head).await?;
        let after = SecretData::new(plain.values);
        if after == before {
            return Ok(None);
        }
        let not_text = plain.not_text.into_iter().filter(|key| before.expose().get(key) != after.expose().get(key));
        Ok(Some((write(client, path, &after, at).await?, not_text.collect::<Vec<_>>())))
    };
    match changed.await {
        Ok(Some((version, not_text))) => {
            written(path, &version, out)?;
            if !not_text.is_empty() {
                let keys = not_text.join(", ");
                output::note(&format!("not text, as YAML reads it: {keys}; quotes keep a value as it is written"));
            }
        }
        Ok(None) => output::note(&format!("{} is unchanged", path.full())),
        Err(error) => return Err(draft.kept(error)),
    }
    Ok(())
}

/// Writes the version after `at`, and says it when somebody else did. Servers have different words for that, so it is
/// looked.
async fn write(client: &Client, path: &Path, data: &SecretData, at: u64) -> Result<Version> {
    let error = match client.write(path, data.expose().clone(), Some(at)).await {
        Ok(version) => return Ok(version),
        Err(error) => error,
    };
    let now = client.history(path).await.ok().and_then(|versions| versions.last().map(|newest| newest.version));
    match now.filter(|now| *now != at) {
        Some(now) => bail!(
            "{0} was changed by somebody else while you edited version {at}: it is at version {now}, which is kept; see `homelab kv diff {0}`, and edit again",
            path.full()
        ),
        None => Err(error),
    }
}
