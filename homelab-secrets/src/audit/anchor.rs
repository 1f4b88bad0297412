//! Where the chain stood at a time, kept apart from it: what shows that its end was cut off.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::ChainMac;
use super::{AuditKey, Position};
use crate::Error;

const FORMAT: &str = "homelab.audit.anchor/1";

/// A place of the chain that is known to have been on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Which record.
    pub at: Position,
    /// When that was noted.
    pub time: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    v: String,
    anchor: Anchor,
    mac: ChainMac,
}

impl Anchor {
    /// The anchor as text with a MAC of its own.
    pub fn to_text(&self, key: &AuditKey) -> Result<String, Error> {
        let bug = |_| Error::Bug("an audit anchor does not serialise".into());
        let mac = key.anchor(&serde_json::to_vec(self).map_err(bug)?);
        let text = serde_json::to_string(&Sealed { v: FORMAT.into(), anchor: *self, mac }).map_err(bug)?;
        Ok(text + "\n")
    }

    /// Reads what [`Self::to_text`] wrote with the same key.
    pub fn from_text(text: &[u8], key: &AuditKey) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Version {
            v: String,
        }
        let changed = || Error::Unsealed { what: "the anchor of the audit log".into() };
        let found: Version = serde_json::from_slice(text).map_err(|_| changed())?;
        if found.v != FORMAT {
            let found = found.v;
            return Err(Error::Invalid(format!(
                "the audit log's anchor has format {found:?}, this program reads {FORMAT}"
            )));
        }
        let sealed: Sealed = serde_json::from_slice(text).map_err(|_| changed())?;
        let proved = serde_json::to_vec(&sealed.anchor).map_err(|_| changed())?;
        if key.anchor(&proved) == sealed.mac { Ok(sealed.anchor) } else { Err(changed()) }
    }
}
