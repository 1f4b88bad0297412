//! Tokens: found by a keyed hash of theirs, in memory; those that somebody made for keeping also lie sealed in the store.
//!
//! A token that comes from a login ends with this process: whoever logged in has what it takes to do so again. What
//! `auth/token/create` makes is handed on to others and is kept, unless its parent itself ends with the process. A token
//! ends with its parent, except an orphan, which has none. Tokens are judged when they are used; what has ended is swept
//! out along the way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::Error;
use crate::backend::Host;
use crate::policy::{Holder, Identity};

use super::proof::Proof;

mod record;

pub(super) use record::{KIND, Kept};

/// How long a login's token lasts without being renewed, where nobody says.
pub(super) const LOGIN_TTL: i64 = 3600;
/// The longest that a token lasts, and how long where nobody says: 32 days, as Vault.
pub(super) const MAX_TTL: i64 = 768 * 3600;
/// Tokens at a time: some megabytes.
const MAX_TOKENS: usize = 20_000;
/// How long the line of parents may be.
const MAX_DEPTH: usize = 32;

pub(super) type Hash = [u8; 32];

/// Who holds a token, until when, and what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) identity: Identity,
    /// Policies by API path that it names, sorted.
    pub(super) policies: Vec<String>,
    /// Name of the token that is not secret.
    pub(super) accessor: String,
    pub(super) display_name: String,
    /// API path that made it.
    pub(super) path: &'static str,
    pub(super) meta: std::collections::BTreeMap<String, String>,
    pub(super) created: Timestamp,
    /// Seconds that it was given at first; 0: for ever.
    pub(super) creation_ttl: i64,
    /// `None`: never (a root token).
    pub(super) expires: Option<Timestamp>,
    /// It can not be renewed beyond this.
    pub(super) ends: Option<Timestamp>,
    pub(super) explicit_max_ttl: i64,
    /// Seconds that each renewal gives; 0: it is not periodic.
    pub(super) period: i64,
    pub(super) renewable: bool,
    /// Uses that are left; 0: as many as one likes.
    pub(super) num_uses: u64,
    pub(super) parent: Option<Hash>,
    pub(super) orphan: bool,
    /// Whether it is in the store, too.
    pub(super) kept: bool,
    /// What it was given for, if that can end before it.
    pub(super) proof: Option<Arc<Proof>>,
}

impl Session {
    /// Seconds left, begun ones counted; 0 for ever.
    pub(super) fn ttl(&self, now: Timestamp) -> i64 {
        let left = |at: Timestamp| at.duration_since(now).saturating_add(SignedDuration::from_millis(999)).as_secs();
        self.expires.map_or(0, |at| left(at).max(1))
    }

    pub(super) fn holder(&self) -> Holder<'_> {
        Holder { identity: &self.identity, policies: &self.policies }
    }

    fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Lets it last `increment` seconds from now, as far as it may.
    fn renew(&mut self, increment: Option<i64>, now: Timestamp) {
        let wanted =
            if self.period > 0 { self.period } else { increment.filter(|s| *s > 0).unwrap_or(self.creation_ttl) };
        let longest = if self.period > 0 { None } else { Some(after(self.created, MAX_TTL)) };
        let ends = [Some(after(now, wanted)), longest, self.ends];
        self.expires = ends.into_iter().flatten().min();
    }
}

/// `seconds` later.
pub(super) fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

pub(super) struct Tokens {
    /// Of this process, for the root token of its configuration.
    own_key: Zeroizing<[u8; 32]>,
    root: Option<(Hash, Arc<Session>)>,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    /// The store's key; none while it is sealed.
    key: Option<Zeroizing<[u8; 32]>>,
    sessions: HashMap<Hash, Arc<Session>>,
}

/// What came of a look-up.
pub(super) struct Used {
    pub(super) session: Arc<Session>,
    pub(super) hash: Option<Hash>,
    /// A token of which each use counts, and which is in the store: what is left has to be written there.
    pub(super) spent: bool,
}

impl Tokens {
    pub(super) fn new(host: &dyn Host, root: Option<&str>) -> Result<Self, Error> {
        let mut own_key = Zeroizing::new([0; 32]);
        host.random(&mut *own_key)?;
        let root =
            root.map(|root| Ok::<_, Error>((hash(&own_key, root)?, Arc::new(root_session(host.now()))))).transpose()?;
        Ok(Self { own_key, root, live: Mutex::default() })
    }

    /// Begins anew, with the tokens that were in the store; gives those that have ended.
    pub(super) fn open(&self, key: Zeroizing<[u8; 32]>, kept: Vec<(Hash, Session)>, now: Timestamp) -> Vec<Hash> {
        let mut live = self.lock();
        live.key = Some(key);
        live.sessions = kept.into_iter().map(|(hash, session)| (hash, Arc::new(session))).collect();
        live.sweep(now)
    }

    /// Forgets everything: the store was sealed.
    pub(super) fn close(&self) {
        *self.lock() = Live::default();
    }

    /// The hash that a token is found by.
    pub(super) fn hash(&self, token: &str) -> Result<Hash, Error> {
        let live = self.lock();
        hash(live.key.as_ref().ok_or_else(sealed)?, token)
    }

    /// Adds a session; gives also what has ended meanwhile and lies in the store.
    pub(super) fn insert(&self, at: Hash, session: Session, now: Timestamp) -> Result<Vec<Hash>, Error> {
        let mut live = self.lock();
        let swept = if live.sessions.len().is_multiple_of(64) { live.sweep(now) } else { Vec::new() };
        if live.sessions.len() >= MAX_TOKENS {
            return Err(Error::Backend(format!("{MAX_TOKENS} tokens are in use: revoke some, or wait until they end")));
        }
        live.sessions.insert(at, Arc::new(session));
        Ok(swept)
    }

    /// Who holds this token; counts the use.
    pub(super) fn use_of(&self, token: &str, now: Timestamp) -> Result<Option<Used>, Error> {
        if let Some((root, session)) = &self.root
            && bool::from(root.ct_eq(&hash(&self.own_key, token)?))
        {
            return Ok(Some(Used { session: session.clone(), hash: None, spent: false }));
        }
        let mut live = self.lock();
        let at = hash(live.key.as_ref().ok_or_else(sealed)?, token)?;
        let Some(mut session) = live.find(&at, now) else { return Ok(None) };
        let counted = session.num_uses > 0;
        if counted {
            // The last use still works; it leaves a token that nobody can use.
            if session.num_uses == 1 {
                live.sessions.remove(&at);
            } else if let Some(entry) = live.sessions.get_mut(&at) {
                let entry = Arc::make_mut(entry);
                entry.num_uses -= 1;
                session = Arc::new(entry.clone());
            }
        }
        Ok(Some(Used { spent: counted && session.kept, session, hash: Some(at) }))
    }

    /// The session of a token, or of what has this hash, without counting a use.
    pub(super) fn peek(&self, at: &Hash, now: Timestamp) -> Option<Arc<Session>> {
        self.lock().find(at, now)
    }

    /// Whether this is the root token of the configuration.
    pub(super) fn root_session(&self, token: &str) -> Result<Option<Arc<Session>>, Error> {
        let Some((root, session)) = &self.root else { return Ok(None) };
        Ok(bool::from(root.ct_eq(&hash(&self.own_key, token)?)).then(|| session.clone()))
    }

    pub(super) fn by_accessor(&self, accessor: &str, now: Timestamp) -> Option<(Hash, Arc<Session>)> {
        let live = self.lock();
        let at = *live.sessions.iter().find(|(_, session)| session.accessor == accessor)?.0;
        Some((at, live.find(&at, now)?))
    }

    pub(super) fn accessors(&self, now: Timestamp) -> Vec<String> {
        let live = self.lock();
        let alive = live.sessions.values().filter(|session| !session.has_ended(now));
        alive.map(|session| session.accessor.clone()).collect()
    }

    /// Lets a token last longer, as far as it may.
    pub(super) fn renew(&self, at: &Hash, increment: Option<i64>, now: Timestamp) -> Option<Arc<Session>> {
        let mut live = self.lock();
        live.find(at, now)?;
        let session = Arc::make_mut(live.sessions.get_mut(at)?);
        session.renew(increment, now);
        Some(Arc::new(session.clone()))
    }

    /// Ends a token and all that it is a parent of; gives those that lie in the store.
    pub(super) fn revoke(&self, at: &Hash) -> Vec<Hash> {
        let mut live = self.lock();
        let mut gone = vec![*at];
        let mut next = 0;
        while let Some(parent) = gone.get(next).copied() {
            gone.extend(live.sessions.iter().filter(|(_, s)| s.parent == Some(parent)).map(|(hash, _)| *hash));
            next += 1;
        }
        gone.retain(|hash| live.sessions.remove(hash).is_some_and(|session| session.kept));
        gone
    }

    /// Ends a token; those that it is a parent of become orphans. Gives the orphans that lie in the store.
    pub(super) fn revoke_alone(&self, at: &Hash) -> Vec<(Hash, Arc<Session>)> {
        let mut live = self.lock();
        live.sessions.remove(at);
        let mut changed = Vec::new();
        for (hash, session) in &mut live.sessions {
            if session.parent.as_ref() == Some(at) {
                let orphan = Arc::make_mut(session);
                (orphan.parent, orphan.orphan) = (None, true);
                if orphan.kept {
                    changed.push((*hash, session.clone()));
                }
            }
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// A session that has not ended, and whose parents have not.
    fn find(&self, at: &Hash, now: Timestamp) -> Option<Arc<Session>> {
        let found = self.sessions.get(at)?.clone();
        let (mut session, mut depth) = (found.clone(), 0);
        loop {
            if session.has_ended(now) || depth > MAX_DEPTH {
                return None;
            }
            let Some(parent) = session.parent else { return Some(found) };
            session = self.sessions.get(&parent)?.clone();
            depth += 1;
        }
    }

    /// Takes away what has ended; gives what of it lies in the store.
    fn sweep(&mut self, now: Timestamp) -> Vec<Hash> {
        let ended: Vec<Hash> = self.sessions.keys().copied().collect();
        let ended: Vec<Hash> = ended.into_iter().filter(|hash| self.find(hash, now).is_none()).collect();
        ended.into_iter().filter(|hash| self.sessions.remove(hash).is_some_and(|session| session.kept)).collect()
    }
}

fn sealed() -> Error {
    Error::Sealed
}

fn hash(key: &Zeroizing<[u8; 32]>, token: &str) -> Result<Hash, Error> {
    let mac = Hmac::<Sha256>::new_from_slice(&**key);
    let mut mac = mac.map_err(|_| Error::Bug("HMAC refused its key".into()))?;
    mac.update(token.as_bytes());
    Ok(mac.finalize().into_bytes().into())
}

fn root_session(now: Timestamp) -> Session {
    Session {
        identity: Identity::Root,
        policies: vec![crate::policy::acl::ROOT.into()],
        accessor: "root".into(),
        display_name: "root".into(),
        path: "auth/token/root",
        meta: std::collections::BTreeMap::new(),
        created: now,
        creation_ttl: 0,
        expires: None,
        ends: None,
        explicit_max_ttl: 0,
        period: 0,
        renewable: false,
        num_uses: 0,
        parent: None,
        orphan: true,
        kept: false,
        proof: None,
    }
}

#[cfg(test)]
mod tests;
