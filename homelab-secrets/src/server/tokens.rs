//! Tokens: random, in memory, found by a keyed hash. A restart ends them all; clients log in again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::Login;
use crate::Error;
use crate::backend::Host;
use crate::policy::Identity;

/// How long a token lasts without being renewed.
pub(super) const TTL: SignedDuration = SignedDuration::from_hours(1);
/// Tokens at a time: some megabytes.
const MAX_TOKENS: usize = 20_000;
const PREFIX: &str = "hls.";

type Hash = [u8; 32];

/// Who holds a token, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) identity: Identity,
    /// Name of the token that is not secret.
    pub(super) accessor: String,
    pub(super) created: Timestamp,
    /// `None`: never (the root token).
    pub(super) expires: Option<Timestamp>,
    /// It can not be renewed beyond this.
    pub(super) ends: Option<Timestamp>,
}

impl Session {
    /// Seconds left; 0 for ever.
    pub(super) fn ttl(&self, now: Timestamp) -> i64 {
        self.expires.map_or(0, |at| at.duration_since(now).as_secs().max(1))
    }
}

pub(super) struct Tokens {
    key: Zeroizing<[u8; 32]>,
    root: Option<Hash>,
    live: Mutex<HashMap<Hash, Session>>,
}

impl Tokens {
    pub(super) fn new(host: &dyn Host, root: Option<&str>) -> Result<Self, Error> {
        let mut tokens = Self { key: Zeroizing::new([0; 32]), root: None, live: Mutex::default() };
        host.random(&mut *tokens.key)?;
        tokens.root = root.map(|root| tokens.hash(root)).transpose()?;
        Ok(tokens)
    }

    /// A new token for a proved identity. It is not stored anywhere: this is the only time that it is seen.
    pub(super) fn issue(&self, login: Login, host: &dyn Host) -> Result<(Zeroizing<String>, Session), Error> {
        let (mut secret, mut accessor) = (Zeroizing::new([0; 32]), [0; 16]);
        host.random(&mut *secret)?;
        host.random(&mut accessor)?;
        let token = Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*secret)));
        let now = host.now();
        let Login { identity, ends } = login;
        let expires = Some(until(now, ends));
        let session = Session { identity, accessor: crate::hex::encode(&accessor), created: now, expires, ends };
        let hash = self.hash(&token)?;
        let mut live = self.lock();
        if live.len() >= MAX_TOKENS {
            live.retain(|_, session| session.expires.is_none_or(|at| at > now));
        }
        if live.len() >= MAX_TOKENS {
            return Err(Error::Backend(format!("{MAX_TOKENS} tokens are in use: revoke some, or wait until they end")));
        }
        live.insert(hash, session.clone());
        Ok((token, session))
    }

    pub(super) fn find(&self, token: &str, now: Timestamp) -> Option<Session> {
        let hash = self.hash(token).ok()?;
        if self.root.is_some_and(|root| bool::from(root.ct_eq(&hash))) {
            let (identity, accessor) = (Identity::Root, "root".into());
            return Some(Session { identity, accessor, created: now, expires: None, ends: None });
        }
        let mut live = self.lock();
        let session = live.get(&hash)?.clone();
        if session.expires.is_some_and(|at| at <= now) {
            live.remove(&hash);
            return None;
        }
        Some(session)
    }

    /// Lets a token last another TTL from now, as far as its proof reaches.
    pub(super) fn renew(&self, token: &str, now: Timestamp) -> Option<Session> {
        let found = self.find(token, now)?;
        let hash = self.hash(token).ok()?;
        let mut live = self.lock();
        let Some(session) = live.get_mut(&hash) else { return Some(found) };
        session.expires = Some(until(now, session.ends));
        Some(session.clone())
    }

    /// Ends a token. The root token is config, and stays.
    pub(super) fn revoke(&self, token: &str) {
        if let Ok(hash) = self.hash(token) {
            self.lock().remove(&hash);
        }
    }

    fn hash(&self, token: &str) -> Result<Hash, Error> {
        let mac = Hmac::<Sha256>::new_from_slice(&*self.key);
        let mut mac = mac.map_err(|_| Error::Bug("HMAC refused its key".into()))?;
        mac.update(token.as_bytes());
        Ok(mac.finalize().into_bytes().into())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Session>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn until(now: Timestamp, ends: Option<Timestamp>) -> Timestamp {
    let full = now.checked_add(TTL).unwrap_or(Timestamp::MAX);
    ends.map_or(full, |ends| ends.min(full))
}
