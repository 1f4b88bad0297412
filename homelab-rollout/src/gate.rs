//! What has to say yes before the traffic moves.
//!
//! Readiness is core's health, approval is data on the App; what is left are gates that ask somebody.

use async_trait::async_trait;

pub mod http;

/// What a gate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; says why.
    Success(String),
    /// Go back; says why.
    Failure(String),
    /// Could not be asked: says nothing about the revision. Ask again later.
    Inconclusive(String),
}

impl Verdict {
    /// What it says, for people.
    pub fn detail(&self) -> &str {
        match self {
            Self::Success(detail) | Self::Failure(detail) | Self::Inconclusive(detail) => detail,
        }
    }
}

/// What is judged: a colour, by the Service of its chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateTarget {
    /// Namespace.
    pub namespace: String,
    /// Service of the colour.
    pub service: String,
    /// Its port.
    pub port: u16,
}

/// One gate of an App. Asking changes nothing, so it may be asked again after a crash.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Judges `target`. Bounded in time by the gate's own settings; dropping the future is fine.
    async fn ask(&self, target: &GateTarget) -> Verdict;
}
