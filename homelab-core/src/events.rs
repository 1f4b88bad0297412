//! Kubernetes Events: they tell, and never fail, slow down or repeat themselves to their caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
pub use kube::runtime::events::EventType;
use tokio::time::Instant;

mod execute;

/// How long the same event about the same object is not sent again.
const QUIET: Duration = Duration::from_secs(600);
/// Longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// What makes two events the same: object, type, reason, action, note.
type Key = (String, bool, String, String, String);

/// Sends Events in the name of one controller.
#[derive(Clone)]
pub struct Events {
    client: Client,
    controller: String,
    instance: String,
    sent: Arc<Mutex<HashMap<Key, Instant>>>,
}

impl Events {
    /// Events of `controller` (as in `homelab-gitops`), sent by the process `instance`.
    pub fn new(client: Client, controller: impl Into<String>, instance: impl Into<String>) -> Self {
        Self { client, controller: controller.into(), instance: instance.into(), sent: Arc::default() }
    }

    /// Says `note` about `object`; the same is not said again for ten minutes. A failure to send it is only logged.
    pub async fn emit(&self, object: &ObjectReference, type_: EventType, reason: &str, action: &str, note: &str) {
        let note = cut(note, LONGEST_NOTE);
        if self.is_new(key(object, type_, reason, action, note), Instant::now())
            && let Err(error) = self.send(object, type_, reason, action, note).await
        {
            tracing::warn!(reason, error = crate::client::explain(&error), "event not sent");
        }
    }

    fn is_new(&self, key: Key, now: Instant) -> bool {
        let mut sent = self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sent.retain(|_, at| now.duration_since(*at) < QUIET);
        sent.insert(key, now).is_none()
    }
}

fn key(object: &ObjectReference, type_: EventType, reason: &str, action: &str, note: &str) -> Key {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let name = [&object.kind, &object.namespace, &object.name, &object.uid].map(part).join("/");
    (name, type_ == EventType::Warning, reason.into(), action.into(), note.into())
}

/// The start of `text`, of at most `most` bytes, with whole characters.
fn cut(text: &str, most: usize) -> &str {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= most).last();
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests;
