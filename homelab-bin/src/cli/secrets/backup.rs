//! `homelab secrets backup` and `restore`: the whole store in one file, as it is sealed.
#![expect(clippy::disallowed_methods, reason = "writes and reads the files that somebody names")]

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use homelab_secrets::backend::age::AgeIdentities;
use homelab_secrets::backend::embedded::Embedded;
use homelab_secrets::backend::memory::Memory;
use homelab_secrets::backend::{Backend, System};
use homelab_secrets::backup::{Decoder, Header};
use homelab_secrets::keys::{KeyId, RecoveryKey, SlotKey, Unlock};
use homelab_secrets::store::{Checked, Vault, restore as put_back};
use reqwest::Method;
use zeroize::Zeroizing;

use crate::args::{Backup, Global, Restore};
use crate::cli::kv::Client;
use crate::cli::output;

/// How often it is asked again when somebody writes in between.
const ATTEMPTS: usize = 5;
const PATH: &str = "sys/homelab/backup";

pub(super) async fn take(global: &Global, args: &Backup) -> Result<()> {
    let to = &args.to;
    ensure!(!to.exists(), "{} is there already: a backup never writes over another", to.display());
    let client = Client::connect(global, &args.server).await?;
    let draft = draft_of(to);
    let taken = download(&client, &draft).await;
    if taken.is_err() {
        drop(std::fs::remove_file(&draft));
    }
    let (header, records) = taken?;
    let proved = match &args.verify_recovery {
        Some(file) => Some(prove_file(&draft, file).await.inspect_err(|_| drop(std::fs::remove_file(&draft)))?),
        None => None,
    };
    std::fs::rename(&draft, to).with_context(|| format!("name the backup {}", to.display()))?;
    output::note(&format!("{}: {records} records of store {} at {}", to.display(), header.store, header.sequence));
    match proved {
        Some(proof) => {
            output::note(&proof.words());
            proof.remember(&client).await;
        }
        None => output::note(
            "whether you could open it is not proved: --verify-recovery FILE tries a key file, recovery key, passphrase or age identities",
        ),
    }
    Ok(())
}

/// Puts a backup where no store is.
pub(super) async fn restore(args: &Restore) -> Result<()> {
    let directory = &args.data_dir;
    let store = directory.join("store.redb");
    let draft = draft_of(&store);
    ensure!(!store.exists(), "there is a store already: {}; move it away first", store.display());
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    drop(std::fs::remove_file(&draft));
    let made = async {
        let backend = Embedded::open(&draft).with_context(|| format!("make {}", draft.display()))?;
        fill(&backend, &args.from).await
    };
    let made = made.await.inspect_err(|_| drop(std::fs::remove_file(&draft)));
    let (header, records) = made?;
    std::fs::rename(&draft, &store).with_context(|| format!("name the store {}", store.display()))?;
    File::open(directory).and_then(|directory| directory.sync_all()).context("sync the data directory")?;
    output::note(&format!("{}: {records} records of store {}, made {}", store.display(), header.store, header.made));
    output::note(
        "put the key file that opened it beside it as store.key, or open it with `homelab secrets unseal` when it is served; a daemon \
         that kept a copy of a newer head asks for `homelab secrets accept-rollback` then",
    );
    Ok(())
}

/// Beside it, and of it alone: a backup that is being taken belongs to one name.
pub(super) fn draft_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

async fn download(client: &Client, draft: &Path) -> Result<(Header, u64)> {
    for attempt in 1.. {
        write(client, draft).await?;
        match whole(draft) {
            Err(error) if attempt < ATTEMPTS => output::note(&format!("{error:#}; asking again")),
            done => return done,
        }
    }
    bail!("gave up")
}

async fn write(client: &Client, draft: &Path) -> Result<()> {
    let what = || format!("write {}", draft.display());
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(draft).with_context(what)?;
    let mut file = BufWriter::new(file);
    let mut answer = client.stream(Method::POST, PATH, "take a backup of the store").await?;
    // An answer that ends early is one without the file's end, which is looked for afterwards.
    while let Ok(Some(piece)) = answer.chunk().await {
        file.write_all(&piece).with_context(what)?;
    }
    let file = file.into_inner().map_err(|error| error.into_error()).with_context(what)?;
    file.sync_all().with_context(what)
}

fn decoder(file: &Path) -> Result<(Header, Decoder<BufReader<File>>)> {
    let what = || format!("read the backup {}", file.display());
    let open = File::open(file).with_context(what)?;
    Decoder::begin(BufReader::new(open)).with_context(what)
}

/// Reads all of it, to its end.
fn whole(file: &Path) -> Result<(Header, u64)> {
    let (header, mut decoder) = decoder(file)?;
    while decoder.next_record()?.is_some() {}
    Ok((header, decoder.records()))
}

async fn fill(backend: &dyn Backend, file: &Path) -> Result<(Header, u64)> {
    let (header, mut decoder) = decoder(file)?;
    let records = put_back(backend, &mut decoder).await.with_context(|| format!("put {} back", file.display()))?;
    Ok((header, records))
}

async fn prove_file(backup: &Path, key: &Path) -> Result<Proof> {
    let bytes = std::fs::read(backup).with_context(|| format!("read the backup {}", backup.display()))?;
    prove(&bytes, key).await
}

/// What opens a backup, and what was seen.
pub(in crate::cli) struct Proof {
    checked: Checked,
    /// The slot that it is of.
    slot: Option<KeyId>,
}

impl Proof {
    pub(in crate::cli) fn words(&self) -> String {
        let Checked { records, versions } = self.checked;
        format!("it was put back into memory and opened: {records} records, {versions} of them versions of secrets")
    }

    /// Has the server remember it. What was seen stays true if that fails.
    pub(in crate::cli) async fn remember(&self, client: &Client) {
        let Some(slot) = self.slot else { return };
        let url = format!("sys/homelab/keys/slots/{slot}/proved");
        if let Err(error) = client.call(Method::POST, &url, None, "remember that the slot was proved").await {
            output::note(&format!("warning: {error:#}"));
        }
    }
}

/// Puts it back into memory, opens it with what is in `key`, and looks at every record.
pub(in crate::cli) async fn prove(backup: &[u8], key: &Path) -> Result<Proof> {
    let text = std::fs::read_to_string(key).map(Zeroizing::new).with_context(|| format!("read {}", key.display()))?;
    let backend = Arc::new(Memory::default());
    let (_, mut decoder) = Decoder::begin(backup)?;
    put_back(&*backend, &mut decoder).await?;
    let vault = Vault::new(backend, Arc::new(System));
    let opened = async {
        let unlock = unlock(&vault, &text).await?;
        let slot = vault.slot_of(&unlock).await?;
        vault.unseal(unlock).await?;
        Ok::<_, homelab_secrets::Error>(slot)
    };
    let slot = opened.await.with_context(|| format!("open the backup with {}", key.display()))?;
    Ok(Proof { checked: vault.store()?.check().await?, slot })
}

async fn unlock(vault: &Vault, text: &Zeroizing<String>) -> Result<Unlock, homelab_secrets::Error> {
    if AgeIdentities::is_like(text) {
        return vault.unlock_of(&AgeIdentities::parse(text)?).await;
    }
    let text = Zeroizing::new(text.trim().to_owned());
    Ok(match (SlotKey::from_file(&text), RecoveryKey::from_text(&text)) {
        (Ok(key), _) => Unlock::KeyFile(key),
        (_, Ok(key)) => Unlock::Recovery(key),
        _ => Unlock::Passphrase(text),
    })
}

#[cfg(test)]
mod tests {
    use homelab_secrets::backend::Host as _;
    use homelab_secrets::store::{Put, SecretData, SecretPath, SecretStore};

    use super::*;

    async fn backed_up(folder: &Path) -> (PathBuf, SlotKey) {
        let key = SlotKey::generate(&|buffer| System.random(buffer)).expect("a key");
        let unlock = Unlock::KeyFile(key.clone());
        let store = SecretStore::open_or_init(Arc::new(Memory::default()), unlock, Arc::new(System));
        let store = store.await.expect("a store");
        let data = SecretData::new(serde_json::Map::from_iter([("password".to_owned(), "planted".into())]));
        store.put(&SecretPath::parse("kv/web/db").expect("a path"), data, Put::default()).await.expect("written");
        let (mut backup, mut file) = (store.backup("0.1.0").await.expect("begun"), Vec::new());
        while let Some(piece) = backup.next_piece().await.expect("a piece") {
            file.extend(piece);
        }
        assert!(!file.windows(7).any(|part| part == b"planted"), "a backup is sealed");
        let path = folder.join("store.backup");
        std::fs::write(&path, file).expect("written");
        (path, key)
    }

    #[tokio::test]
    async fn a_backup_is_proved_by_its_key_and_put_back_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (backup, key) = backed_up(folder.path()).await;
        let file = folder.path().join("key");
        std::fs::write(&file, key.to_file().as_bytes()).expect("written");
        assert_eq!(prove_file(&backup, &file).await.expect("it opens").checked.versions, 1);
        std::fs::write(&file, "another passphrase").expect("written");
        assert!(prove_file(&backup, &file).await.is_err());

        let args = Restore { from: backup.clone(), data_dir: folder.path().join("data") };
        restore(&args).await.expect("put back");
        assert!(args.data_dir.join("store.redb").exists() && !args.data_dir.join("store.redb.part").exists());
        let again = restore(&args).await.expect_err("there is one").to_string();
        assert!(again.contains("there is a store already"), "{again}");
    }

    #[tokio::test]
    async fn of_a_backup_that_was_cut_off_nothing_is_put_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (backup, _) = backed_up(folder.path()).await;
        let bytes = std::fs::read(&backup).expect("read");
        std::fs::write(&backup, &bytes[..bytes.len() - 1]).expect("cut");
        let args = Restore { from: backup, data_dir: folder.path().join("data") };
        let error = format!("{:#}", restore(&args).await.expect_err("it is not whole"));
        assert!(error.contains("ends in the middle"), "{error}");
        assert_eq!(std::fs::read_dir(&args.data_dir).expect("the directory").count(), 0, "nothing is left of it");
    }
}
