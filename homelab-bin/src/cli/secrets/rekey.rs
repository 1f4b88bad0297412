//! `homelab secrets rekey` and `slots remove`: who opens the store.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use homelab_core::meta::Account;
use homelab_secrets::backend::age::{AgeIdentities, seal_for_age};
use homelab_secrets::backend::{Host as _, System};
use homelab_secrets::keys::{KeyId, RecoveryKey, SlotKey};
use reqwest::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::args::{Global, Rekey, Server, SlotKind};
use crate::cli::cluster::Cluster;
use crate::cli::kv::{Client, is_refused};
use crate::cli::output;

mod key_secret;
pub(in crate::cli) mod recovery;

use key_secret::KeySecret;

const SLOTS: &str = "sys/homelab/keys/slots";
/// Secret with the keys of slots.
const SECRET: &str = "homelab-key";

pub(super) async fn run(global: &Global, args: Rekey) -> Result<()> {
    let client = Client::connect(global, &args.server).await?;
    match args.kind {
        SlotKind::KeyFile => {
            let file = args.out.as_deref().context("--out FILE names the key file to make")?;
            let key = new_key()?;
            let text = key.to_file();
            // First the file: a slot that nobody has the key of is worth nothing.
            make_file(file, &text).with_context(|| format!("make the key file {}", file.display()))?;
            let made = match add(&client, "key-file", &text, args.replace.as_deref()).await {
                Err(error) if is_refused(&error) => {
                    drop(std::fs::remove_file(file));
                    return Err(error);
                }
                made => made.map_err(|error| unknown(error, &format!("the key file {}", file.display()), key.id()))?,
            };
            told(&made);
            output::note(&format!(
                "its key is in {}. The server opens the store by `store.key` in its data directory: put this file there \
                 before its next start, if the old one is replaced",
                file.display()
            ));
        }
        SlotKind::KubernetesSecret => in_cluster(global, &client, &args).await?,
        SlotKind::Age => for_age(&client, &args).await?,
        SlotKind::Passphrase => told(&add(&client, "passphrase", &passphrase()?, args.replace.as_deref()).await?),
        SlotKind::Recovery => {
            let key = recovery_key()?;
            add_recovery(&client, &key, args.replace.as_deref(), || recovery::show(&key)).await?;
        }
    }
    Ok(())
}

pub(super) async fn remove(global: &Global, server: &Server, slot: &str) -> Result<()> {
    ensure!(
        slot.len() == 32 && slot.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "`{slot}` is no slot: `homelab secrets slots list` shows them"
    );
    let client = Client::connect(global, server).await?;
    let answer = client.call(Method::DELETE, &format!("{SLOTS}/{slot}"), None, &format!("remove slot {slot}")).await?;
    warnings(&answer);
    output::note(&format!(
        "slot {slot} is removed. Who has its key and an earlier copy of the store can open that copy: \
         `homelab secrets rotate --root` and `homelab secrets rotate` make the store's keys new"
    ));
    Ok(())
}

/// A new recovery key, which opens nothing yet.
pub(in crate::cli) fn recovery_key() -> Result<Zeroizing<String>> {
    let key = RecoveryKey::generate(&|buffer| System.random(buffer)).context("make a recovery key")?;
    Ok(key.to_text()?)
}

/// Gives the store a slot for a recovery key. It is shown unless nothing was made; also when that is not known.
pub(in crate::cli) async fn add_recovery(
    client: &Client,
    key: &str,
    replaces: Option<&str>,
    show: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let made = add(client, "recovery", key, replaces).await;
    if let Err(error) = made.as_ref()
        && is_refused(error)
    {
        return made.map(drop);
    }
    show()?;
    told(&made.context("it is not known whether that key opens the store now: `homelab secrets slots list`")?);
    Ok(())
}

/// Identities stay here: the server gets their public keys alone.
async fn for_age(client: &Client, args: &Rekey) -> Result<()> {
    let mut recipients = args.recipients.clone();
    for file in &args.identities {
        recipients.extend(identities(file)?.recipients());
    }
    ensure!(!recipients.is_empty(), "say who opens the store: --recipient age1… or --identity FILE");
    let key = SlotKey::generate(&|buffer| System.random(buffer)).context("make a key")?;
    let sealed = seal_for_age(&key, &recipients)?;
    let with = json!({ "recipients": sealed.recipients, "sealed": sealed.sealed });
    told(&add_with(client, ("age", &key.to_file()), with, args.replace.as_deref()).await?);
    output::note(
        "`--age-identity FILE` of `homelab daemon` and `homelab server` opens the store at their start; \
         `homelab secrets unseal < FILE` opens a sealed one",
    );
    Ok(())
}

/// The age identities in a file.
#[expect(clippy::disallowed_methods, reason = "reads an identity file that somebody names")]
pub(super) fn identities(file: &Path) -> Result<AgeIdentities> {
    let what = || format!("read the age identities in {}", file.display());
    let text = std::fs::read_to_string(file).map(Zeroizing::new).with_context(what)?;
    AgeIdentities::parse(&text).with_context(what)
}

async fn in_cluster(global: &Global, client: &Client, args: &Rekey) -> Result<()> {
    let cluster = Cluster::connect(global).await.context("reach the cluster that is to keep the key")?;
    let (namespace, name) = match args.secret.as_deref().map(|text| (text, Account::parse(text))) {
        Some((_, Some(Account { namespace, name }))) => (namespace, name),
        Some((text, None)) => anyhow::bail!("`{text}` is no Secret; write NAMESPACE/NAME"),
        None => (cluster.daemon.clone(), SECRET.to_owned()),
    };
    let place = KeySecret::new(&cluster, &namespace, &name);
    let key = new_key()?;
    let entry = place.put(&key).await?;
    let made = match add(client, "kubernetes-secret", &key.to_file(), args.replace.as_deref()).await {
        Err(error) if is_refused(&error) => {
            place.take(&entry).await;
            return Err(error);
        }
        made => made.map_err(|error| unknown(error, &format!("{entry} of {place}"), key.id()))?,
    };
    told(&made);
    if let Some(old) = args.replace.as_deref() {
        place.forget(old).await;
    }
    output::note(&format!("its key is {entry} of {place}"));
    Ok(())
}

/// The server may have made the slot: then what opens it must not be thrown away.
fn unknown(error: anyhow::Error, what: &str, slot: KeyId) -> anyhow::Error {
    error.context(format!(
        "it is not known whether the store has a new slot: keep {what} until `homelab secrets slots list` answers \
         without slot {slot}"
    ))
}

async fn add(client: &Client, kind: &str, key: &str, replaces: Option<&str>) -> Result<Value> {
    add_with(client, (kind, key), json!({}), replaces).await
}

/// The same with more about the slot.
async fn add_with(
    client: &Client,
    (kind, key): (&str, &str),
    mut body: Value,
    replaces: Option<&str>,
) -> Result<Value> {
    (body["kind"], body["key"], body["replaces"]) = (json!(kind), json!(key), json!(replaces));
    let action = replaces.map_or_else(|| "add a slot".to_owned(), |slot| format!("replace slot {slot}"));
    client.call(Method::POST, SLOTS, Some(&body), &action).await
}

fn told(answer: &Value) {
    let id = answer["data"]["id"].as_str().unwrap_or("?");
    output::note(&format!("slot {id} opens the store"));
    warnings(answer);
}

fn warnings(answer: &Value) {
    let warnings = answer["data"]["warnings"].as_array();
    warnings.into_iter().flatten().filter_map(Value::as_str).for_each(|text| output::note(&format!("warning: {text}")));
}

fn new_key() -> Result<SlotKey> {
    SlotKey::generate(&|buffer| System.random(buffer)).context("make a key")
}

/// A file of its own that only its owner can read, on the disk when this returns.
pub(in crate::cli) fn make_file(file: &Path, text: &str) -> std::io::Result<()> {
    let mut made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    made.write_all(text.as_bytes())?;
    made.sync_all()
}

/// From stdin; from a terminal twice, without being shown.
fn passphrase() -> Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().read_line(&mut text).context("read the passphrase from stdin")?;
        return Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()));
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new).context("read the passphrase");
    let (first, second) = (ask("New passphrase: ")?, ask("Once more: ")?);
    ensure!(*first == *second, "the two are not the same");
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "reads the file that it made")]
    fn a_key_file_is_its_owners_and_never_written_over() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("new.key");
        let text = new_key().expect("a key").to_file();
        make_file(&file, &text).expect("made");
        assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&file).expect("read"), *text);
        assert_eq!(make_file(&file, "x").expect_err("there is one").kind(), std::io::ErrorKind::AlreadyExists);
    }
}
