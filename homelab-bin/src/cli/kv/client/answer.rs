//! Answers of a secret server, and what a refusal means.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::Value;

/// What a server answered that did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
struct Refusal {
    words: String,
    status: StatusCode,
}

/// Whether the server said that this account may not.
pub(in crate::cli) fn is_denied(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status == StatusCode::FORBIDDEN)
}

/// Whether the server certainly did not do what failed so. After a timeout, or an error of its own, it may have.
pub(in crate::cli) fn is_refused(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status.is_client_error())
}

/// What a server answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Answer {
    /// The body; else what was attempted, and what the server says about it.
    pub(super) fn good(self, action: &str, who: &str) -> Result<Value> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let words: Vec<_> = self.body["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let words = if words.is_empty() { format!("the server answered {}", self.status) } else { words.join("; ") };
        let words = match self.status {
            StatusCode::FORBIDDEN if words.contains("SecretPolicy") => format!("{action} as {who}: {words}"),
            StatusCode::FORBIDDEN => {
                format!("{action} as {who}: {words} (a SecretPolicy or ClusterSecretPolicy gives rights)")
            }
            _ => format!("{action}: {words}"),
        };
        Err(Refusal { words, status: self.status }.into())
    }
}
