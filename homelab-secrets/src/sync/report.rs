//! What a SecretSync's status says. Pure.

use homelab_core::condition::{self, Status};
use jiff::Timestamp;

use super::Problem;
use crate::api::v1alpha1::SecretSyncStatus;

/// What became of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The Secret holds what it should.
    Held {
        /// How many keys.
        keys: usize,
        /// What it was made of.
        versions: Vec<String>,
    },
    /// It does not, and why.
    Failed(Problem),
    /// Nobody looked: `spec.suspend`.
    Suspended,
}

impl Finding {
    fn reason(&self) -> &'static str {
        match self {
            Self::Held { .. } => "Synced",
            Self::Failed(problem) => problem.reason,
            Self::Suspended => "Suspended",
        }
    }

    fn message(&self, secret: &str) -> String {
        match self {
            Self::Held { versions, .. } if versions.is_empty() => {
                "the secrets of spec.generate are in the store".into()
            }
            Self::Held { keys, versions } => {
                let unit = if *keys == 1 { "key" } else { "keys" };
                format!("Secret {secret} holds {keys} {unit} of {}", listed(versions))
            }
            Self::Failed(problem) => problem.message.clone(),
            Self::Suspended => format!("spec.suspend is set: Secret {secret} stays as it is"),
        }
    }
}

/// A few of many.
fn listed(versions: &[String]) -> String {
    const SHOWN: usize = 5;
    match versions.len() {
        n if n > SHOWN => format!("{} and {} more", versions[..SHOWN].join(", "), n - SHOWN),
        _ => versions.join(", "),
    }
}

/// The new status; none if nothing in it changes.
pub fn status(
    before: &SecretSyncStatus,
    generation: i64,
    secret: &str,
    finding: &Finding,
    now: Timestamp,
) -> Option<SecretSyncStatus> {
    let mut after = before.clone();
    let (reason, message) = (finding.reason(), finding.message(secret));
    let ready = match finding {
        Finding::Held { .. } => Status::True,
        Finding::Failed(_) => Status::False,
        Finding::Suspended if condition::is_true(&before.conditions, condition::READY) => Status::True,
        Finding::Suspended => Status::Unknown,
    };
    condition::set(&mut after.conditions, condition::READY, ready, reason, message.as_str(), generation, now);
    for (type_, on) in [
        (condition::RECONCILING, matches!(finding, Finding::Failed(problem) if problem.passing)),
        (condition::STALLED, matches!(finding, Finding::Failed(problem) if !problem.passing)),
    ] {
        if on {
            condition::set(&mut after.conditions, type_, true, reason, message.as_str(), generation, now);
        } else {
            condition::remove(&mut after.conditions, type_);
        }
    }
    if let Finding::Held { versions, .. } = finding {
        after.versions.clone_from(versions);
    }
    let only_generates = matches!(finding, Finding::Held { versions, .. } if versions.is_empty());
    after.secret = (!only_generates).then(|| secret.into());
    after.observed_generation = Some(generation);
    (after != *before).then_some(after)
}
