//! API paths of KV v2 and the secrets behind them: `kv/data/web/db` is `kv/web/db`.

use super::Capability;
use super::sys_paths::system_api;

/// The second part of an API path of KV v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Values.
    Data,
    /// History, settings, listing.
    Metadata,
    /// Names of keys.
    Subkeys,
    /// Soft delete of named versions.
    Delete,
    /// Takes a soft delete back.
    Undelete,
    /// Takes versions away for ever.
    Destroy,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Data, Self::Metadata, Self::Subkeys, Self::Delete, Self::Undelete, Self::Destroy];

    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }

    /// As it stands in a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Metadata => "metadata",
            Self::Subkeys => "subkeys",
            Self::Delete => "delete",
            Self::Undelete => "undelete",
            Self::Destroy => "destroy",
        }
    }

    /// What a capability on this API path means for the secret; none: nothing is served for it.
    ///
    /// What nothing brings back (destroyed versions, a removed path) is `sudo` on the secret, whatever Vault calls it.
    pub fn on_secret(self, needs: Capability) -> Option<Capability> {
        use Capability::{Create, Delete, List, Patch, Read, Sudo, Update};
        match (self, needs) {
            (Self::Data, Create | Read | Update | Patch | Delete) => Some(needs),
            (Self::Metadata, Create | Read | Update | Patch | List) => Some(needs),
            (Self::Metadata, Delete) | (Self::Destroy, Update) => Some(Sudo),
            (Self::Subkeys, Read) => Some(Read),
            (Self::Delete, Update) => Some(Delete),
            (Self::Undelete, Update) => Some(Update),
            _ => None,
        }
    }
}

/// An API path of KV v2, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvPath<'a> {
    /// The mount.
    pub mount: &'a str,
    /// What is done.
    pub verb: Verb,
    /// Path inside the mount; empty for the mount's own folder.
    pub path: &'a str,
}

impl<'a> KvPath<'a> {
    /// Takes `kv/data/web/db` apart; none if it is no such path.
    pub fn parse(api: &'a str) -> Option<Self> {
        let (mount, rest) = api.split_once('/')?;
        if mount.is_empty() || matches!(mount, "sys" | "auth") {
            return None;
        }
        let (verb, path) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self { mount, verb: Verb::parse(verb)?, path })
    }

    /// The secret or folder behind it: `kv/web/db`.
    pub fn secret(&self) -> String {
        format!("{}/{}", self.mount, self.path)
    }
}

/// The API path and capability that a deed on a secret is asked for with.
pub fn api_path(secret: &str, capability: Capability) -> (String, Capability) {
    if let Some(found) = system_api(secret, capability) {
        return found;
    }
    let (mount, path) = secret.split_once('/').unwrap_or((secret, ""));
    let (verb, needs) = match capability {
        Capability::List => {
            let folder = path.trim_end_matches('/');
            let slash = if folder.is_empty() { "" } else { "/" };
            return (format!("{mount}/metadata/{folder}{slash}"), Capability::List);
        }
        Capability::Sudo => (Verb::Destroy, Capability::Update),
        other => (Verb::Data, other),
    };
    (format!("{mount}/{}/{path}", verb.as_str()), needs)
}
