//! Slots: ways to the root key, and what opens each.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KeyId, Random, RecoveryKey, Wrapped, key_of, random_key};
use crate::Error;
use crate::seal::SivKey;

const KEY_FILE_WORD: &str = "homelab-key/1";
const ROOT_FORMAT: &[u8] = b"homelab.wrap.root/1";
/// Shortest passphrase that a slot is made for.
const PASSPHRASE_MIN: usize = 8;

/// What opens a slot.
pub enum Unlock {
    /// The content of a key file.
    KeyFile(SlotKey),
    /// The same, out of a Kubernetes Secret.
    KubernetesSecret(SlotKey),
    /// A passphrase; the slot's argon2id parameters stretch it.
    Passphrase(Zeroizing<String>),
    /// The recovery key, written down and kept elsewhere.
    Recovery(RecoveryKey),
    /// A key that lies in the slot itself, sealed for age identities.
    Age(SlotKey, ForAge),
}

/// A slot's key, sealed for age identities (age-encryption.org/v1). Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForAge {
    /// Public keys of the identities.
    pub recipients: Vec<String>,
    /// The text of a key file as an age file, base64.
    pub sealed: String,
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyFile(_) => "Unlock::KeyFile(…)",
            Self::KubernetesSecret(_) => "Unlock::KubernetesSecret(…)",
            Self::Passphrase(_) => "Unlock::Passphrase(…)",
            Self::Recovery(_) => "Unlock::Recovery(…)",
            Self::Age(..) => "Unlock::Age(…)",
        })
    }
}

/// The key of a slot.
#[derive(Clone, Debug)]
pub struct SlotKey {
    pub(super) id: KeyId,
    pub(super) key: SivKey,
}

impl SlotKey {
    /// A new one.
    pub fn generate(random: Random<'_>) -> Result<Self, Error> {
        Ok(Self { id: KeyId::random(random)?, key: random_key(random)? })
    }

    /// Its name: that of its slot, too.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// One line of text for a key file: `homelab-key/1 ID KEY`.
    pub fn to_file(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(BASE64.encode(self.key.bytes()));
        Zeroizing::new(format!("{KEY_FILE_WORD} {} {}\n", self.id, *key))
    }

    /// Reads a key file's text.
    pub fn from_file(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Invalid(format!("the key file is not one line `{KEY_FILE_WORD} ID KEY`"));
        let mut words = text.split_whitespace();
        let (Some(KEY_FILE_WORD), Some(id), Some(key), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong());
        };
        let bytes = Zeroizing::new(BASE64.decode(key).map_err(|_| wrong())?);
        Ok(Self { id: KeyId::parse(id).ok_or_else(wrong)?, key: key_of(&bytes).ok_or_else(wrong)? })
    }
}

/// How a slot's key is come by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum SlotKind {
    /// It is in a key file.
    KeyFile,
    /// It is in a Kubernetes Secret.
    KubernetesSecret,
    /// It is argon2id of a passphrase.
    #[serde(rename_all = "camelCase")]
    Passphrase {
        /// Salt, base64.
        salt: String,
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// Somebody has written it down.
    Recovery,
    /// It lies here, sealed for age identities.
    Age(ForAge),
}

impl SlotKind {
    /// As people and programs read it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KeyFile => "key file",
            Self::KubernetesSecret => "Kubernetes Secret",
            Self::Passphrase { .. } => "passphrase",
            Self::Recovery => "recovery key",
            Self::Age(_) => "age identity",
        }
    }

    /// Whether a program can open it at its start, with nobody there.
    pub fn opens_alone(&self) -> bool {
        matches!(self, Self::KeyFile | Self::KubernetesSecret | Self::Age(_))
    }

    /// Whether its key lies in the cluster's etcd.
    pub fn in_etcd(&self) -> bool {
        matches!(self, Self::KubernetesSecret)
    }
}

/// One way to the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// How its key is come by.
    pub how: SlotKind,
    /// The root key, wrapped by it.
    pub root: Wrapped,
    /// When its key was last seen to open a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<Timestamp>,
}

impl Slot {
    /// Its name: that of its key.
    #[expect(clippy::misnamed_getters, reason = "a slot is named by what opens it, not by the root key that it wraps")]
    pub fn id(&self) -> KeyId {
        self.root.parent
    }

    /// Whether `unlock` opens it.
    pub fn opens(&self, unlock: &Unlock) -> Result<bool, Error> {
        Ok(self.open(unlock)?.is_some())
    }

    /// The root key, if `unlock` is of this slot's kind and belongs to it. `None`: it is another one's. A passphrase can
    /// only be tried, so a wrong one is `None`, too.
    pub(super) fn open(&self, unlock: &Unlock) -> Result<Option<SivKey>, Error> {
        let mine = |id: KeyId| (id == self.id() && !matches!(self.how, SlotKind::Passphrase { .. })).then_some(id);
        let (id, key) = match (unlock, &self.how) {
            (Unlock::KeyFile(key) | Unlock::KubernetesSecret(key) | Unlock::Age(key, _), _) => {
                (mine(key.id), key.key.clone())
            }
            (Unlock::Recovery(key), SlotKind::Recovery) => (mine(key.id()?), key.key()?),
            (Unlock::Passphrase(words), SlotKind::Passphrase { salt, memory_kib, passes, lanes }) => {
                let key = stretch(words, salt, (*memory_kib, *passes, *lanes))?;
                return Ok(self.root.open(ROOT_FORMAT, (self.id(), &key)).ok());
            }
            _ => return Ok(None),
        };
        id.map(|id| self.root.open(ROOT_FORMAT, (id, &key))).transpose()
    }
}

/// A slot that only lacks the root key. Making one of a passphrase takes a while; see [`stretch`].
pub struct NewSlot {
    how: SlotKind,
    id: KeyId,
    key: SivKey,
}

impl fmt::Debug for NewSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewSlot({}, {})", self.how.name(), self.id)
    }
}

impl NewSlot {
    /// A slot for `unlock`. For a passphrase this takes tens of milliseconds and 64 MiB.
    pub fn of(unlock: &Unlock, random: Random<'_>) -> Result<Self, Error> {
        Ok(match unlock {
            Unlock::KeyFile(file) => Self { how: SlotKind::KeyFile, id: file.id, key: file.key.clone() },
            Unlock::KubernetesSecret(file) => {
                Self { how: SlotKind::KubernetesSecret, id: file.id, key: file.key.clone() }
            }
            Unlock::Recovery(key) => Self { how: SlotKind::Recovery, id: key.id()?, key: key.key()? },
            Unlock::Age(file, sealed) => {
                Self { how: SlotKind::Age(sealed.checked()?), id: file.id, key: file.key.clone() }
            }
            Unlock::Passphrase(words) => {
                if words.chars().count() < PASSPHRASE_MIN {
                    return Err(Error::Invalid(format!("a passphrase has at least {PASSPHRASE_MIN} characters")));
                }
                let mut salt = [0; 16];
                random(&mut salt)?;
                let (salt, (memory_kib, passes, lanes)) = (BASE64.encode(salt), PASSPHRASE_COST);
                let key = stretch(words, &salt, PASSPHRASE_COST)?;
                let how = SlotKind::Passphrase { salt, memory_kib, passes, lanes };
                Self { how, id: KeyId::random(random)?, key }
            }
        })
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(super) fn wrap(&self, root: (KeyId, &SivKey)) -> Result<Slot, Error> {
        let wrapped = Wrapped::new(ROOT_FORMAT, (self.id, &self.key), root.0, root.1)?;
        Ok(Slot { how: self.how.clone(), root: wrapped, proved: None })
    }
}

/// Identities that one slot is sealed for, at most, and bytes of what is stored of them.
const AGE_MAX: (usize, usize) = (16, 16 * 1024);

impl ForAge {
    /// The form and size that a table may hold. Whether the key is in it, only an identity could say.
    fn checked(&self) -> Result<Self, Error> {
        let bytes = self.sealed.len() + self.recipients.iter().map(String::len).sum::<usize>();
        let word = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let fits = (1..=AGE_MAX.0).contains(&self.recipients.len()) && bytes <= AGE_MAX.1;
        if !fits || !self.recipients.iter().all(word) || BASE64.decode(&self.sealed).is_err() {
            let (most, bytes) = AGE_MAX;
            return Err(Error::Invalid(format!(
                "a slot for age identities has 1 to {most} recipients and an age file in base64, {bytes} bytes in all"
            )));
        }
        Ok(self.clone())
    }
}

/// 64 MiB, 3 passes, 1 lane: the second recommendation of RFC 9106 with one lane.
const PASSPHRASE_COST: (u32, u32, u32) = (64 * 1024, 3, 1);
/// No table may ask for more: it is read before anything in it is proved.
const PASSPHRASE_KIB_MAX: u32 = 1024 * 1024;

pub(super) fn stretch(words: &str, salt: &str, (memory_kib, passes, lanes): (u32, u32, u32)) -> Result<SivKey, Error> {
    let wrong = || Error::Invalid("the passphrase slot has parameters that argon2id does not take".into());
    if memory_kib > PASSPHRASE_KIB_MAX || passes > 64 {
        return Err(wrong());
    }
    let salt = BASE64.decode(salt).map_err(|_| wrong())?;
    let params = Params::new(memory_kib, passes, lanes, Some(SivKey::LEN)).map_err(|_| wrong())?;
    let mut key = Zeroizing::new([0; SivKey::LEN]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(words.as_bytes(), &salt, &mut *key)
        .map_err(|_| wrong())?;
    Ok(SivKey::new(*key))
}
