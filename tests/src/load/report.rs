//! What became of the requests.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::Answers;

/// Failures that are kept word by word; all are counted.
const KEPT: usize = 200;

/// What the application said, without what differs from pod to pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// Its version.
    pub version: String,
    /// Its colour, if it knows.
    pub colour: String,
    /// Its secret: `file=content`, comma separated.
    pub secret: String,
}

impl Answer {
    /// Reads an answer of `homelab-testapp`.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body).map_err(|e| format!("the answer is not JSON: {e}"))?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let secret = value.get("secret").and_then(Value::as_object).into_iter().flatten();
        let secret: Vec<_> =
            secret.map(|(name, content)| format!("{name}={}", content.as_str().unwrap_or_default())).collect();
        Ok(Self { version: text("version"), colour: text("colour"), secret: secret.join(",") })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} ({}, secret {})", self.version, self.colour, self.secret)
    }
}

/// When and how often an answer was seen, as time since the start of the load.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// How often.
    pub count: u64,
    /// The last time.
    pub last: Duration,
    /// Each time at which it was seen after not having been seen for half a second.
    pub starts: Vec<Duration>,
}

impl Sight {
    fn note(&mut self, at: Duration) {
        if self.count == 0 || at.saturating_sub(self.last) > Duration::from_millis(500) {
            self.starts.push(at);
        }
        self.count += 1;
        self.last = self.last.max(at);
    }

    /// The first time at or after `since`; that time itself if it was being seen then.
    pub fn first_since(&self, since: Duration) -> Option<Duration> {
        if self.count == 0 || self.last < since {
            return None;
        }
        Some(self.starts.iter().copied().find(|start| *start >= since).unwrap_or(since))
    }
}

/// One request without a good answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When, as time since the start of the load.
    pub at: Duration,
    /// Whether its worker keeps connections.
    pub kept: bool,
    /// Why.
    pub reason: String,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All requests.
    pub requests: u64,
    /// Those without a good answer.
    pub failed: u64,
    /// Those sent once more because an idle kept connection had closed.
    pub retried: u64,
    /// The first failures, word by word.
    pub failures: Vec<Failure>,
    /// The good ones, by what they said.
    pub answers: Answers,
}

impl Report {
    pub(super) fn note(&mut self, kept: bool, retried: bool, outcome: Result<Answer, String>, at: Duration) {
        self.requests += 1;
        self.retried += u64::from(retried);
        match outcome {
            Ok(answer) => self.answers.entry(answer).or_default().note(at),
            Err(reason) => {
                self.failed += 1;
                if self.failures.len() < KEPT {
                    self.failures.push(Failure { at, kept, reason });
                }
            }
        }
    }

    /// The answer seen last, for messages.
    pub fn latest(&self) -> String {
        let latest = self.answers.iter().max_by_key(|(_, sight)| sight.last);
        let failure = self.failures.last().map(|f| format!("; the last failure: {}", f.reason)).unwrap_or_default();
        latest
            .map_or_else(|| format!("no answer yet{failure}"), |(answer, _)| format!("{answer} answered last{failure}"))
    }

    /// How often each reason for a failure was met.
    pub fn reasons(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for failure in &self.failures {
            *reasons.entry(failure.reason.as_str()).or_default() += 1;
        }
        reasons
    }
}
