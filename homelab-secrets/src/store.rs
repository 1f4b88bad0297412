//! The store of secrets: values above, ciphertext below.
//!
//! [`SecretStore`] is written once, over any [`Backend`](crate::backend::Backend). Each write reads the head, applies the
//! rules ([`kv::apply`](crate::kv::apply)), seals what comes of it, and commits all of it on that head; if somebody else
//! committed in between it starts over. So a write has happened whole or not at all, in whatever process it is made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use jiff::Timestamp;

use crate::Error;
use crate::backend::{Backend, Host};
use crate::kv::{Command, Hits, SettingsChange, State, VersionInfo};
use crate::sealed::GIT_MOUNT;

mod backup;
mod changes;
mod documents;
mod mirror;
mod mounts;
mod open;
mod path;
mod pins;
mod place;
mod record;
mod reseal;
mod resolve;
mod rotation;
mod sealed;
mod step;
mod value;
mod vault;
mod versions;
mod witness;
mod write;

pub use backup::{Backup, Checked, Kept, restore};
pub use changes::{Changed, Changes};
pub use documents::MAX_DOCUMENT;
pub use mounts::{Mount, MountChange};
pub use path::{Folder, SecretPath};
#[cfg(feature = "server")]
pub(crate) use pins::{Taken, warnings};
pub use place::{BackendKind, Described, StorePlace};
pub use rotation::{Progress, SlotInfo};
pub use value::{Secret, SecretData};
pub use vault::{SealStatus, Vault};
pub use versions::StoreVersions;
pub use witness::{HeadWitness, Watched, Witnessed};

use open::Open;
use record::PathRecord;
use step::{Input, Step, Stepped};
use witness::Watch;
use write::Queue;

/// The mount that every store has.
pub const KV_MOUNT: &str = "kv";
/// Largest value, as its written JSON.
pub const MAX_VALUE: usize = 512 * 1024;
const PAGE: usize = 256;
/// How often a read starts over.
const READS: usize = 3;

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
    /// `None` while the store is sealed.
    open: RwLock<Option<Arc<Open>>>,
    queue: Queue,
    resealing: Mutex<Option<Progress>>,
    watch: Watch,
}

impl std::fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretStore({} mounts)", self.mounts().len())
    }
}

/// A path's state as it was read.
struct Loaded {
    record: PathRecord,
}

impl SecretStore {
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
        // A version can be pruned, or its key replaced, between the two reads; then the state has moved on and says so.
        for _ in 0..READS {
            let open = self.opened()?;
            match self.find_in(&open, path, version).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) if may_pass(&error) && self.moved_on(&open).await? => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unsealed { what: format!("the value of {path}") })
    }

    /// `None`: the value that the state names has just gone.
    async fn find_in(
        &self,
        open: &Open,
        path: &SecretPath,
        version: Option<u64>,
    ) -> Result<Option<Option<Found>>, Error> {
        let Some(loaded) = self.load(open, path).await? else { return Ok(Some(None)) };
        let state = &loaded.record.state;
        let version = version.filter(|v| *v != 0).unwrap_or(state.current);
        let Some(info) = state.versions.get(&version).cloned() else { return Ok(Some(None)) };
        let custom = state.settings.custom.clone();
        if !info.is_live(self.now()) {
            return Ok(Some(Some(Found { version, info, custom, secret: None })));
        }
        let key = record::version_key(&open.mount(path.mount())?.id, path.inner(), version);
        let Some(sealed) = self.0.backend.get(&key).await? else { return Ok(None) };
        let secret = Some(open.version(path, &loaded, version, &sealed)?);
        Ok(Some(Some(Found { version, info, custom, secret })))
    }

    /// Everything about a path but its values; `None` if there is no such path.
    pub async fn history(&self, path: &SecretPath) -> Result<Option<State>, Error> {
        let open = self.opened()?;
        let loaded = match self.load(&open, path).await {
            Err(error) if may_pass(&error) && self.moved_on(&open).await? => self.load(&*self.opened()?, path).await?,
            other => other?,
        };
        Ok(loaded.map(|loaded| loaded.record.state))
    }

    /// Names in a folder, sorted; those of folders end with a slash. Empty if there are none.
    pub async fn list(&self, folder: &Folder) -> Result<Vec<String>, Error> {
        let open = self.opened()?;
        let Ok(mount) = open.mount(folder.mount()) else { return Ok(Vec::new()) };
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
        let Put { cas, writer } = how;
        written(self.step_on(path, Command::Put { cas }, Input::Value(data), writer).await?)
    }

    /// Writes a new version made of the newest one and a JSON merge patch.
    pub async fn patch(&self, path: &SecretPath, patch: SecretData, how: Put) -> Result<(u64, State), Error> {
        let Put { cas, writer } = how;
        written(self.step_on(path, Command::Patch { cas }, Input::Patch(patch), writer).await?)
    }

    /// Soft-deletes versions; none named: the newest. Gives the pins that it hits.
    pub async fn delete(&self, path: &SecretPath, versions: &[u64]) -> Result<Hits, Error> {
        self.change(path, Command::Delete(versions.into())).await
    }

    /// Takes soft deletes back.
    pub async fn undelete(&self, path: &SecretPath, versions: &[u64]) -> Result<(), Error> {
        self.change(path, Command::Undelete(versions.into())).await.map(drop)
    }

    /// Takes values away for ever, pinned or not. Gives the pins that it hits.
    pub async fn destroy(&self, path: &SecretPath, versions: &[u64]) -> Result<Hits, Error> {
        self.change(path, Command::Destroy(versions.into())).await
    }

    /// Takes the whole path away for ever, pinned or not. Gives the pins that it hits.
    pub async fn remove(&self, path: &SecretPath) -> Result<Hits, Error> {
        self.change(path, Command::Remove).await
    }

    /// Sets settings of a path; `merge`: it has to exist, and custom words are merged instead of replaced.
    pub async fn set(&self, path: &SecretPath, change: SettingsChange, merge: bool) -> Result<(), Error> {
        let command = if merge { Command::PatchSettings(change) } else { Command::Set(change) };
        self.change(path, command).await.map(drop)
    }

    /// Keyed digest (hex) of the value of a version: equal content at one path, equal digest; says nothing without the key.
    pub async fn digest(&self, path: &SecretPath, version: u64) -> Result<String, Error> {
        let secret = self.get(path, Some(version)).await?;
        self.opened()?.digest(path, &secret.data)
    }

    async fn change(&self, path: &SecretPath, command: Command) -> Result<Hits, Error> {
        Ok(self.step_on(path, command, Input::None, String::new()).await?.hits)
    }

    async fn step_on(
        &self,
        path: &SecretPath,
        command: Command,
        input: Input,
        writer: String,
    ) -> Result<Stepped, Error> {
        if path.mount() == GIT_MOUNT {
            return Err(self.read_only(path).await);
        }
        self.write(Step { path: path.clone(), command, input, writer }).await
    }

    fn now(&self) -> Timestamp {
        self.0.host.now()
    }

    async fn load(&self, open: &Open, path: &SecretPath) -> Result<Option<Loaded>, Error> {
        let key = record::state_key(&open.mount(path.mount())?.id, path.inner());
        let sealed = self.0.backend.get(&key).await?;
        sealed.map(|sealed| open.loaded(path, &sealed)).transpose()
    }
}

/// Whether an error can come of keys or mounts that were replaced in between.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Unsealed { .. } | Error::NotFound(_))
}

fn written(done: Stepped) -> Result<(u64, State), Error> {
    let state = done.state.ok_or_else(|| Error::Bug("a write left no state".into()))?;
    Ok((state.current, state))
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
