//! The store of secrets: values above, ciphertext below.
//!
//! [`SecretStore`] is written once, over any [`Backend`](crate::backend::Backend). Each write reads the head, applies the
//! rules ([`kv::apply`](crate::kv::apply)), seals what comes of it, and commits all of it on that head; if somebody else
//! committed in between it starts over. So a write has happened whole or not at all, in whatever process it is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::Error;
use crate::backend::{Backend, Head, Host};
use crate::keys::{KeyTable, Keyring, Unlock};
use crate::kv::{Command, SettingsChange, State, VersionInfo};
use crate::seal::{Form, Place};

mod changes;
mod documents;
mod path;
mod pins;
mod record;
mod resolve;
mod value;
mod write;

pub use changes::{Changed, Changes};
pub use documents::MAX_DOCUMENT;
pub use path::{Folder, SecretPath};
pub use resolve::Resolved;
pub use value::{Secret, SecretData};

use record::{MountId, MountRecord, PathRecord, VersionRecord};
use write::Input;

/// The mount that every store has.
pub const KV_MOUNT: &str = "kv";
/// Largest value, as its written JSON.
pub const MAX_VALUE: usize = 512 * 1024;
const PAGE: usize = 256;

/// A mount: a name over an id that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name, the first part of its paths.
    pub name: String,
    id: MountId,
}

impl Mount {
    /// Its UUID as text.
    pub fn uuid(&self) -> String {
        crate::hex::uuid(&self.id)
    }
}

/// How to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The version that this one has to follow; 0: there must be none; none: whichever there is.
    pub cas: Option<u64>,
    /// Who writes, for the history.
    pub writer: String,
}

/// One version as it was found: with its value while it is live.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which version.
    pub version: u64,
    /// What is known of it.
    pub info: VersionInfo,
    /// Words of the users' own on the path.
    pub custom: BTreeMap<String, String>,
    /// The value; none if deleted or destroyed.
    pub secret: Option<Secret>,
}

/// The open store. Clones share it.
#[derive(Clone)]
pub struct SecretStore(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    host: Arc<dyn Host>,
    keys: Keyring,
    mounts: Vec<Mount>,
    /// Writers of this process take turns; it saves them starting over.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretStore({} mounts)", self.0.mounts.len())
    }
}

/// A path's state as it was read.
struct Loaded {
    record: PathRecord,
}

impl SecretStore {
    /// Opens what is in `backend`; an empty one gets new keys, a slot for `unlock`, and the mount `kv`.
    pub async fn open_or_init(backend: Arc<dyn Backend>, unlock: Unlock, host: Arc<dyn Host>) -> Result<Self, Error> {
        if backend.head().await? == Head(0) {
            Self::init(&*backend, &unlock, &*host).await?;
        }
        let table = backend.get(record::KEY_TABLE).await?;
        let table = table
            .ok_or_else(|| Error::Invalid("the store has records but no key table: restore it from a backup".into()))?;
        let table = KeyTable::from_json(&table)?;
        // A passphrase takes argon2id tens of milliseconds and 64 MiB: not on a thread that serves others.
        let keys = tokio::task::spawn_blocking(move || table.open(&unlock)).await;
        let keys = keys.map_err(|_| Error::Bug("opening the keys was cut off".into()))??;
        let mounts =
            backend.get(record::MOUNTS).await?.ok_or_else(|| Error::Unsealed { what: "the table of mounts".into() })?;
        let place = Place { mount: &record::SYSTEM, path: record::MOUNTS };
        let (_, table): (_, record::MountTable) = record::open(&keys, Form::State, place, &mounts)?;
        let mounts = table.mounts.into_iter().map(MountRecord::into_mount).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner { backend, host, keys, mounts, turn: tokio::sync::Mutex::new(()) })))
    }

    async fn init(backend: &dyn Backend, unlock: &Unlock, host: &dyn Host) -> Result<(), Error> {
        let table = KeyTable::create(unlock, &|buffer| host.random(buffer))?;
        let keys = table.open(unlock)?;
        let (mut id, mut nonce) = ([0; 16], [0; 16]);
        host.random(&mut id)?;
        host.random(&mut nonce)?;
        let mounts =
            record::MountTable { mounts: vec![MountRecord { name: KV_MOUNT.into(), id: crate::hex::encode(&id) }] };
        let place = Place { mount: &record::SYSTEM, path: record::MOUNTS };
        let mut batch = crate::backend::Batch::default();
        batch.put(record::KEY_TABLE, table.to_json()?);
        batch.put(record::MOUNTS, record::seal(&keys, Form::State, (place, Head(0).next().0, nonce), mounts)?);
        backend.commit(Head(0), batch).await?;
        Ok(())
    }

    /// The mounts.
    pub fn mounts(&self) -> &[Mount] {
        &self.0.mounts
    }

    /// The newest version, or `version`. Class `NotFound` if it is not there, deleted or destroyed.
    pub async fn get(&self, path: &SecretPath, version: Option<u64>) -> Result<Secret, Error> {
        let missing = |what: String| Error::NotFound(format!("{path}: {what}"));
        let Some(found) = self.find(path, version).await? else {
            return Err(missing(
                version.map_or_else(|| "there is no such secret".into(), |v| format!("there is no version {v}")),
            ));
        };
        let gone = if found.info.destroyed { "destroyed" } else { "deleted" };
        found.secret.ok_or_else(|| missing(format!("version {} is {gone}", found.version)))
    }

    /// The newest version, or `version`, with or without its value; `None` if there is none.
    pub async fn find(&self, path: &SecretPath, version: Option<u64>) -> Result<Option<Found>, Error> {
        // A version can be pruned between the two reads; then the state has moved on and says so.
        for _ in 0..3 {
            let Some(loaded) = self.load(path).await? else { return Ok(None) };
            let state = &loaded.record.state;
            let version = version.filter(|v| *v != 0).unwrap_or(state.current);
            let Some(info) = state.versions.get(&version).cloned() else { return Ok(None) };
            let custom = state.settings.custom.clone();
            if !info.is_live(self.0.host.now()) {
                return Ok(Some(Found { version, info, custom, secret: None }));
            }
            if let Some(secret) = self.open_version(path, &loaded, version).await? {
                return Ok(Some(Found { version, info, custom, secret: Some(secret) }));
            }
        }
        Err(Error::Unsealed { what: format!("the value of {path}") })
    }

    /// Everything about a path but its values; `None` if there is no such path.
    pub async fn history(&self, path: &SecretPath) -> Result<Option<State>, Error> {
        Ok(self.load(path).await?.map(|loaded| loaded.record.state))
    }

    /// Names in a folder, sorted; those of folders end with a slash. Empty if there are none.
    pub async fn list(&self, folder: &Folder) -> Result<Vec<String>, Error> {
        let Ok(mount) = self.mount(folder.mount()) else { return Ok(Vec::new()) };
        let prefix = record::state_key(&mount.id, folder.inner());
        let (mut names, mut after) = (Vec::<String>::new(), String::new());
        loop {
            let page = self.0.backend.scan(&prefix, &after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(names) };
            // Everything else in the folder that the page ends in is skipped.
            let rest = &last[prefix.len()..];
            after =
                rest.find('/').map_or_else(|| last.clone(), |slash| format!("{prefix}{}\u{10ffff}", &rest[..=slash]));
            for (key, _) in &page {
                let rest = &key[prefix.len()..];
                let name = rest.find('/').map_or(rest, |slash| &rest[..=slash]);
                if names.last().is_none_or(|last| last != name) {
                    names.push(name.into());
                }
            }
        }
    }

    /// Writes a new version; gives its number and what is known of it.
    pub async fn put(&self, path: &SecretPath, data: SecretData, how: Put) -> Result<(u64, State), Error> {
        let state = self.write(path, &Command::Put { cas: how.cas }, Input::Value(&data), &how.writer).await?;
        written(state)
    }

    /// Writes a new version made of the newest one and a JSON merge patch.
    pub async fn patch(&self, path: &SecretPath, patch: SecretData, how: Put) -> Result<(u64, State), Error> {
        let state = self.write(path, &Command::Patch { cas: how.cas }, Input::Patch(&patch), &how.writer).await?;
        written(state)
    }

    /// Soft-deletes versions; none named: the newest.
    pub async fn delete(&self, path: &SecretPath, versions: &[u64]) -> Result<(), Error> {
        self.change(path, &Command::Delete(versions.into())).await
    }

    /// Takes soft deletes back.
    pub async fn undelete(&self, path: &SecretPath, versions: &[u64]) -> Result<(), Error> {
        self.change(path, &Command::Undelete(versions.into())).await
    }

    /// Takes values away for ever; pinned ones only with `force`.
    pub async fn destroy(&self, path: &SecretPath, versions: &[u64], force: bool) -> Result<(), Error> {
        self.change(path, &Command::Destroy { versions: versions.into(), force }).await
    }

    /// Takes the whole path away for ever; with pinned versions only with `force`.
    pub async fn remove(&self, path: &SecretPath, force: bool) -> Result<(), Error> {
        self.change(path, &Command::Remove { force }).await
    }

    /// Sets settings of a path; `merge`: it has to exist, and custom words are merged instead of replaced.
    pub async fn set(&self, path: &SecretPath, change: SettingsChange, merge: bool) -> Result<(), Error> {
        self.change(path, &if merge { Command::PatchSettings(change) } else { Command::Set(change) }).await
    }

    /// Keyed digest (hex) of the value of a version: equal content at one path, equal digest; says nothing without the key.
    pub async fn digest(&self, path: &SecretPath, version: u64) -> Result<String, Error> {
        let secret = self.get(path, Some(version)).await?;
        self.digest_of(path, &secret.data)
    }

    fn digest_of(&self, path: &SecretPath, data: &SecretData) -> Result<String, Error> {
        let mount = self.mount(path.mount())?;
        self.0.keys.digest(&[&mount.id, path.inner().as_bytes(), &data.canonical()])
    }

    async fn change(&self, path: &SecretPath, command: &Command) -> Result<(), Error> {
        self.write(path, command, Input::None, "").await.map(drop)
    }

    fn mount(&self, name: &str) -> Result<&Mount, Error> {
        let found = self.0.mounts.iter().find(|mount| mount.name == name);
        found.ok_or_else(|| Error::NotFound(format!("there is no mount {name}: paths start with {KV_MOUNT}/")))
    }

    fn now(&self) -> Timestamp {
        self.0.host.now()
    }

    async fn load(&self, path: &SecretPath) -> Result<Option<Loaded>, Error> {
        let mount = self.mount(path.mount())?;
        let Some(sealed) = self.0.backend.get(&record::state_key(&mount.id, path.inner())).await? else {
            return Ok(None);
        };
        let place = Place { mount: &mount.id, path: path.inner() };
        let (_, record) = record::open(&self.0.keys, Form::State, place, &sealed)?;
        Ok(Some(Loaded { record }))
    }

    /// The value of a version that the state says is there; `None` if the backend has it no more.
    async fn open_version(&self, path: &SecretPath, loaded: &Loaded, version: u64) -> Result<Option<Secret>, Error> {
        let mount = self.mount(path.mount())?;
        let key = record::version_key(&mount.id, path.inner(), version);
        let Some(sealed) = self.0.backend.get(&key).await? else { return Ok(None) };
        let place = Place { mount: &mount.id, path: path.inner() };
        let (front, content): (_, VersionRecord) = record::open(&self.0.keys, Form::Version, place, &sealed)?;
        let expected = loaded.record.nonces.get(&version);
        if front.number != version || expected != Some(&record::NonceText::of(&front.nonce)) {
            return Err(Error::Unsealed { what: format!("version {version} of {path}") });
        }
        let VersionRecord { created, writer, data } = content;
        Ok(Some(Secret { version, created, writer, data }))
    }
}

fn written(state: Option<State>) -> Result<(u64, State), Error> {
    let state = state.ok_or_else(|| Error::Bug("a write left no state".into()))?;
    Ok((state.current, state))
}

#[cfg(test)]
mod tests;
