//! Opens the secret store in the data directory; makes store and key file at the first start.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use homelab_secrets::backend::embedded::Embedded;
use homelab_secrets::backend::{self, System};
use homelab_secrets::store::SecretStore;

use super::settings::Settings;

/// The open store.
pub(super) async fn open(settings: &Settings) -> Result<SecretStore> {
    let directory = &settings.args.data_dir;
    let made = tokio::fs::create_dir_all(directory).await;
    made.with_context(|| format!("make the data directory {} (--data-dir names another)", directory.display()))?;
    let (key_file, store_file) = (settings.data("store.key"), settings.data("store.redb"));
    let host = Arc::new(System);
    // A store without its key is never given a new one: that would open nothing.
    let new = !store_file.exists();
    let key = backend::key_file(&key_file, new, &*host)
        .with_context(|| format!("read the key file {}", key_file.display()))?;
    let redb = Embedded::open(&store_file).with_context(|| format!("open the store {}", store_file.display()))?;
    let store = SecretStore::open_or_init(Arc::new(redb), key, host).await;
    store.with_context(|| format!("unseal the store {} with {}", store_file.display(), key_file.display()))
}
