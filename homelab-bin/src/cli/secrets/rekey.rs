//! `homelab secrets rekey` and `slots remove`: who opens the store.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use homelab_core::meta::Account;
use homelab_secrets::backend::{Host as _, System};
use homelab_secrets::keys::{RecoveryKey, SlotKey};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use reqwest::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::args::{Global, Rekey, Server, SlotKind};
use crate::cli::cluster::{Cluster, failed};
use crate::cli::kv::Client;
use crate::cli::output;

const SLOTS: &str = "sys/homelab/keys/slots";
/// Secret of a slot, and its key in there.
const SECRET: (&str, &str) = ("homelab-key", "store.key");

pub(super) async fn run(global: &Global, args: Rekey) -> Result<()> {
    let client = Client::connect(global, &args.server).await?;
    match args.kind {
        SlotKind::KeyFile => {
            let file = args.out.as_deref().context("--out FILE names the key file to make")?;
            let text = new_key()?;
            // First the file: a slot that nobody has the key of is worth nothing.
            make_file(file, &text).with_context(|| format!("make the key file {}", file.display()))?;
            let made = add(&client, "key-file", &text, &args).await;
            if made.is_err() {
                drop(std::fs::remove_file(file));
            }
            told(&made?);
            output::note(&format!(
                "its key is in {}. The server opens the store by `store.key` in its data directory: put this file there \
                 before its next start, if the old one is replaced",
                file.display()
            ));
        }
        SlotKind::KubernetesSecret => in_cluster(global, &client, &args).await?,
        SlotKind::Passphrase => told(&add(&client, "passphrase", &passphrase()?, &args).await?),
        SlotKind::Recovery => {
            let key = RecoveryKey::generate(&|buffer| System.random(buffer)).context("make a recovery key")?;
            let text = key.to_text()?;
            let made = add(&client, "recovery", &text, &args).await?;
            output::line(&text)?;
            told(&made);
            output::note("write the line above down and keep it elsewhere: it is shown only now");
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

async fn in_cluster(global: &Global, client: &Client, args: &Rekey) -> Result<()> {
    let cluster = Cluster::connect(global).await.context("reach the cluster that is to keep the key")?;
    let (namespace, name) = match args.secret.as_deref().map(|text| (text, Account::parse(text))) {
        Some((_, Some(Account { namespace, name }))) => (namespace, name),
        Some((text, None)) => anyhow::bail!("`{text}` is no Secret; write NAMESPACE/NAME"),
        None => (cluster.daemon.clone(), SECRET.0.to_owned()),
    };
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), &namespace);
    let text = new_key()?;
    let object = Secret {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        string_data: Some([(SECRET.1.to_owned(), text.to_string())].into()),
        type_: Some("homelab.dev/store-key".into()),
        ..Secret::default()
    };
    let what = format!("Secret {namespace}/{name}");
    let made = secrets.create(&PostParams::default(), &object).await;
    made.map_err(|error| failed(&format!("make {what}"), &error))?;
    let added = add(client, "kubernetes-secret", &text, args).await;
    if added.is_err() {
        let gone = secrets.delete(&name, &DeleteParams::default()).await;
        if let Err(error) = gone {
            output::note(&format!("{what} opens nothing and can be deleted: {error}"));
        }
    }
    told(&added?);
    output::note(&format!("its key is in {what}"));
    Ok(())
}

async fn add(client: &Client, kind: &str, key: &str, args: &Rekey) -> Result<Value> {
    let body = json!({ "kind": kind, "key": key, "replaces": args.replace });
    let action = args.replace.as_ref().map_or_else(|| "add a slot".to_owned(), |slot| format!("replace slot {slot}"));
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

fn new_key() -> Result<Zeroizing<String>> {
    Ok(SlotKey::generate(&|buffer| System.random(buffer)).context("make a key")?.to_file())
}

/// A file of its own that only its owner can read, on the disk when this returns.
fn make_file(file: &Path, text: &str) -> std::io::Result<()> {
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
        let text = new_key().expect("a key");
        make_file(&file, &text).expect("made");
        assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&file).expect("read"), *text);
        assert_eq!(make_file(&file, "x").expect_err("there is one").kind(), std::io::ErrorKind::AlreadyExists);
    }
}
