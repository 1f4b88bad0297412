//! What lies in the backend: keys of records, and their sealed content. The one place that knows these formats.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::Mount;
use super::value::SecretData;
use crate::Error;
use crate::keys::Keyring;
use crate::kv::{MountSettings, State};
use crate::seal::{Form, Front, Nonce, Place, front, open_record, seal_record};

/// Version of the sealed content that this program writes.
const FORMAT: u32 = 1;
/// The wrapped keys; not sealed, since it is what opens the rest.
pub(super) const KEY_TABLE: &str = "keys";
/// The mounts, sealed as a state of the system's own mount.
pub(super) const MOUNTS: &str = "mounts";
/// Where the store stands, sealed likewise; each commit writes it.
pub(super) const HEAD: &str = "head";
/// UUID of the system's own mount.
pub(super) const SYSTEM: MountId = [0; 16];

/// Prefix of the keys of documents.
pub(super) const DOCUMENTS: &str = "d/";

pub(super) type MountId = [u8; 16];

/// Key of the state of a path.
pub(super) fn state_key(mount: &MountId, path: &str) -> String {
    format!("s/{}/{path}", crate::hex::encode(mount))
}

/// Mount and path of which `key` is the state, if it is one.
pub(super) fn state_of(key: &str) -> Option<(MountId, &str)> {
    let (mount, path) = key.strip_prefix("s/")?.split_once('/')?;
    Some((crate::hex::decode(mount)?.try_into().ok()?, path))
}

/// Key of one version of a path. The version always is the last part, so no two are the same.
pub(super) fn version_key(mount: &MountId, path: &str, version: u64) -> String {
    format!("v/{}/{path}/{version:016x}", crate::hex::encode(mount))
}

/// What the record at `key` is sealed as: form, mount and path. `None`: it is not sealed, or not one of ours.
pub(super) fn place_of(key: &str) -> Option<(Form, MountId, &str)> {
    let (prefix, rest) = key.split_once('/').unwrap_or((key, ""));
    match prefix {
        "s" => state_of(key).map(|(mount, path)| (Form::State, mount, path)),
        "v" => {
            let (mount, rest) = rest.split_once('/')?;
            let (path, _) = rest.rsplit_once('/')?;
            Some((Form::Version, crate::hex::decode(mount)?.try_into().ok()?, path))
        }
        "h" | "d" | MOUNTS | HEAD => Some((Form::State, SYSTEM, key)),
        _ => None,
    }
}

/// Prefix of the keys of all versions of a mount.
pub(super) fn versions_of(mount: &MountId) -> String {
    format!("v/{}/", crate::hex::encode(mount))
}

/// Key of what a holder pins.
pub(super) fn holder_key(holder: &str) -> String {
    format!("h/{holder}")
}

/// One path's state, with the nonces that its versions must have: a blob of an earlier life of the path does not fit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PathRecord {
    pub(super) state: State,
    pub(super) nonces: BTreeMap<u64, NonceText>,
}

/// A nonce as hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct NonceText(pub(super) String);

impl NonceText {
    pub(super) fn of(nonce: &Nonce) -> Self {
        Self(crate::hex::encode(nonce))
    }
}

/// One version's content.
#[derive(Serialize, Deserialize)]
pub(super) struct VersionRecord {
    pub(super) created: Timestamp,
    pub(super) writer: String,
    pub(super) data: SecretData,
}

/// One mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MountRecord {
    pub(super) name: String,
    pub(super) id: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) settings: MountSettings,
    /// Its records are being taken away; it is not there for anybody any more.
    #[serde(default)]
    pub(super) going: bool,
}

impl MountRecord {
    pub(super) fn of(mount: &Mount) -> Self {
        Self {
            name: mount.name.clone(),
            id: crate::hex::encode(&mount.id),
            description: mount.description.clone(),
            settings: mount.settings,
            going: mount.going,
        }
    }

    pub(super) fn into_mount(self) -> Result<Mount, Error> {
        let Self { name, id, description, settings, going } = self;
        let id = crate::hex::decode(&id).and_then(|id| id.try_into().ok());
        let id = id.ok_or_else(|| Error::Unsealed { what: format!("the mount {name}") })?;
        Ok(Mount { name, description, settings, id, going })
    }
}

/// All mounts.
#[derive(Serialize, Deserialize)]
pub(super) struct MountTable {
    pub(super) mounts: Vec<MountRecord>,
}

/// What a holder pins: paths (`MOUNT/PATH`) and versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HolderRecord {
    pub(super) pins: Vec<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
struct Framed<T> {
    format: u32,
    // Not flattened: serde can not read numbers as keys of a map through `flatten`.
    content: T,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// `content` as the text that is sealed; `None` if it does not serialise.
pub(super) fn written<T: Serialize>(content: T) -> Option<Zeroizing<Vec<u8>>> {
    serde_json::to_vec(&Framed { format: FORMAT, content }).map(Zeroizing::new).ok()
}

/// Seals `content` as the newest record of `place`.
pub(super) fn seal<T: Serialize>(
    keys: &Keyring,
    form: Form,
    front: (Place<'_>, u64, Nonce),
    content: T,
) -> Result<Vec<u8>, Error> {
    let text = written(content);
    let text = text.ok_or_else(|| Error::Bug(format!("the record of {} does not serialise", front.0.path)))?;
    seal_text(keys, form, front, &text)
}

/// Seals a text that [`written`] made.
pub(super) fn seal_text(
    keys: &Keyring,
    form: Form,
    (place, number, nonce): (Place<'_>, u64, Nonce),
    text: &[u8],
) -> Result<Vec<u8>, Error> {
    let bug = |what: &str| Error::Bug(format!("the record of {} {what}", place.path));
    let id = keys.active();
    let key = keys.key(id, form).ok_or_else(|| bug("has no key"))?;
    seal_record(form, key, Front { key: id, number, nonce }, place, text).map_err(|_| bug("could not be sealed"))
}

/// Opens the record of `place`; gives its front too.
pub(super) fn open<T: DeserializeOwned>(
    keys: &Keyring,
    form: Form,
    place: Place<'_>,
    record: &[u8],
) -> Result<(Front, T), Error> {
    let fails = || Error::Unsealed { what: format!("the record of {}", place.path) };
    let front = front(form, record).map_err(|_| fails())?;
    let key = keys.key(front.key, form).ok_or_else(fails)?;
    let text = open_record(form, key, place, record).map_err(|_| fails())?;
    // serde's own words may quote the value, so they are dropped.
    let found: Format = serde_json::from_slice(&text).map_err(|_| fails())?;
    if found.format != FORMAT {
        let (path, found) = (place.path, found.format);
        return Err(Error::Invalid(format!("the record of {path} has format {found}, this program reads {FORMAT}")));
    }
    let framed: Framed<T> = serde_json::from_slice(&text).map_err(|_| fails())?;
    Ok((front, framed.content))
}
