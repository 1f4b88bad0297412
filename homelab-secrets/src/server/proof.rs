//! Sessions of pods end with their pods: what proved a pod is asked about again while its token is used.
//!
//! The token of a pod's ServiceAccount stays in memory beside the session, and the API server is asked about it again when
//! the last answer is older than a minute. It says no as soon as the pod or the account is gone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use homelab_core::class::Class;
use zeroize::Zeroizing;

use super::ServerState;
use super::answer::Refused;
use super::tokens::Used;

/// Seconds for which an answer counts.
const GOOD: i64 = 60;
/// Seconds for which it counts while the API server does not answer: it restarts now and then.
const PATIENCE: i64 = 600;

/// What a session was given for.
pub(super) struct Proof {
    credential: Zeroizing<String>,
    audience: String,
    /// When the API server last said yes, and when it was last asked; in seconds.
    good: AtomicI64,
    asked: AtomicI64,
}

impl Proof {
    pub(super) fn new(credential: Zeroizing<String>, audience: &str, now: i64) -> Arc<Self> {
        let (good, asked) = (AtomicI64::new(now), AtomicI64::new(now));
        Arc::new(Self { credential, audience: audience.into(), good, asked })
    }

    /// Whether it is time to ask again, and for this caller to do so: of many at a time only one asks.
    fn is_due(&self, now: i64) -> bool {
        let asked = self.asked.load(Ordering::Acquire);
        // A clock that was set back is no reason to believe for longer.
        let due = !(asked..asked.saturating_add(GOOD)).contains(&now);
        due && self.asked.compare_exchange(asked, now, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(…)")
    }
}

/// Sessions are compared by what they may.
impl PartialEq for Proof {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Proof {}

impl ServerState {
    /// Refuses a token whose pod is gone, and ends it.
    pub(super) async fn check_proof(&self, used: &Used) -> Result<(), Refused> {
        let (Some(proof), Some(authenticator)) = (&used.session.proof, &self.0.kubernetes) else { return Ok(()) };
        let now = self.0.host.now().as_second();
        if !proof.is_due(now) {
            return Ok(());
        }
        let who = &used.session.identity;
        let error = match authenticator.authenticate(&proof.credential, &proof.audience).await {
            Ok(login) if login.identity == *who => {
                proof.good.store(now, Ordering::Release);
                return Ok(());
            }
            Ok(_) => None,
            Err(error) if error.class() == Class::Retry => {
                if now.saturating_sub(proof.good.load(Ordering::Acquire)) <= PATIENCE {
                    tracing::warn!(%who, %error, "whether a pod is still there is not known; its token works on for a while");
                    return Ok(());
                }
                return Err(Refused::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, error.to_string()));
            }
            Err(error) => Some(error),
        };
        if let Some(hash) = used.hash {
            let gone = self.0.tokens.revoke(&hash);
            self.forget_ended(gone).await?;
        }
        tracing::info!(%who, ?error, "a token ended with the pod that it was given to");
        Err(Refused::denied(Some("the pod or account that this token was given to is gone: log in again".into())))
    }
}
