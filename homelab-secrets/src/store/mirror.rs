//! The mount `git`: the secrets in sealed files, as they are at the commits of GitSyncs.
//!
//! Git is where they are written. This is a copy, sealed like everything else in the store, so that no forge is needed to
//! read them, and so that a version that somebody pins stays when the commit moves on. A value that changes is a new
//! version; one that was only sealed anew, or whose file was moved, is not. Words on each path say where it is from.
//!
//! A secret belongs to the GitSync that showed it first, as long as that does. What is no longer in its commit goes, but for
//! pinned versions, which go the next time somebody looks after they were let go.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use homelab_core::class::Class;
use homelab_core::meta::Account;
use subtle::ConstantTimeEq as _;

use super::record;
use super::resolve::policy_is_read;
use super::step::{Input, Step};
use super::write::{Draft, Job};
use super::{Loaded, PAGE, SecretData, SecretPath, SecretStore, mounts};
use crate::Error;
use crate::kv::{Command, SettingsChange, State};
use crate::policy::{Capability, Decision, Identity, Policy};
use crate::sealed::{GIT_MOUNT, GitCommit, SealedFile, Snapshot};

/// Words on a path: GitSync (none: Git has it no more), file, commit that brought the newest version.
const GITSYNC: &str = "gitsync";
const FILE: &str = "file";
const COMMIT: &str = "commit";
/// Problems that are told in full.
const TOLD: usize = 5;

impl SecretStore {
    /// Shows exactly these sealed files of a GitSync, in one commit of the store; gives how many values are new. `account`
    /// needs the right to seal each of them (`update`). If one file can not be shown nothing changes: class `Invalid` names
    /// files that are broken, `Denied` those that the account may not show.
    pub async fn mirror(&self, policy: &dyn Policy, account: &Account, from: GitCommit<'_>) -> Result<u64, Error> {
        policy_is_read(policy)?;
        let snapshot = Snapshot::read(from.commit, from.files.iter().map(|(name, text)| (&**name, &**text)));
        let (mut broken, mut denied) = (snapshot.problems().to_vec(), Vec::new());
        let mut wanted = BTreeMap::new();
        for (name, file) in snapshot.files() {
            match self.opened_for(policy, account, file).await {
                Ok((path, data)) => drop(wanted.insert(path, Wanted { file: name.into(), data })),
                Err(error) => match error.class() {
                    Class::Denied => denied.push(format!("{name}: {error}")),
                    Class::Invalid | Class::NotFound => broken.push(format!("{name}: {error}")),
                    _ => return Err(error),
                },
            }
        }
        if !broken.is_empty() {
            broken.append(&mut denied);
            return Err(Error::Invalid(told(&broken)));
        }
        if !denied.is_empty() {
            return Err(Error::Denied(told(&denied)));
        }
        if wanted.is_empty() && !self.has_git()? {
            return Ok(0);
        }
        let (gitsync, commit) = (from.gitsync.to_owned(), from.commit.to_owned());
        self.write(Mirror { gitsync, commit, wanted }).await
    }

    /// Takes away what is shown of all other GitSyncs than these (`NAMESPACE/NAME`).
    pub async fn retain_mirrored(&self, gitsyncs: &BTreeSet<String>) -> Result<(), Error> {
        if self.has_git()? { self.write(Retain(gitsyncs.clone())).await } else { Ok(()) }
    }

    /// Why `path`, in the mount of sealed files, is not written here.
    pub(crate) async fn read_only(&self, path: &SecretPath) -> Error {
        let state = match self.history(path).await {
            Ok(state) => state,
            Err(Error::NotFound(_)) => None,
            Err(error) => return error,
        };
        let word = |name| state.as_ref().and_then(|state| state.settings.custom.get(name));
        Error::ReadOnly(match (word(FILE), word(GITSYNC)) {
            (Some(file), Some(gitsync)) => {
                format!("{path} is a sealed file, read only here: edit in Git: {file} (GitSync {gitsync})")
            }
            _ => format!("{path}: below {GIT_MOUNT}/ are sealed files, read only here: seal one in Git"),
        })
    }

    fn has_git(&self) -> Result<bool, Error> {
        Ok(self.opened()?.mount(GIT_MOUNT).is_ok())
    }

    async fn opened_for(
        &self,
        policy: &dyn Policy,
        account: &Account,
        file: &SealedFile,
    ) -> Result<(SecretPath, SecretData), Error> {
        let path = SecretPath::parse(&file.logical_path())?;
        let who = Identity::account(account.clone());
        if let Decision::Deny { why } = policy.decide(&who, path.as_str(), Capability::Update) {
            return Err(Error::Denied(format!("{account} may not seal {path}: {why}")));
        }
        Ok((path, self.open_sealed(file).await?))
    }
}

struct Wanted {
    file: String,
    data: SecretData,
}

struct Mirror {
    gitsync: String,
    commit: String,
    wanted: BTreeMap<SecretPath, Wanted>,
}

#[async_trait]
impl Job for Mirror {
    /// Values that are new.
    type Output = u64;

    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) -> Result<u64, Error> {
        mounts::add_git(store, draft)?;
        let (mut new, mut taken) = (0, Vec::new());
        for (path, wanted) in &self.wanted {
            let before = store.drafted(draft, path).await?;
            match before.as_ref().and_then(|before| gitsync(&before.record.state)) {
                Some(other) if other != self.gitsync => {
                    let file = &wanted.file;
                    taken
                        .push(format!("{file}: {path} is shown by GitSync {other} already: keep it in one of the two"));
                }
                _ => new += u64::from(self.show(store, draft, (path, wanted), before).await?),
            }
        }
        if !taken.is_empty() {
            return Err(Error::Invalid(told(&taken)));
        }
        let stays = |path: &SecretPath, of: Option<&str>| {
            of.is_some_and(|of| of != self.gitsync || self.wanted.contains_key(path))
        };
        withdraw(store, draft, &stays).await?;
        Ok(new)
    }
}

impl Mirror {
    /// Whether its value is a new one.
    async fn show(
        &self,
        store: &SecretStore,
        draft: &mut Draft,
        (path, wanted): (&SecretPath, &Wanted),
        before: Option<Loaded>,
    ) -> Result<bool, Error> {
        let same = match &before {
            Some(loaded) => holds(store, draft, (path, loaded), &wanted.data).await?,
            None => false,
        };
        if !same {
            let (command, input) = (Command::Put { cas: None }, Input::Value(wanted.data.clone()));
            let writer = format!("GitSync {}", self.gitsync);
            store.step(draft, &Step { path: path.clone(), command, input, writer }).await?;
        }
        let words = before.map(|loaded| loaded.record.state.settings.custom).unwrap_or_default();
        let brought = words.get(COMMIT).filter(|_| same).unwrap_or(&self.commit);
        let next = [(GITSYNC, &self.gitsync), (FILE, &wanted.file), (COMMIT, brought)];
        let next: BTreeMap<_, _> = next.map(|(key, word)| (key.to_owned(), word.clone())).into();
        if next != words {
            say(store, draft, path, next).await?;
        }
        Ok(!same)
    }
}

struct Retain(BTreeSet<String>);

#[async_trait]
impl Job for Retain {
    type Output = ();

    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) -> Result<(), Error> {
        withdraw(store, draft, &|_, of| of.is_some_and(|of| self.0.contains(of))).await
    }
}

/// Takes away what does not stay, by its path and the GitSync that it is of. Reads what is committed: what this draft has
/// made stays anyway.
async fn withdraw(
    store: &SecretStore,
    draft: &mut Draft,
    stays: &(dyn Fn(&SecretPath, Option<&str>) -> bool + Sync),
) -> Result<(), Error> {
    let Ok(mount) = draft.open.mount(GIT_MOUNT) else { return Ok(()) };
    let (prefix, mut after) = (record::state_key(&mount.id, ""), String::new());
    loop {
        let page = store.0.backend.scan(&prefix, &after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after.clone_from(last);
        for (key, _) in &page {
            let path = SecretPath::parse(&format!("{GIT_MOUNT}/{}", &key[prefix.len()..]))?;
            let Some(Loaded { record }) = store.drafted(draft, &path).await? else { continue };
            let of = gitsync(&record.state);
            if stays(&path, of) {
                continue;
            }
            let (command, writer) = (Command::Withdraw, String::new());
            let left =
                store.step(draft, &Step { path: path.clone(), command, input: Input::None, writer }).await?.state;
            if let (Some(mut left), Some(_)) = (left, of) {
                left.settings.custom.remove(GITSYNC);
                say(store, draft, &path, left.settings.custom).await?;
            }
        }
    }
}

async fn say(
    store: &SecretStore,
    draft: &mut Draft,
    path: &SecretPath,
    words: BTreeMap<String, String>,
) -> Result<(), Error> {
    let words = words.into_iter().map(|(key, word)| (key, Some(word))).collect();
    let command = Command::Set(SettingsChange { custom: Some(words), ..SettingsChange::default() });
    store.step(draft, &Step { path: path.clone(), command, input: Input::None, writer: String::new() }).await.map(drop)
}

/// Whether the newest version is this value. One that does not open any more is not: Git has it, so it is written anew.
async fn holds(
    store: &SecretStore,
    draft: &Draft,
    (path, loaded): (&SecretPath, &Loaded),
    data: &SecretData,
) -> Result<bool, Error> {
    let state = &loaded.record.state;
    if !state.versions.get(&state.current).is_some_and(|info| info.is_live(store.now())) {
        return Ok(false);
    }
    let key = record::version_key(&draft.open.mount(path.mount())?.id, path.inner(), state.current);
    let Some(sealed) = draft.get(&*store.0.backend, &key).await? else { return Ok(false) };
    match draft.open.version(path, loaded, state.current, &sealed) {
        Ok(newest) => Ok(newest.data.canonical().ct_eq(&data.canonical()).into()),
        Err(Error::Unsealed { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn gitsync(state: &State) -> Option<&str> {
    state.settings.custom.get(GITSYNC).map(String::as_str)
}

fn told(problems: &[String]) -> String {
    let shown = problems.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("; ");
    match problems.len().saturating_sub(TOLD) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

#[cfg(test)]
mod tests;
