//! Where a store stands, and whether it is older than it should be.
//!
//! Each commit writes a head into the store: which store it is, a sequence that only grows, and a random tag. A copy of
//! it is kept outside ([`HeadCopy`], with a MAC that only the store can make). A store whose head is behind the copy has
//! been put back to an earlier state: from a backup, or by somebody who wants an old secret or policy in force again.
//!
//! What this does not see: a store that is put back together with its copy, and one that lost no more than what was
//! written since the copy was last made (about a second).

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::Error;

/// Version of [`HeadCopy`] that this program writes.
pub const COPY_FORMAT: u32 = 1;

/// Where a store stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreHead {
    /// Which store: random, hex.
    pub store: String,
    /// Commits since it was made, at least: it only grows.
    pub sequence: u64,
    /// Random, hex: two commits of one sequence are told apart by it.
    pub tag: String,
}

impl StoreHead {
    /// The copy of it to keep elsewhere.
    pub fn copy(&self, key: &[u8; 32]) -> Result<HeadCopy, Error> {
        let mac = crate::hex::encode(&mac(key, self)?);
        Ok(HeadCopy { format: COPY_FORMAT, head: self.clone(), mac })
    }
}

/// A head as it is kept outside of the store. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadCopy {
    /// Version of this format.
    pub format: u32,
    /// The head.
    pub head: StoreHead,
    /// HMAC-SHA-256 of it under a key of the store's, hex.
    pub mac: String,
}

impl HeadCopy {
    /// Reads a copy; refuses formats it does not know.
    pub fn from_json(text: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let wrong = |_| Error::Invalid("the copy of the store's head is not readable".into());
        let found: Format = serde_json::from_slice(text).map_err(wrong)?;
        if found.format != COPY_FORMAT {
            let found = found.format;
            return Err(Error::Invalid(format!(
                "the copy of the store's head has format {found}, this program reads {COPY_FORMAT}"
            )));
        }
        serde_json::from_slice(text).map_err(wrong)
    }

    /// As it is kept.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|_| Error::Bug("the copy of a head does not serialise".into()))
    }

    fn is_by(&self, key: &[u8; 32]) -> Result<bool, Error> {
        let made = crate::hex::decode(&self.mac).unwrap_or_default();
        Ok(mac(key, &self.head)?.ct_eq(&made).into())
    }
}

fn mac(key: &[u8; 32], head: &StoreHead) -> Result<Vec<u8>, Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Error::Bug("HMAC refused its key".into()))?;
    for part in [head.store.as_bytes(), &head.sequence.to_be_bytes(), head.tag.as_bytes()] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().to_vec())
}

/// What comes of comparing a store with its copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The store is as new as its copy, or newer.
    Fresh,
    /// The store is older than its copy, or went another way from the same place on.
    RolledBack {
        /// Sequence of the store.
        store: u64,
        /// Sequence of the copy.
        copy: u64,
    },
    /// The copy is of another store, or was made up.
    OtherStore {
        /// Sequence of the copy.
        copy: u64,
    },
}

/// Compares a store with its copy. Without a copy there is nothing to say against it.
pub fn judge(head: &StoreHead, copy: Option<&HeadCopy>, key: &[u8; 32]) -> Result<Standing, Error> {
    let Some(copy) = copy else { return Ok(Standing::Fresh) };
    let (store, at) = (head.sequence, copy.head.sequence);
    if copy.head.store != head.store || !copy.is_by(key)? {
        return Ok(Standing::OtherStore { copy: at });
    }
    let went_apart = store == at && copy.head.tag != head.tag;
    Ok(if store < at || went_apart { Standing::RolledBack { store, copy: at } } else { Standing::Fresh })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn head(store: &str, sequence: u64, tag: &str) -> StoreHead {
        StoreHead { store: store.into(), sequence, tag: tag.into() }
    }

    #[test]
    fn a_store_is_compared_with_its_copy() {
        let copy = head("a", 10, "x").copy(&KEY).unwrap();
        let judged = |head: StoreHead| judge(&head, Some(&copy), &KEY).unwrap();
        for (mine, expected) in [
            (head("a", 10, "x"), Standing::Fresh),
            (head("a", 11, "y"), Standing::Fresh),
            (head("a", 9, "w"), Standing::RolledBack { store: 9, copy: 10 }),
            (head("a", 10, "z"), Standing::RolledBack { store: 10, copy: 10 }),
            (head("b", 99, "x"), Standing::OtherStore { copy: 10 }),
        ] {
            assert_eq!(judged(mine.clone()), expected, "{mine:?}");
        }
        assert_eq!(judge(&head("a", 0, ""), None, &KEY).unwrap(), Standing::Fresh);
    }

    #[test]
    fn a_copy_that_the_store_did_not_make_is_not_believed() {
        let mine = head("a", 10, "x");
        let made_up = HeadCopy { head: head("a", 1, "v"), ..mine.copy(&KEY).unwrap() };
        for copy in [made_up, mine.copy(&[8; 32]).unwrap(), HeadCopy { mac: String::new(), ..mine.copy(&KEY).unwrap() }]
        {
            assert!(matches!(judge(&mine, Some(&copy), &KEY).unwrap(), Standing::OtherStore { .. }), "{copy:?}");
        }
    }

    #[test]
    fn copies_are_kept_as_text_and_newer_ones_are_refused() {
        let copy = head("a", 10, "x").copy(&KEY).unwrap();
        assert_eq!(HeadCopy::from_json(&copy.to_json().unwrap()).unwrap(), copy);
        let newer = HeadCopy::from_json(br#"{"format": 2}"#).unwrap_err();
        insta::assert_snapshot!(newer, @"the copy of the store's head has format 2, this program reads 1");
        assert!(HeadCopy::from_json(b"{").is_err());
    }
}
