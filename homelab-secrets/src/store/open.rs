//! What an open store knows: keys and mounts, as they were at one head.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::de::DeserializeOwned;

use super::record::{self, MountRecord, MountTable, NonceText, PathRecord, VersionRecord};
use super::witness::{Watch, Watched};
use super::write::Queue;
use super::{Inner, KV_MOUNT, Loaded, Mount, Secret, SecretData, SecretPath, SecretStore};
use crate::Error;
use crate::backend::{Backend, Batch, Head, Host};
use crate::head::StoreHead;
use crate::keys::{KeyTable, Keyring, NewSlot, Unlock};
use crate::kv::MountSettings;
use crate::seal::{Form, Place};

/// Keys and mounts that belong together. It is replaced as a whole, so a reader never sees one without the other.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) keys: Arc<Keyring>,
    /// What the keys were opened from.
    pub(super) table: Arc<KeyTable>,
    /// Also those that are going.
    pub(super) mounts: Arc<Vec<Mount>>,
    /// As the newest commit left it.
    pub(super) head: StoreHead,
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
        let store = Self::sealed(backend, host, None);
        if store.0.backend.head().await? == Head(0) {
            store.initialize(vec![unlock]).await?;
        } else {
            store.unseal(unlock).await?;
        }
        Ok(store)
    }

    /// The wrapped keys as they are stored. Nothing in them is secret. Class `Retry` while the store is sealed.
    pub fn key_table(&self) -> Result<Vec<u8>, Error> {
        self.opened()?.table.to_json()
    }

    /// Over `backend`, without keys.
    pub(super) fn sealed(backend: Arc<dyn Backend>, host: Arc<dyn Host>, watched: Option<Watched>) -> Self {
        Self(Arc::new(Inner {
            backend,
            host,
            open: RwLock::default(),
            queue: Queue::default(),
            resealing: Mutex::default(),
            watch: Watch::new(watched),
        }))
    }

    pub(super) async fn initialize(&self, unlocks: Vec<Unlock>) -> Result<(), Error> {
        if self.0.backend.head().await? != Head(0) {
            return Err(Error::Conflict("the store has keys already".into()));
        }
        let host = self.0.host.clone();
        // A passphrase takes argon2id tens of milliseconds and 64 MiB: not on a thread that serves others.
        let made = tokio::task::spawn_blocking(move || {
            let random: crate::keys::Random<'_> = &|buffer| host.random(buffer);
            let slots = unlocks.iter().map(|unlock| NewSlot::of(unlock, random)).collect::<Result<Vec<_>, _>>()?;
            let mut table = KeyTable::create(&slots, random)?;
            table.stamp(host.now());
            let first = unlocks.into_iter().next().ok_or_else(|| Error::Bug("a store without slots".into()))?;
            let keys = table.open(&first)?;
            Ok::<_, Error>((table, keys, first))
        });
        let (table, keys, unlock) = made.await.map_err(|_| Error::Bug("making the keys was cut off".into()))??;
        let batch = first_batch(&table, &keys, &*self.0.host)?;
        self.0.backend.commit(Head(0), batch).await?;
        self.unseal(unlock).await
    }

    pub(super) async fn unseal(&self, unlock: Unlock) -> Result<(), Error> {
        // First the head: what is read after it is at least as new.
        let seen = self.0.backend.head().await?;
        let table = Arc::new(read_table(&*self.0.backend).await?);
        let with = table.clone();
        let keys = tokio::task::spawn_blocking(move || with.open(&unlock)).await;
        let keys = Arc::new(keys.map_err(|_| Error::Bug("opening the keys was cut off".into()))??);
        let mounts = Arc::new(read_mounts(&*self.0.backend, &keys).await?);
        let head = read_head(&*self.0.backend, &keys, &table).await?;
        {
            let mut slot = self.0.open.write().unwrap_or_else(PoisonError::into_inner);
            if slot.is_some() {
                return Ok(());
            }
            *slot = Some(Arc::new(Open { keys, table, mounts, head, seen }));
        }
        if let Err(refused) = self.compare().await {
            self.seal();
            return Err(refused);
        }
        if self.0.watch.allow_writes().is_ok() {
            self.resume().await?;
        }
        Ok(())
    }

    /// Goes on with what an earlier process left unfinished, as soon as writes may go on.
    pub(super) async fn resume(&self) -> Result<(), Error> {
        self.finish_removals().await;
        if self.opened()?.table.epochs.len() > 1 {
            self.reseal_in_background();
        }
        Ok(())
    }

    pub(super) fn seal(&self) {
        self.0.open.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// What is open now. Class `Retry` while the store is sealed.
    pub(super) fn opened(&self) -> Result<Arc<Open>, Error> {
        self.0.open.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Sealed)
    }

    /// What is open at `head`: read anew if another process has committed since.
    pub(super) async fn open_at(&self, head: Head) -> Result<Open, Error> {
        let mut open = (*self.opened()?).clone();
        if open.seen != head {
            let table = read_table(&*self.0.backend).await?;
            if table != *open.table {
                open.keys = Arc::new(table.reopen(&open.keys).map_err(|_| {
                    self.seal();
                    Error::Sealed
                })?);
                open.table = Arc::new(table);
            }
            open.mounts = Arc::new(read_mounts(&*self.0.backend, &open.keys).await?);
            open.head = read_head(&*self.0.backend, &open.keys, &open.table).await?;
            open.seen = head;
        }
        Ok(open)
    }

    /// Puts `open` in the place of what is older.
    pub(super) fn publish(&self, open: Open) {
        let mut slot = self.0.open.write().unwrap_or_else(PoisonError::into_inner);
        // A store that was sealed in between stays sealed.
        if slot.as_ref().is_some_and(|now| now.seen <= open.seen) {
            *slot = Some(Arc::new(open));
        }
    }

    /// Whether keys or mounts are others than `open` has: then what did not open with it may open now. Another process
    /// may have changed them, too.
    pub(super) async fn moved_on(&self, open: &Open) -> Result<bool, Error> {
        let same = |now: &Open| Arc::ptr_eq(&now.keys, &open.keys) && Arc::ptr_eq(&now.mounts, &open.mounts);
        let now = self.opened()?;
        if !same(&now) {
            return Ok(true);
        }
        let head = self.0.backend.head().await?;
        if head == now.seen {
            return Ok(false);
        }
        self.publish(self.open_at(head).await?);
        Ok(true)
    }
}

fn first_batch(table: &KeyTable, keys: &Keyring, host: &dyn Host) -> Result<Batch, Error> {
    let random = || {
        let mut bytes = [0; 16];
        host.random(&mut bytes).map(|()| bytes)
    };
    let id = random()?;
    let (description, settings) = (String::new(), MountSettings::default());
    let mount = Mount { name: KV_MOUNT.into(), description, settings, id, going: false };
    let mounts = MountTable { mounts: vec![MountRecord::of(&mount)] };
    let store = table.digest.id.to_string();
    let head = StoreHead { store, sequence: Head(0).next().0, tag: crate::hex::encode(&random()?) };
    let front = |path| Ok::<_, Error>((Place { mount: &record::SYSTEM, path }, Head(0).next().0, random()?));
    let mut batch = Batch::default();
    batch.put(record::KEY_TABLE, table.to_json()?);
    batch.put(record::MOUNTS, record::seal(keys, Form::State, front(record::MOUNTS)?, mounts)?);
    batch.put(record::HEAD, record::seal(keys, Form::State, front(record::HEAD)?, head)?);
    Ok(batch)
}

async fn read_table(backend: &dyn Backend) -> Result<KeyTable, Error> {
    let table = backend.get(record::KEY_TABLE).await?;
    let missing = match backend.head().await? {
        Head(0) => "the store has no keys yet: initialise it",
        _ => "the store has records but no key table: restore it from a backup",
    };
    KeyTable::from_json(&table.ok_or_else(|| Error::Invalid(missing.into()))?)
}

/// A store of before there were heads stands at 0.
async fn read_head(backend: &dyn Backend, keys: &Keyring, table: &KeyTable) -> Result<StoreHead, Error> {
    let Some(sealed) = backend.get(record::HEAD).await? else {
        // The digest key stays as long as the store lives, so its name names the store.
        return Ok(StoreHead { store: table.digest.id.to_string(), sequence: 0, tag: String::new() });
    };
    let place = Place { mount: &record::SYSTEM, path: record::HEAD };
    Ok(record::open(keys, Form::State, place, &sealed)?.1)
}

async fn read_mounts(backend: &dyn Backend, keys: &Keyring) -> Result<Vec<Mount>, Error> {
    let sealed = backend.get(record::MOUNTS).await?;
    let sealed = sealed.ok_or_else(|| Error::Unsealed { what: "the table of mounts".into() })?;
    let place = Place { mount: &record::SYSTEM, path: record::MOUNTS };
    let (_, table): (_, MountTable) = record::open(keys, Form::State, place, &sealed)?;
    table.mounts.into_iter().map(MountRecord::into_mount).collect()
}
