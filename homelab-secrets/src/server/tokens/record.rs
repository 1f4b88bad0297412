//! How a token lies in the store: under its keyed hash, without itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Hash, Session};
use crate::policy::Identity;

/// Kind of the documents. The store's own records say their format.
pub(in crate::server) const KIND: &str = "token";

/// A token that is kept. Its rights are those of its policies and nothing else.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::server) struct Kept {
    accessor: String,
    display_name: String,
    policies: Vec<String>,
    #[serde(default)]
    meta: BTreeMap<String, String>,
    created: Timestamp,
    creation_ttl: i64,
    expires: Option<Timestamp>,
    ends: Option<Timestamp>,
    explicit_max_ttl: i64,
    period: i64,
    renewable: bool,
    num_uses: u64,
    parent: Option<String>,
    orphan: bool,
}

impl Kept {
    /// Of a session whose identity is that of a token.
    pub(in crate::server) fn of(session: &Session) -> Self {
        Self {
            accessor: session.accessor.clone(),
            display_name: session.display_name.clone(),
            policies: session.policies.clone(),
            meta: session.meta.clone(),
            created: session.created,
            creation_ttl: session.creation_ttl,
            expires: session.expires,
            ends: session.ends,
            explicit_max_ttl: session.explicit_max_ttl,
            period: session.period,
            renewable: session.renewable,
            num_uses: session.num_uses,
            parent: session.parent.map(|hash| crate::hex::encode(&hash)),
            orphan: session.orphan,
        }
    }

    /// The same with so many uses left, or fewer if there are.
    pub(in crate::server) fn with_uses_left(self, uses: u64) -> Self {
        Self { num_uses: self.num_uses.min(uses), ..self }
    }

    /// The session again; `None` if its parent is no hash.
    pub(in crate::server) fn into_session(self) -> Option<Session> {
        let parent = match self.parent {
            None => None,
            Some(text) => Some(parse(&text)?),
        };
        Some(Session {
            identity: Identity::Token { name: self.display_name.clone() },
            policies: self.policies,
            accessor: self.accessor,
            display_name: self.display_name,
            path: "auth/token/create",
            meta: self.meta,
            created: self.created,
            creation_ttl: self.creation_ttl,
            expires: self.expires,
            ends: self.ends,
            explicit_max_ttl: self.explicit_max_ttl,
            period: self.period,
            renewable: self.renewable,
            num_uses: self.num_uses,
            parent,
            orphan: self.orphan,
            kept: true,
            proof: None,
        })
    }

    /// A document's name as the hash that it is.
    pub(in crate::server) fn hash(name: &str) -> Option<Hash> {
        parse(name)
    }
}

fn parse(text: &str) -> Option<Hash> {
    crate::hex::decode(text)?.try_into().ok()
}
