//! Writing: read, apply the rules, seal, commit; start over if somebody was faster.

use std::collections::BTreeMap;

use super::record::{self, NonceText, PathRecord, VersionRecord};
use super::{Loaded, MAX_VALUE, SecretData, SecretPath, SecretStore};
use crate::Error;
use crate::backend::{BackendError, Batch, Head};
use crate::kv::{self, Command, Effect, Refusal, State};
use crate::seal::{Form, Nonce, Place};

/// How often a write starts over before it gives up.
const ATTEMPTS: usize = 16;

/// The value that comes with a command.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    None,
    Value(&'a SecretData),
    Patch(&'a SecretData),
}

/// One command on one path.
pub(super) struct Step<'a> {
    pub(super) path: &'a SecretPath,
    pub(super) command: &'a Command,
    pub(super) input: Input<'a>,
    pub(super) writer: &'a str,
}

/// What will be committed.
pub(super) struct Draft {
    pub(super) head: Head,
    pub(super) batch: Batch,
}

impl SecretStore {
    pub(super) async fn write(
        &self,
        path: &SecretPath,
        command: &Command,
        input: Input<'_>,
        writer: &str,
    ) -> Result<Option<State>, Error> {
        let _turn = self.0.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let mut draft = self.draft().await?;
            let state = self.step(&mut draft, &Step { path, command, input, writer }).await?;
            if self.commit(draft).await? {
                return Ok(state);
            }
        }
        Err(Error::Conflict(format!("{path}: other writers were faster {ATTEMPTS} times: try again")))
    }

    /// A draft on the head as it is now. It has to be taken before anything is read that the write rests on.
    pub(super) async fn draft(&self) -> Result<Draft, Error> {
        Ok(Draft { head: self.0.backend.head().await?, batch: Batch::default() })
    }

    /// Whether the draft was committed; `false`: start over.
    pub(super) async fn commit(&self, draft: Draft) -> Result<bool, Error> {
        if draft.batch.writes.is_empty() {
            return Ok(true);
        }
        match self.0.backend.commit(draft.head, draft.batch).await {
            Ok(_) => Ok(true),
            Err(BackendError::Moved { .. }) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    /// Applies one command and adds what comes of it to the draft.
    pub(super) async fn step(&self, draft: &mut Draft, step: &Step<'_>) -> Result<Option<State>, Error> {
        let path = step.path;
        let mount = self.mount(path.mount())?;
        let before = self.load(path).await?;
        let state = before.as_ref().map(|loaded| &loaded.record.state);
        let now = self.now();
        let (next, effects) = kv::apply(state, step.command, now).map_err(|refusal| refused(path, refusal))?;
        if next.as_ref() == state && effects.is_empty() {
            return Ok(next);
        }
        let merged = self.merged(path, before.as_ref(), step.input).await?;
        let mut nonces = before.map_or_else(BTreeMap::new, |loaded| loaded.record.nonces);
        let place = Place { mount: &mount.id, path: path.inner() };
        for effect in effects {
            match effect {
                Effect::Write(version) => {
                    let data = merged.clone().ok_or_else(|| Error::Bug(format!("{path}: a write without a value")))?;
                    let nonce = self.nonce()?;
                    let content = VersionRecord { created: now, writer: step.writer.into(), data };
                    let sealed = record::seal(&self.0.keys, Form::Version, (place, version, nonce), content)?;
                    draft.batch.put(record::version_key(&mount.id, path.inner(), version), sealed);
                    nonces.insert(version, NonceText::of(&nonce));
                }
                Effect::Erase(version) => {
                    draft.batch.delete(record::version_key(&mount.id, path.inner(), version));
                    nonces.remove(&version);
                }
            }
        }
        let key = record::state_key(&mount.id, path.inner());
        match &next {
            Some(state) => {
                let content = PathRecord { state: state.clone(), nonces };
                draft.batch.put(key, self.seal_state(draft.head, place, content)?);
            }
            None => draft.batch.delete(key),
        }
        Ok(next)
    }

    /// Seals a state. Its generation is the head that the commit makes, so it grows even when a path is made anew.
    pub(super) fn seal_state<T: serde::Serialize>(
        &self,
        on: Head,
        place: Place<'_>,
        content: T,
    ) -> Result<Vec<u8>, Error> {
        record::seal(&self.0.keys, Form::State, (place, on.next().0, self.nonce()?), content)
    }

    /// Seals a text that [`record::written`] made, as [`Self::seal_state`] seals a value.
    pub(super) fn seal_written(&self, on: Head, place: Place<'_>, text: &[u8]) -> Result<Vec<u8>, Error> {
        record::seal_text(&self.0.keys, Form::State, (place, on.next().0, self.nonce()?), text)
    }

    async fn merged(
        &self,
        path: &SecretPath,
        before: Option<&Loaded>,
        input: Input<'_>,
    ) -> Result<Option<SecretData>, Error> {
        let data = match (input, before) {
            (Input::None, _) => return Ok(None),
            (Input::Value(data), _) => data.clone(),
            (Input::Patch(patch), Some(loaded)) => {
                let newest = self.open_version(path, loaded, loaded.record.state.current).await?;
                let mut data = newest.ok_or_else(|| Error::Unsealed { what: format!("the value of {path}") })?.data;
                data.merge(patch);
                data
            }
            (Input::Patch(_), None) => return Err(refused(path, Refusal::NoSuchPath)),
        };
        let size = data.canonical().len();
        if size > MAX_VALUE {
            return Err(Error::Invalid(format!("{path}: a value may have {MAX_VALUE} bytes, this one has {size}")));
        }
        Ok(Some(data))
    }

    fn nonce(&self) -> Result<Nonce, Error> {
        let mut nonce = Nonce::default();
        self.0.host.random(&mut nonce)?;
        Ok(nonce)
    }
}

fn refused(path: &SecretPath, refusal: Refusal) -> Error {
    match refusal {
        // Vault's own words, without a path: clients compare them.
        Refusal::CasMismatch => Error::Conflict(refusal.to_string()),
        Refusal::CasRequired => Error::Invalid(refusal.to_string()),
        Refusal::NoSuchPath | Refusal::NotLive(_) | Refusal::NoSuchVersion(_) => {
            Error::NotFound(format!("{path}: {refusal}"))
        }
        Refusal::Pinned { .. } => Error::Conflict(format!("{path}: {refusal}")),
        Refusal::Setting(_) => Error::Invalid(format!("{path}: {refusal}")),
    }
}
