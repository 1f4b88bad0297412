//! `homelab secrets rotate`: a new epoch of the store, or a new root key.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use homelab_secrets::backend::age::AgeIdentities;
use reqwest::Method;
use serde_json::json;
use zeroize::Zeroizing;

use super::status::{Keys, Slot};
use crate::args::{Global, Rotate};
use crate::cli::kv::Client;
use crate::cli::output;

/// How often it is asked how far the server is.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn run(global: &Global, args: Rotate) -> Result<()> {
    if let Some(folder) = &args.git {
        return crate::cli::seal::rotate(global, &args.server, folder).await;
    }
    let client = Client::connect(global, &args.server).await?;
    if args.root { root(&client, &args).await } else { epoch(&client, args.no_wait).await }
}

async fn epoch(client: &Client, no_wait: bool) -> Result<()> {
    client.call(Method::PUT, "sys/rotate", None, "make a new epoch").await?;
    let mut keys = Keys::of(client).await?;
    output::note(&format!("epoch {} has begun: what is written from now on is sealed with its key", keys.epoch));
    let mut told = None;
    while !no_wait && (keys.epochs > 1 || keys.resealing.is_some()) {
        if let Some(progress) = &keys.resealing {
            if let Some(why) = &progress.stopped {
                bail!("sealing old records anew stopped, and goes on after the server's next start: {why}");
            }
            if progress.stuck > 0 && progress.done + progress.stuck >= progress.total {
                bail!("{}", progress.text());
            }
            if told != Some(progress.done) {
                output::note(&progress.text());
                told = Some(progress.done);
            }
        }
        tokio::time::sleep(LOOK).await;
        keys = Keys::of(client).await?;
    }
    output::note(match no_wait {
        true => "old records are sealed anew in the background: `homelab secrets status -w` shows how far it is",
        false => "all records are sealed with the new key, and the earlier ones are dropped",
    });
    Ok(())
}

async fn root(client: &Client, args: &Rotate) -> Result<()> {
    let slots = Keys::of(client).await?.slots;
    let mut keys = args.key_files.iter().map(|file| key_file(file)).collect::<Result<Vec<_>>>()?;
    for file in &args.identities {
        keys.extend(by_age(&slots, &super::rekey::identities(file)?)?);
    }
    keys.extend(typed(&slots)?);
    let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
    let action = "make a new root key";
    client.call(Method::POST, "sys/homelab/keys/rotate-root", Some(&json!({ "keys": keys })), action).await?;
    output::note(&format!(
        "the store has a new root key; all {} slots open it as before. The keys of the records are the same: \
         `homelab secrets rotate` changes those",
        slots.len()
    ));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "reads a key file that somebody names")]
fn key_file(file: &Path) -> Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read the key file {}", file.display()))?;
    Ok(Zeroizing::new(text))
}

/// The keys of the slots that these identities open.
fn by_age(slots: &[Slot], identities: &AgeIdentities) -> Result<Vec<Zeroizing<String>>> {
    let sealed = slots.iter().filter_map(|slot| slot.age.as_ref());
    let opened = sealed.filter_map(|sealed| identities.open(sealed).transpose());
    opened.map(|key| Ok(key?.to_file())).collect()
}

/// Keys that are no files: asked for on a terminal, else a line each.
fn typed(slots: &[Slot]) -> Result<Vec<Zeroizing<String>>> {
    if std::io::stdin().is_terminal() {
        let by_people = slots.iter().filter(|slot| !slot.opens_alone);
        let ask = |slot: &Slot| {
            let typed = rpassword::prompt_password(format!("{} of slot {}: ", slot.kind, slot.id));
            typed.map(Zeroizing::new).context("read a key from the terminal")
        };
        return by_people.map(ask).collect();
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(64 * 1024).read_to_string(&mut text).context("read keys from stdin")?;
    Ok(lines(&text))
}

fn lines(text: &str) -> Vec<Zeroizing<String>> {
    let lines = text.lines().map(|line| line.strip_suffix('\r').unwrap_or(line));
    lines.filter(|line| !line.trim().is_empty()).map(|line| Zeroizing::new(line.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_key_as_it_is() {
        let found: Vec<String> = lines("a b \r\n\n c\n").iter().map(|line| line.to_string()).collect();
        assert_eq!(found, ["a b ", " c"]);
    }
}
