//! Mounts: names over ids that stay. They come, change and go while the store is open.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::SignedDuration;

use super::record::{self, MountId, MountRecord, MountTable, PathRecord};
use super::write::{Draft, Job};
use super::{KV_MOUNT, PAGE, SecretStore};
use crate::Error;
use crate::kv::{self, Command, Hits, MountSettings};
use crate::seal::Place;
use crate::sealed::GIT_MOUNT;

const MAX_NAME: usize = 64;
const MAX_DESCRIPTION: usize = 512;
/// First parts of paths of the API that are no mounts of secrets.
const RESERVED: [&str; 7] = ["sys", "auth", "identity", "cubbyhole", "audit", "api", GIT_MOUNT];
/// Versions taken away in one commit: each can be as large as a value.
const VERSIONS_AT_ONCE: usize = 32;

/// A mount: a name over an id that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name, the first part of its paths.
    pub name: String,
    /// What people say about it.
    pub description: String,
    /// Settings for all its paths.
    pub settings: MountSettings,
    pub(super) id: MountId,
    /// Its records are being taken away.
    pub(super) going: bool,
}

impl Mount {
    /// Its UUID as text.
    pub fn uuid(&self) -> String {
        crate::hex::uuid(&self.id)
    }
}

/// What to change of a mount: what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountChange {
    /// See [`Mount::description`].
    pub description: Option<String>,
    /// See [`MountSettings::max_versions`].
    pub max_versions: Option<u64>,
    /// See [`MountSettings::cas_required`].
    pub cas_required: Option<bool>,
    /// See [`MountSettings::delete_version_after`].
    pub delete_version_after: Option<SignedDuration>,
}

impl SecretStore {
    /// The mounts as they are now, in the order in which they were made. None while the store is sealed.
    pub fn mounts(&self) -> Vec<Mount> {
        let Ok(open) = self.opened() else { return Vec::new() };
        open.mounts.iter().filter(|mount| !mount.going).cloned().collect()
    }

    /// Makes a mount. Class `Conflict` if there is one of that name.
    pub async fn add_mount(&self, name: &str, description: &str) -> Result<Mount, Error> {
        check_name(name)?;
        check_description(description)?;
        let mut id = MountId::default();
        self.0.host.random(&mut id)?;
        let settings = MountSettings::default();
        let mount = Mount { name: name.into(), description: description.into(), settings, id, going: false };
        self.change_mounts(move |mounts| {
            if mounts.iter().any(|other| other.name == mount.name && !other.going) {
                return Err(Error::Conflict(format!("there is a mount {} already", mount.name)));
            }
            mounts.push(mount.clone());
            Ok(mount.clone())
        })
        .await
    }

    /// Changes a mount. What it says of versions holds from the next write of each path on, as in Vault.
    pub async fn tune_mount(&self, name: &str, change: MountChange) -> Result<Mount, Error> {
        change.description.as_deref().map_or(Ok(()), check_description)?;
        is_ours_to_change(name)?;
        if change.delete_version_after.is_some_and(|after| after < SignedDuration::ZERO) {
            return Err(Error::Invalid(format!("{name}: delete_version_after is negative: give 0s for never")));
        }
        let name = name.to_owned();
        self.change_mounts(move |mounts| {
            let mount = find(mounts, &name)?;
            let settings = &mut mount.settings;
            settings.max_versions = change.max_versions.unwrap_or(settings.max_versions);
            settings.cas_required = change.cas_required.unwrap_or(settings.cas_required);
            settings.delete_version_after = change.delete_version_after.unwrap_or(settings.delete_version_after);
            if let Some(description) = &change.description {
                mount.description.clone_from(description);
            }
            Ok(mount.clone())
        })
        .await
    }

    /// Takes a mount away with everything in it, for ever; says which pinned versions went with it. It is gone for
    /// everybody at once; its records go in many small commits, and what a crash leaves of them goes at the next start.
    pub async fn remove_mount(&self, name: &str) -> Result<Hits, Error> {
        is_ours_to_change(name)?;
        if name == KV_MOUNT {
            return Err(Error::Invalid(format!("the mount {KV_MOUNT} stays: remove the secrets in it instead")));
        }
        let name = name.to_owned();
        let id = self
            .change_mounts(move |mounts| {
                let mount = find(mounts, &name)?;
                mount.going = true;
                Ok(mount.id)
            })
            .await?;
        self.clear(id).await
    }

    /// Takes away what removals that were cut off have left.
    pub(super) async fn finish_removals(&self) {
        let Ok(open) = self.opened() else { return };
        for mount in open.mounts.iter().filter(|mount| mount.going) {
            if let Err(error) = self.clear(mount.id).await {
                tracing::warn!(mount = mount.name, %error, "what a removed mount left is not taken away yet");
            }
        }
    }

    async fn clear(&self, id: MountId) -> Result<Hits, Error> {
        let mut hits = Hits::new();
        while let Some(page) = self.write(Clear { id }).await? {
            for (holder, versions) in page {
                hits.entry(holder).or_default().extend(versions);
            }
        }
        Ok(hits)
    }

    async fn change_mounts<T, F>(&self, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&mut Vec<Mount>) -> Result<T, Error> + Send + 'static,
    {
        self.write(Change(change)).await
    }
}

struct Change<F>(F);

#[async_trait]
impl<T, F> Job for Change<F>
where
    T: Send + 'static,
    F: FnMut(&mut Vec<Mount>) -> Result<T, Error> + Send + 'static,
{
    type Output = T;

    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) -> Result<T, Error> {
        let mut mounts = (*draft.open.mounts).clone();
        let output = (self.0)(&mut mounts)?;
        put_table(store, draft, mounts)?;
        Ok(output)
    }
}

/// Takes some records of a mount away; when there are none any more, the mount itself.
struct Clear {
    id: MountId,
}

#[async_trait]
impl Job for Clear {
    /// Pins that were hit; `None`: nothing is left.
    type Output = Option<Hits>;

    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) -> Result<Option<Hits>, Error> {
        let (backend, mut hits) = (&store.0.backend, Hits::new());
        let prefix = record::state_key(&self.id, "");
        let states = backend.scan(&prefix, "", PAGE).await?;
        let versions = backend.scan(&record::versions_of(&self.id), "", VERSIONS_AT_ONCE).await?;
        if states.is_empty() && versions.is_empty() {
            let left = draft.open.mounts.iter().filter(|mount| mount.id != self.id).cloned().collect();
            put_table(store, draft, left)?;
            return Ok(None);
        }
        for (key, sealed) in states {
            let place = Place { mount: &self.id, path: &key[prefix.len()..] };
            // One that does not open goes, too.
            if let Ok(record) = draft.open.state::<PathRecord>(place, &sealed) {
                for (holder, versions) in kv::hits(&record.state, &Command::Remove, store.now()) {
                    hits.entry(holder).or_default().extend(versions);
                }
            }
            draft.delete(key);
        }
        for (key, _) in versions {
            draft.delete(key);
        }
        Ok(Some(hits))
    }
}

/// Makes the mount of sealed files, if there is none.
pub(super) fn add_git(store: &SecretStore, draft: &mut Draft) -> Result<(), Error> {
    if draft.open.mount(GIT_MOUNT).is_ok() {
        return Ok(());
    }
    let mut id = MountId::default();
    store.0.host.random(&mut id)?;
    let (name, description) = (GIT_MOUNT.into(), "sealed files in Git, read only".into());
    let mut mounts = (*draft.open.mounts).clone();
    mounts.push(Mount { name, description, settings: MountSettings::default(), id, going: false });
    put_table(store, draft, mounts)
}

/// The mount of sealed files follows Git alone.
fn is_ours_to_change(name: &str) -> Result<(), Error> {
    if name == GIT_MOUNT {
        return Err(Error::ReadOnly(format!(
            "the mount {GIT_MOUNT} shows sealed files of GitSyncs: change these in Git"
        )));
    }
    Ok(())
}

fn put_table(store: &SecretStore, draft: &mut Draft, mounts: Vec<Mount>) -> Result<(), Error> {
    let table = MountTable { mounts: mounts.iter().map(MountRecord::of).collect() };
    let sealed = store.seal_state(draft, Place { mount: &record::SYSTEM, path: record::MOUNTS }, table)?;
    draft.put(record::MOUNTS, sealed);
    draft.open.mounts = Arc::new(mounts);
    Ok(())
}

fn find<'a>(mounts: &'a mut [Mount], name: &str) -> Result<&'a mut Mount, Error> {
    let found = mounts.iter_mut().find(|mount| mount.name == name && !mount.going);
    found.ok_or_else(|| Error::NotFound(format!("there is no mount {name}")))
}

fn check_name(name: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let wrong = |why: &str| Err(Error::Invalid(format!("{name:?} can not name a mount: {why}")));
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) || name.starts_with('.') {
        return wrong("use 1 to 64 letters, digits, `-`, `_` and `.`, without a slash, and no dot in front");
    }
    if RESERVED.contains(&name) {
        return wrong("the API has it for something else");
    }
    Ok(())
}

fn check_description(text: &str) -> Result<(), Error> {
    if text.len() > MAX_DESCRIPTION || text.contains(char::is_control) {
        return Err(Error::Invalid(format!("a mount's description may have {MAX_DESCRIPTION} printable bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
