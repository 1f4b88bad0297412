//! Keys of the repositories that hold sealed files, and such files opened with them.

use super::{SecretData, SecretStore};
use crate::Error;
use crate::sealed::{RepositoryKeys, RepositoryName, SealedFile, open_file};

/// Kind of the documents that hold the keys; a document's name is the repository's.
const KIND: &str = "git-repository";

impl SecretStore {
    /// Keys for a new repository. One that is there already stays as it is; says whether it is new.
    pub async fn create_repository(&self, name: &RepositoryName) -> Result<(RepositoryKeys, bool), Error> {
        let fresh = RepositoryKeys::create(name, self.now(), &|buffer| self.0.host.random(buffer))?;
        let mut made = false;
        let keep_or_make = |found: Option<RepositoryKeys>| {
            made = found.is_none();
            Ok(Some(found.unwrap_or_else(|| fresh.clone())))
        };
        self.update_document(KIND, name.as_str(), keep_or_make).await?;
        Ok((self.repository(name).await?, made))
    }

    /// The keys of a repository. Class `NotFound` if there is none of that name.
    pub async fn repository(&self, name: &RepositoryName) -> Result<RepositoryKeys, Error> {
        self.document(KIND, name.as_str()).await?.ok_or_else(|| unknown(name))
    }

    /// Names of all repositories, sorted.
    pub async fn repositories(&self) -> Result<Vec<RepositoryName>, Error> {
        let all = self.documents::<RepositoryKeys>(KIND).await?;
        all.into_iter().map(|(name, _)| RepositoryName::parse(&name)).collect()
    }

    /// Makes the epoch that follows `from`, which has to be the newest one; earlier ones still open. Asked again with
    /// the same `from` it changes nothing, so that a lost answer makes no second epoch.
    pub async fn rotate_repository(&self, name: &RepositoryName, from: u64) -> Result<RepositoryKeys, Error> {
        let change = |found: Option<RepositoryKeys>| {
            let mut keys = found.ok_or_else(|| unknown(name))?;
            let newest = keys.open()?.active_epoch();
            if newest == from {
                keys.add_epoch(self.now(), &|buffer| self.0.host.random(buffer))?;
            } else if newest != from.saturating_add(1) {
                return Err(Error::Conflict(format!("repository {name} is in epoch {newest}, not in {from}")));
            }
            Ok(Some(keys))
        };
        self.update_document(KIND, name.as_str(), change).await?;
        self.repository(name).await
    }

    /// The secret in a sealed file. Whether its reader may have it is for the caller to decide, by
    /// [`SealedFile::logical_path`].
    pub async fn open_sealed(&self, file: &SealedFile) -> Result<SecretData, Error> {
        let keys = self.repository(file.repository()).await?;
        Ok(SecretData::new(open_file(&keys.open()?, file)?.to_json()?))
    }
}

fn unknown(name: &RepositoryName) -> Error {
    Error::NotFound(format!(
        "the store has no repository {name}: `homelab seal --install --repository {name}` makes it"
    ))
}
