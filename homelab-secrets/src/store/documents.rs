//! Documents: small sealed records of the system's own beside the secrets, such as roles, policies and tokens.
//!
//! A document has a kind (a word of the program's) and a name (anything that can be printed). Both stand open in the
//! backend's key, so a name must not be secret itself: a token goes under its keyed hash ([`SecretStore::hash`]).

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::record::{self, DOCUMENTS};
use super::write::{Draft, Job};
use super::{PAGE, SecretStore};
use crate::Error;
use crate::seal::{Form, Place};

const MAX_NAME: usize = 512;
/// Largest document, as its written JSON.
pub const MAX_DOCUMENT: usize = 256 * 1024;
/// How often an update starts over before it gives up.
const ATTEMPTS: usize = 16;

impl SecretStore {
    /// The document, if there is one.
    pub async fn document<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Option<T>, Error> {
        Ok(self.stored_document(&document_key(kind, name)?).await?.map(|(_, content)| content))
    }

    /// All documents of a kind with their names, in order of their bytes.
    pub async fn documents<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<(String, T)>, Error> {
        check_kind(kind)?;
        self.opened()?;
        let prefix = format!("{DOCUMENTS}{kind}/");
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.0.backend.scan(&prefix, &after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            after.clone_from(last);
            for (key, sealed) in &page {
                found.push((key[prefix.len()..].to_owned(), self.open_document(key, sealed).await?));
            }
        }
    }

    /// Writes the document, whatever was there.
    pub async fn put_document<T: Serialize + Sync>(&self, kind: &str, name: &str, content: &T) -> Result<(), Error> {
        let key = document_key(kind, name)?;
        let next = Some(written(&key, content)?);
        self.write(Write { key, expected: None, next }).await.map(drop)
    }

    /// Takes the document away; says whether there was one.
    pub async fn delete_document(&self, kind: &str, name: &str) -> Result<bool, Error> {
        let key = document_key(kind, name)?;
        Ok(self.write(Write { key, expected: None, next: None }).await? == Some(true))
    }

    /// Writes what `change` makes of the document (`None`: there is none; it is taken away), and starts over with the
    /// newest one when somebody else wrote in between: `change` can be called several times. Its error ends the update
    /// and changes nothing.
    pub async fn update_document<T, F>(&self, kind: &str, name: &str, mut change: F) -> Result<(), Error>
    where
        T: Serialize + DeserializeOwned + Send,
        F: FnMut(Option<T>) -> Result<Option<T>, Error> + Send,
    {
        let key = document_key(kind, name)?;
        for _ in 0..ATTEMPTS {
            let (sealed, content) = self.stored_document::<T>(&key).await?.unzip();
            let next = change(content)?.map(|next| written(&key, &next)).transpose()?;
            let write = Write { key: key.clone(), expected: Some(sealed), next };
            if self.write(write).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::Conflict(format!("{kind} {name}: other writers were faster {ATTEMPTS} times: try again")))
    }

    /// Keyed hash (hex) of `parts` for `purpose`: what something secret can be found by. The same as long as the store
    /// lives, whichever keys are rotated; nobody can make it without the store.
    pub fn hash(&self, purpose: &str, parts: &[&[u8]]) -> Result<String, Error> {
        let all: Vec<&[u8]> = [&b"homelab.hash/1"[..], purpose.as_bytes()].iter().chain(parts).copied().collect();
        self.opened()?.keys.digest(&all)
    }

    /// A key of the store's for `purpose` alone, the same as long as the store lives. Whoever takes it answers for it.
    pub fn derived_key(&self, purpose: &str) -> Result<Zeroizing<[u8; 32]>, Error> {
        self.opened()?.keys.derived(purpose)
    }

    async fn stored_document<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(Vec<u8>, T)>, Error> {
        // A sealed store does not say what is not there either.
        self.opened()?;
        let Some(sealed) = self.0.backend.get(key).await? else { return Ok(None) };
        let content = self.open_document(key, &sealed).await?;
        Ok(Some((sealed, content)))
    }

    async fn open_document<T: DeserializeOwned>(&self, key: &str, sealed: &[u8]) -> Result<T, Error> {
        let (place, open) = (Place { mount: &record::SYSTEM, path: key }, self.opened()?);
        match open.state(place, sealed) {
            Err(Error::Unsealed { .. }) if self.moved_on(&open).await? => self.opened()?.state(place, sealed),
            other => other,
        }
    }
}

/// Puts (or deletes, with no `next`) a document, if what is stored is `expected`.
struct Write {
    key: String,
    /// `None`: whatever is there.
    expected: Option<Option<Vec<u8>>>,
    next: Option<Zeroizing<Vec<u8>>>,
}

#[async_trait]
impl Job for Write {
    /// Whether there was one; `None`: it was not as expected, and nothing was done.
    type Output = Option<bool>;

    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) -> Result<Option<bool>, Error> {
        let Self { key, expected, next } = self;
        let before = draft.get(&*store.0.backend, key).await?;
        if expected.as_ref().is_some_and(|expected| *expected != before) {
            return Ok(None);
        }
        match next {
            Some(text) => {
                let place = Place { mount: &record::SYSTEM, path: key };
                let front = (place, draft.head.next().0, store.nonce()?);
                let sealed = record::seal_text(&draft.open.keys, Form::State, front, text)?;
                draft.put(&*key, sealed);
            }
            None if before.is_some() => draft.delete(&*key),
            None => {}
        }
        Ok(Some(before.is_some()))
    }
}

fn written<T: Serialize>(key: &str, content: &T) -> Result<Zeroizing<Vec<u8>>, Error> {
    let text = record::written(content).ok_or_else(|| Error::Bug(format!("the document {key} does not serialise")))?;
    if text.len() > MAX_DOCUMENT {
        let size = text.len();
        return Err(Error::Invalid(format!("{key}: a document may have {MAX_DOCUMENT} bytes, this one has {size}")));
    }
    Ok(text)
}

fn document_key(kind: &str, name: &str) -> Result<String, Error> {
    check_kind(kind)?;
    if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
        return Err(Error::Invalid(format!("the name of a {kind} has 1 to {MAX_NAME} printable bytes, not {name:?}")));
    }
    Ok(format!("{DOCUMENTS}{kind}/{name}"))
}

/// Kinds are words of the program's: without a slash, no name can reach into another kind.
fn check_kind(kind: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if kind.is_empty() || kind.len() > 64 || !kind.chars().all(fits) {
        return Err(Error::Bug(format!("{kind:?} is no kind of document: use a-z, 0-9 and -")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
