//! Where the standalone server keeps its store, the key that opens it, and the root token.
#![expect(clippy::disallowed_methods, reason = "reads and makes the files of the data directory")]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use homelab_secrets::backend::memory::Memory;
use homelab_secrets::backend::{Host as _, System};
use homelab_secrets::keys::{SlotKey, Unlock};
use homelab_secrets::store::{BackendKind, StorePlace, Vault};
use zeroize::Zeroizing;

use crate::args::SecretServer;
use crate::daemon::store;

const ROOT_TOKEN: &str = "root-token";

/// A store and what belongs to it.
pub(super) struct Opened {
    pub(super) vault: Vault,
    /// Where it lies.
    pub(super) place: StorePlace,
    /// The data directory; empty for a store in memory.
    pub(super) directory: PathBuf,
    pub(super) root_token: Option<Zeroizing<String>>,
    /// Where the root token is kept.
    pub(super) token_file: Option<PathBuf>,
}

/// A store that ends with the process.
pub(super) async fn in_memory(root_token: Option<&str>) -> Result<Opened> {
    let key = SlotKey::generate(&|buffer| System.random(buffer)).context("make a key")?;
    let vault = Vault::new(Arc::new(Memory::default()), Arc::new(System));
    vault.initialize(vec![Unlock::KeyFile(key)]).await.context("make a store in memory")?;
    let token = match root_token {
        Some(token) => Zeroizing::new(token.to_owned()),
        None => new_token()?,
    };
    let place = StorePlace {
        backend: BackendKind::Memory,
        at: "this process".into(),
        key: None,
        key_beside: false,
        witness: None,
        audit: None,
    };
    Ok(Opened { vault, place, directory: PathBuf::new(), root_token: Some(token), token_file: None })
}

/// The store in the data directory; the first start makes it, with a key file and a root token beside it.
pub(super) async fn on_disk(args: &SecretServer) -> Result<Opened> {
    let directory = match &args.data_dir {
        Some(named) => named.clone(),
        None => default_directory(|name| std::env::var_os(name).map(PathBuf::from))
            .context("neither $XDG_DATA_HOME nor $HOME is set: name the data directory with --data-dir")?,
    };
    let kept = store::open(&directory, None, args.age_identity.as_deref(), store::Absent::Make).await?;
    let file = directory.join(ROOT_TOKEN);
    let root_token = root_token(&file, kept.is_new).with_context(|| format!("root token in {}", file.display()))?;
    let token_file = root_token.is_some().then_some(file);
    Ok(Opened { vault: kept.vault, place: kept.place, directory, root_token, token_file })
}

/// `$XDG_DATA_HOME/homelab`, as the XDG base directories say.
fn default_directory(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    Some(data?.join("homelab"))
}

/// The token in the file. A new store gets one; later the file may be deleted, and then there is no root token.
fn root_token(file: &Path, may_create: bool) -> Result<Option<Zeroizing<String>>> {
    match std::fs::read_to_string(file).map(Zeroizing::new) {
        Ok(text) => {
            let token = Zeroizing::new(text.trim().to_owned());
            anyhow::ensure!(token.len() >= 16, "it is empty or too short: delete it, or write a longer one");
            Ok(Some(token))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && may_create => {
            let token = new_token()?;
            let mut text = Zeroizing::new(token.as_bytes().to_vec());
            text.push(b'\n');
            let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
            written.write_all(&text)?;
            written.sync_all()?;
            file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
            Ok(Some(token))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn new_token() -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 32]);
    System.random(&mut *bytes).context("make a token")?;
    Ok(Zeroizing::new(format!("hls.{}", URL_SAFE_NO_PAD.encode(*bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_is_where_xdg_says() {
        let find = |set: &[(&str, &str)]| {
            let found = default_directory(|name| set.iter().find(|(key, _)| *key == name).map(|(_, v)| v.into()));
            found.map(|path| path.display().to_string())
        };
        assert_eq!(find(&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/me")]).as_deref(), Some("/data/homelab"));
        assert_eq!(
            find(&[("XDG_DATA_HOME", "data"), ("HOME", "/home/me")]).as_deref(),
            Some("/home/me/.local/share/homelab")
        );
        assert_eq!(find(&[]), None);
    }

    #[test]
    fn the_root_token_is_made_once_and_stays_away_when_it_was_deleted() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(ROOT_TOKEN);
        assert!(root_token(&file, false).expect("none").is_none());
        let made = root_token(&file, true).expect("made").expect("a token");
        assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(root_token(&file, true).expect("read").expect("a token"), made);
        std::fs::write(&file, "\n").expect("emptied");
        assert!(root_token(&file, true).expect_err("empty").to_string().contains("too short"));
    }
}
