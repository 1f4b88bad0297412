//! What an open store knows: keys and mounts, as they were at one head.

use std::sync::{Arc, PoisonError, RwLock};

use serde::de::DeserializeOwned;

use super::record::{self, MountRecord, MountTable, NonceText, PathRecord, VersionRecord};
use super::write::Queue;
use super::{Inner, KV_MOUNT, Loaded, Mount, Secret, SecretData, SecretPath, SecretStore};
use crate::Error;
use crate::backend::{Backend, Batch, Head, Host};
use crate::keys::{KeyTable, Keyring, Unlock};
use crate::kv::MountSettings;
use crate::seal::{Form, Place};

/// Keys and mounts that belong together. It is replaced as a whole, so a reader never sees one without the other.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) keys: Arc<Keyring>,
    /// Also those that are going.
    pub(super) mounts: Arc<Vec<Mount>>,
    /// Head at which this was known to be the newest.
    pub(super) seen: Head,
}

impl Open {
    pub(super) fn mount(&self, name: &str) -> Result<&Mount, Error> {
        let found = self.mounts.iter().find(|mount| mount.name == name && !mount.going);
        found.ok_or_else(|| Error::NotFound(format!("there is no mount {name}: paths start with {KV_MOUNT}/")))
    }

    /// The content of a state.
    pub(super) fn state<T: DeserializeOwned>(&self, place: Place<'_>, sealed: &[u8]) -> Result<T, Error> {
        Ok(record::open(&self.keys, Form::State, place, sealed)?.1)
    }

    /// The state of a path.
    pub(super) fn loaded(&self, path: &SecretPath, sealed: &[u8]) -> Result<Loaded, Error> {
        let place = Place { mount: &self.mount(path.mount())?.id, path: path.inner() };
        Ok(Loaded { record: self.state::<PathRecord>(place, sealed)? })
    }

    /// A version's content: it has to be the one that the state knows.
    pub(super) fn version(
        &self,
        path: &SecretPath,
        loaded: &Loaded,
        version: u64,
        sealed: &[u8],
    ) -> Result<Secret, Error> {
        let place = Place { mount: &self.mount(path.mount())?.id, path: path.inner() };
        let (front, content): (_, VersionRecord) = record::open(&self.keys, Form::Version, place, sealed)?;
        let expected = loaded.record.nonces.get(&version);
        if front.number != version || expected != Some(&NonceText::of(&front.nonce)) {
            return Err(Error::Unsealed { what: format!("version {version} of {path}") });
        }
        let VersionRecord { created, writer, data } = content;
        Ok(Secret { version, created, writer, data })
    }

    pub(super) fn digest(&self, path: &SecretPath, data: &SecretData) -> Result<String, Error> {
        let mount = self.mount(path.mount())?;
        self.keys.digest(&[&mount.id, path.inner().as_bytes(), &data.canonical()])
    }
}

impl SecretStore {
    /// Opens what is in `backend`; an empty one gets new keys, a slot for `unlock`, and the mount `kv`.
    pub async fn open_or_init(backend: Arc<dyn Backend>, unlock: Unlock, host: Arc<dyn Host>) -> Result<Self, Error> {
        if backend.head().await? == Head(0) {
            init(&*backend, &unlock, &*host).await?;
        }
        // First the head: what is read after it is at least as new.
        let seen = backend.head().await?;
        let table = backend.get(record::KEY_TABLE).await?;
        let table = table
            .ok_or_else(|| Error::Invalid("the store has records but no key table: restore it from a backup".into()))?;
        let table = KeyTable::from_json(&table)?;
        // A passphrase takes argon2id tens of milliseconds and 64 MiB: not on a thread that serves others.
        let keys = tokio::task::spawn_blocking(move || table.open(&unlock)).await;
        let keys = Arc::new(keys.map_err(|_| Error::Bug("opening the keys was cut off".into()))??);
        let mounts = Arc::new(read_mounts(&*backend, &keys).await?);
        let open = RwLock::new(Some(Arc::new(Open { keys, mounts, seen })));
        let store = Self(Arc::new(Inner { backend, host, open, queue: Queue::default() }));
        store.finish_removals().await;
        Ok(store)
    }

    /// What is open now. Class `Retry` while the store is sealed.
    pub(super) fn opened(&self) -> Result<Arc<Open>, Error> {
        self.0.open.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Sealed)
    }

    /// What is open at `head`: read anew if another process has committed since.
    pub(super) async fn open_at(&self, head: Head) -> Result<Open, Error> {
        let mut open = (*self.opened()?).clone();
        if open.seen != head {
            open.mounts = Arc::new(read_mounts(&*self.0.backend, &open.keys).await?);
            open.seen = head;
        }
        Ok(open)
    }
}

async fn init(backend: &dyn Backend, unlock: &Unlock, host: &dyn Host) -> Result<(), Error> {
    let table = KeyTable::create(unlock, &|buffer| host.random(buffer))?;
    let keys = table.open(unlock)?;
    let (mut id, mut nonce) = ([0; 16], [0; 16]);
    host.random(&mut id)?;
    host.random(&mut nonce)?;
    let (description, settings) = (String::new(), MountSettings::default());
    let mount = Mount { name: KV_MOUNT.into(), description, settings, id, going: false };
    let mounts = MountTable { mounts: vec![MountRecord::of(&mount)] };
    let place = Place { mount: &record::SYSTEM, path: record::MOUNTS };
    let mut batch = Batch::default();
    batch.put(record::KEY_TABLE, table.to_json()?);
    batch.put(record::MOUNTS, record::seal(&keys, Form::State, (place, Head(0).next().0, nonce), mounts)?);
    backend.commit(Head(0), batch).await?;
    Ok(())
}

async fn read_mounts(backend: &dyn Backend, keys: &Keyring) -> Result<Vec<Mount>, Error> {
    let sealed = backend.get(record::MOUNTS).await?;
    let sealed = sealed.ok_or_else(|| Error::Unsealed { what: "the table of mounts".into() })?;
    let place = Place { mount: &record::SYSTEM, path: record::MOUNTS };
    let (_, table): (_, MountTable) = record::open(keys, Form::State, place, &sealed)?;
    table.mounts.into_iter().map(MountRecord::into_mount).collect()
}
