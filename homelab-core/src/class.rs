//! What a failure asks of its caller, and how long to wait before the next try.

use std::time::Duration;

/// What a failure asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Passing trouble (network, throttling, a dependency that is away): try again later.
    Retry,
    /// Somebody else wrote or owns it: observe again, then decide.
    Conflict,
    /// The named thing does not exist.
    NotFound,
    /// The input is wrong; trying again without a change is useless.
    Invalid,
    /// The account may not do this.
    Denied,
    /// A broken assumption of ours.
    Bug,
}

impl Class {
    /// Whether trying again without anybody's change can help.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Retry | Self::Conflict)
    }
}

/// Exponential back-off without jitter: `base · 2^attempt`, at most `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure.
    pub base: Duration,
    /// Longest wait.
    pub cap: Duration,
}

impl Backoff {
    /// The usual one for reconcilers: 1 s, doubled up to 5 min.
    pub const RECONCILE: Self = Self { base: Duration::from_secs(1), cap: Duration::from_secs(300) };

    /// How long to wait after `attempt` failures in a row (0 = the first).
    pub fn delay(self, attempt: u32) -> Duration {
        self.base.saturating_mul(2_u32.saturating_pow(attempt.min(31))).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_and_stops_at_its_cap() {
        let delays: Vec<_> = [0, 1, 2, 8, 9, 500].map(|n| Backoff::RECONCILE.delay(n).as_secs()).into();
        assert_eq!(delays, [1, 2, 4, 256, 300, 300]);
    }
}
