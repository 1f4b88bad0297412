//! The keys of one repository: what is stored of them, and what they open to.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::name::{RepositoryId, RepositoryName};
use super::value::LABEL;
use crate::Error;
use crate::keys::{KeyId, Random, expand};
use crate::seal::SivKey;

/// Version of [`RepositoryKeys`] that this program writes.
const FORMAT: u32 = 1;

/// All keys of a repository, to be stored sealed: whoever reads this opens every file of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryKeys {
    format: u32,
    name: String,
    id: String,
    epochs: Vec<StoredEpoch>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredEpoch {
    epoch: u64,
    created: Timestamp,
    id: KeyId,
    key: KeyText,
}

#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
struct KeyText(String);

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What may be told of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochInfo {
    /// Number, from 1.
    pub epoch: u64,
    /// When it was made.
    pub created: Timestamp,
}

impl RepositoryKeys {
    /// Keys of a new repository, with epoch 1.
    pub fn create(name: &RepositoryName, now: Timestamp, random: Random<'_>) -> Result<Self, Error> {
        let mut id = [0; 16];
        random(&mut id)?;
        let id = RepositoryId::new(id).to_string();
        let mut keys = Self { format: FORMAT, name: name.to_string(), id, epochs: Vec::new() };
        keys.add_epoch(now, random)?;
        Ok(keys)
    }

    /// Makes a new epoch, which seals from now on; earlier ones still open. Gives its number.
    pub fn add_epoch(&mut self, now: Timestamp, random: Random<'_>) -> Result<u64, Error> {
        let (mut id, mut key) = ([0; KeyId::LEN], Zeroizing::new([0; SivKey::LEN]));
        random(&mut id)?;
        random(&mut *key)?;
        let epoch = self.epochs.last().map_or(0, |last| last.epoch) + 1;
        let key = KeyText(BASE64.encode(*key));
        self.epochs.push(StoredEpoch { epoch, created: now, id: KeyId::new(id), key });
        Ok(epoch)
    }

    /// Its epochs, oldest first.
    pub fn epochs(&self) -> Vec<EpochInfo> {
        self.epochs.iter().map(|stored| EpochInfo { epoch: stored.epoch, created: stored.created }).collect()
    }

    /// The keys, ready to use. Refuses a form that a newer program wrote.
    pub fn open(&self) -> Result<RepositoryRing, Error> {
        let name = &self.name;
        if self.format != FORMAT {
            let found = self.format;
            return Err(Error::Invalid(format!(
                "the keys of repository {name} have format {found}, this program reads {FORMAT}"
            )));
        }
        let wrong = || Error::Unsealed { what: format!("the keys of repository {name}") };
        let mut epochs = BTreeMap::new();
        for stored in &self.epochs {
            let bytes = BASE64.decode(&stored.key.0).map(Zeroizing::new).map_err(|_| wrong())?;
            let root = SivKey::new(bytes.as_slice().try_into().map_err(|_| wrong())?);
            let key = SivKey::new(*expand::<{ SivKey::LEN }>(root.bytes(), LABEL)?);
            epochs.insert(stored.epoch, EpochKey { epoch: stored.epoch, id: stored.id, key });
        }
        let active = epochs.pop_last().ok_or_else(wrong)?.1;
        let id = RepositoryId::parse(&self.id).ok_or_else(wrong)?;
        Ok(RepositoryRing { name: RepositoryName::parse(name)?, id, active, earlier: epochs })
    }
}

/// The key of one epoch.
#[derive(Debug)]
pub(super) struct EpochKey {
    pub(super) epoch: u64,
    pub(super) id: KeyId,
    pub(super) key: SivKey,
}

/// The open keys of one repository.
#[derive(Debug)]
pub struct RepositoryRing {
    name: RepositoryName,
    id: RepositoryId,
    active: EpochKey,
    earlier: BTreeMap<u64, EpochKey>,
}

impl RepositoryRing {
    /// The repository's name.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// The repository's id.
    pub fn id(&self) -> RepositoryId {
        self.id
    }

    /// Number of the epoch that seals.
    pub fn active_epoch(&self) -> u64 {
        self.active.epoch
    }

    pub(super) fn active(&self) -> &EpochKey {
        &self.active
    }

    pub(super) fn epoch(&self, number: u64) -> Option<&EpochKey> {
        if number == self.active.epoch { Some(&self.active) } else { self.earlier.get(&number) }
    }
}
