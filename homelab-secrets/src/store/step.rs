//! One command on one path, as part of a write.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::record::{self, NonceText, PathRecord, VersionRecord};
use super::write::{Draft, Job};
use super::{Loaded, MAX_VALUE, SecretData, SecretPath, SecretStore};
use crate::Error;
use crate::kv::{self, Command, Effect, Hits, Refusal, State};
use crate::seal::{Form, Place};

/// The value that comes with a command.
pub(super) enum Input {
    None,
    Value(SecretData),
    Patch(SecretData),
}

/// One command on one path.
pub(super) struct Step {
    pub(super) path: SecretPath,
    pub(super) command: Command,
    pub(super) input: Input,
    pub(super) writer: String,
}

/// What comes of it.
pub(super) struct Stepped {
    pub(super) state: Option<State>,
    pub(super) hits: Hits,
}

#[async_trait]
impl Job for Step {
    type Output = Stepped;

    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) -> Result<Stepped, Error> {
        store.step(draft, self).await
    }
}

impl SecretStore {
    /// Applies one command and adds what comes of it to the draft.
    pub(super) async fn step(&self, draft: &mut Draft, step: &Step) -> Result<Stepped, Error> {
        let path = &step.path;
        let mount = draft.open.mount(path.mount())?.clone();
        let key = record::state_key(&mount.id, path.inner());
        let before = self.drafted(draft, path).await?;
        let state = before.as_ref().map(|loaded| &loaded.record.state);
        let now = self.now();
        let (next, effects) =
            kv::apply(state, &step.command, &mount.settings, now).map_err(|refusal| refused(path, refusal))?;
        let hits = state.map_or_else(Hits::new, |state| kv::hits(state, &step.command, now));
        if next.as_ref() == state && effects.is_empty() {
            return Ok(Stepped { state: next, hits });
        }
        let merged = self.merged(draft, path, before.as_ref(), &step.input).await?;
        let mut nonces = before.map_or_else(BTreeMap::new, |loaded| loaded.record.nonces);
        let place = Place { mount: &mount.id, path: path.inner() };
        for effect in effects {
            match effect {
                Effect::Write(version) => {
                    let data = merged.clone().ok_or_else(|| Error::Bug(format!("{path}: a write without a value")))?;
                    let nonce = self.nonce()?;
                    let content = VersionRecord { created: now, writer: step.writer.clone(), data };
                    let sealed = record::seal(&draft.open.keys, Form::Version, (place, version, nonce), content)?;
                    draft.put(record::version_key(&mount.id, path.inner(), version), sealed);
                    nonces.insert(version, NonceText::of(&nonce));
                }
                Effect::Erase(version) => {
                    draft.delete(record::version_key(&mount.id, path.inner(), version));
                    nonces.remove(&version);
                }
            }
        }
        match &next {
            Some(state) => {
                let content = PathRecord { state: state.clone(), nonces };
                let sealed = self.seal_state(draft, place, content)?;
                draft.put(key, sealed);
            }
            None => draft.delete(key),
        }
        Ok(Stepped { state: next, hits })
    }

    /// A path as the draft has it.
    pub(super) async fn drafted(&self, draft: &Draft, path: &SecretPath) -> Result<Option<Loaded>, Error> {
        let key = record::state_key(&draft.open.mount(path.mount())?.id, path.inner());
        let sealed = draft.get(&*self.0.backend, &key).await?;
        sealed.map(|sealed| draft.open.loaded(path, &sealed)).transpose()
    }

    async fn merged(
        &self,
        draft: &Draft,
        path: &SecretPath,
        before: Option<&Loaded>,
        input: &Input,
    ) -> Result<Option<SecretData>, Error> {
        let data = match (input, before) {
            (Input::None, _) => return Ok(None),
            (Input::Value(data), _) => data.clone(),
            (Input::Patch(patch), Some(loaded)) => {
                let version = loaded.record.state.current;
                let key = record::version_key(&draft.open.mount(path.mount())?.id, path.inner(), version);
                let sealed = draft.get(&*self.0.backend, &key).await?;
                let sealed = sealed.ok_or_else(|| Error::Unsealed { what: format!("the value of {path}") })?;
                let mut data = draft.open.version(path, loaded, version, &sealed)?.data;
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
}

fn refused(path: &SecretPath, refusal: Refusal) -> Error {
    match refusal {
        // Vault's own words, without a path: clients compare them.
        Refusal::CasMismatch => Error::Conflict(refusal.to_string()),
        Refusal::CasRequired => Error::Invalid(refusal.to_string()),
        Refusal::NoSuchPath | Refusal::NotLive(_) | Refusal::NoSuchVersion(_) => {
            Error::NotFound(format!("{path}: {refusal}"))
        }
        Refusal::Setting(_) => Error::Invalid(format!("{path}: {refusal}")),
    }
}
