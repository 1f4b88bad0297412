//! Who leads: a Lease, judged by our own clock only, so that clocks that differ between nodes do no harm.
//!
//! A lease has run out when nobody touched it for its duration *since we first saw it so*; what time its holder wrote
//! into it does not matter. The holder gives up after ⅔ of the duration without a renewal, before anybody may take over.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

mod execute;

pub use execute::{Held, LeaseHolder};

/// A lease as it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What it says.
    pub spec: LeaseSpec,
    /// When, by our clock, it was first seen to say that.
    pub since: Timestamp,
}

impl Seen {
    /// What is known after looking again: `since` stays while the record does.
    #[must_use]
    pub fn update(before: Option<Self>, spec: LeaseSpec, now: Timestamp) -> Self {
        let same =
            before.filter(|b| b.spec.holder_identity == spec.holder_identity && b.spec.renew_time == spec.renew_time);
        // A clock that was set back must not stretch the wait.
        Self { since: same.map_or(now, |b| b.since.min(now)), spec }
    }
}

/// Whose lease it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody's: it may be taken.
    Free,
    /// Ours.
    Mine,
    /// Somebody else's.
    Held {
        /// Whose.
        by: String,
        /// When it runs out if it is not renewed.
        until: Timestamp,
    },
}

/// Whose lease `seen` is (none: there is no such object) for `me` at `now`.
pub fn evaluate(seen: Option<&Seen>, me: &str, now: Timestamp) -> Verdict {
    let Some(seen) = seen else { return Verdict::Free };
    let holder = seen.spec.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() {
        return Verdict::Free;
    }
    if holder == me {
        return Verdict::Mine;
    }
    let seconds = seen.spec.lease_duration_seconds.unwrap_or(0).max(0);
    let until = seen.since.saturating_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX);
    if now >= until { Verdict::Free } else { Verdict::Held { by: holder.into(), until } }
}

/// What to write to take or renew the lease that says `before`.
pub fn claim(before: &LeaseSpec, me: &str, duration: Duration, now: Timestamp) -> LeaseSpec {
    let mine = before.holder_identity.as_deref() == Some(me);
    let transitions = before.lease_transitions.unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(me.into()),
        lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: if mine { before.acquire_time.clone() } else { Some(MicroTime(now)) },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(if mine || before.holder_identity.is_none() { transitions } else { transitions + 1 }),
        ..LeaseSpec::default()
    }
}

/// What to write to give the lease that says `before` back at once.
pub fn release(before: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        renew_time: Some(MicroTime(now)),
        lease_duration_seconds: Some(1),
        ..before.clone()
    }
}

#[cfg(test)]
mod tests;
