//! Public keys of issuers, fetched and remembered for a while.
//!
//! A token that names an unknown key makes them be fetched again, at most once in [`PAUSE`] seconds; so an issuer can take
//! a new key, and nobody can make us ask it all the time. While it can not be reached, the keys of before are used.

use axum::http::StatusCode;
use tokio::sync::Mutex;

use crate::Error;
use crate::server::answer::Refused;
use crate::server::jwt::{self, Key};

/// Seconds for which fetched keys are used.
const FRESH: i64 = 3600;
/// Seconds between two fetches.
const PAUSE: i64 = 10;

/// Keys, and the issuer that they speak for, where it said so itself.
#[derive(Clone)]
pub(super) struct IssuerKeys {
    pub(super) issuer: Option<String>,
    pub(super) keys: Vec<Key>,
}

/// Keys that were fetched.
struct Fetched {
    /// What they belong to.
    source: String,
    /// When they came, and when they were last asked for; in seconds.
    at: i64,
    tried: i64,
    found: IssuerKeys,
}

/// The keys of one issuer.
#[derive(Default)]
pub(in crate::server) struct Remembered(Mutex<Option<Fetched>>);

impl Remembered {
    /// Takes keys that were fetched just now.
    pub(super) async fn set(&self, source: String, now: i64, found: IssuerKeys) {
        *self.0.lock().await = Some(Fetched { source, at: now, tried: now, found });
    }

    /// The keys to check `token` with; `fetch` is only awaited when those that are known do not do.
    pub(super) async fn of_token(
        &self,
        source: String,
        (token, now): (&str, i64),
        fetch: impl Future<Output = Result<IssuerKeys, Error>> + Send,
    ) -> Result<IssuerKeys, Refused> {
        // Held while fetching: of many logins at a time only one asks.
        let mut known = self.0.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.source == source && known.does(token, now)) {
            return Ok(known.found.clone());
        }
        match (fetch.await, known.as_mut().filter(|known| known.source == source)) {
            (Ok(found), _) => Ok(known.insert(Fetched { source, at: now, tried: now, found }).found.clone()),
            (Err(error), Some(old)) => {
                tracing::warn!(%error, "an issuer's public keys could not be fetched; those of before are used");
                old.tried = now;
                Ok(old.found.clone())
            }
            (Err(error), None) => Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
        }
    }
}

impl Fetched {
    /// Whether these are the keys to check `token` with. A clock that was set back is a reason to ask.
    fn does(&self, token: &str, now: i64) -> bool {
        let within = |since: i64, seconds: i64| (since..since.saturating_add(seconds)).contains(&now);
        let id = jwt::key_id(token);
        let has_key = || id.is_none() || self.found.keys.iter().any(|key| key.is(id.as_deref()));
        within(self.tried, PAUSE) || (within(self.at, FRESH) && has_key())
    }
}
