//! Writes, as the account.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homelab_core::apply::{self, ApplyError, ApplyOptions, DeleteOptions};
use homelab_core::class::Class;
use homelab_core::client::classify;
use homelab_core::meta::{Account, ObjectRef, manager};
use kube::Client;

use super::observe::refused;
use super::secrets::AccountSecrets;
use super::wake::resource;
use crate::sync::plan::{Action, Input, Stray, manifest, may_take_back};
use crate::sync::{Content, Problem};

/// Writes for one SecretSync.
pub(super) struct Writer<'a> {
    /// Acts as the account.
    pub(super) client: &'a Client,
    pub(super) account: &'a Account,
    pub(super) secrets: &'a dyn AccountSecrets,
}

impl Writer<'_> {
    pub(super) async fn execute(&self, input: &Input<'_>, action: &Action) -> Result<(), Problem> {
        match action {
            Action::Apply { resource_version, take_back } => {
                self.apply(input, resource_version.clone(), *take_back).await
            }
            Action::Delete(stray) => self.delete(stray).await,
        }
    }

    async fn apply(&self, input: &Input<'_>, resource_version: Option<String>, take_back: bool) -> Result<(), Problem> {
        let object = format!("Secret {}/{}", self.account.namespace, input.name);
        let leaves = self.secrets.leave(self.account, &input.content.versions, &object).await;
        leaves.map_err(|error| Problem::of_store(&error))?;
        let (secret, resource) = (manifest(input), resource());
        let write = |force| {
            let options = ApplyOptions { dry_run: false, force, resource_version: resource_version.clone() };
            apply::apply(self.client, &resource, true, &secret, manager::SECRETS, options)
        };
        let result = match write(false).await {
            // What was edited by hand is taken back; what another program owns is not.
            Err(ApplyError::Conflict { fields, .. }) if take_back && is_edit(input, &fields) => write(true).await,
            result => result,
        };
        result.map(drop).map_err(|error| self.problem(&error, Some(input.content), input.name))
    }

    async fn delete(&self, stray: &Stray) -> Result<(), Problem> {
        let target = ObjectRef::namespaced("", "Secret", &self.account.namespace, &stray.name);
        let options = DeleteOptions {
            uid: Some(stray.uid.clone()),
            resource_version: Some(stray.resource_version.clone()),
            ..DeleteOptions::default()
        };
        let deleted = apply::delete(self.client, &resource(), true, &target, options).await;
        deleted.map(drop).map_err(|error| self.problem(&error, None, &stray.name))
    }

    fn problem(&self, error: &ApplyError, content: Option<&Content>, name: &str) -> Problem {
        let said = content.map_or_else(|| error.to_string(), |content| hushed(error.to_string(), content));
        match error {
            ApplyError::Conflict { .. } => Problem::stalled("Conflict", said),
            ApplyError::Stale { .. } => Problem::passing("Changed", said),
            ApplyError::Api { error, .. } => refused(classify(error), said, self.account, name),
            _ => refused(Class::Bug, said, self.account, name),
        }
    }
}

fn is_edit(input: &Input<'_>, fields: &[(String, String)]) -> bool {
    let managers: BTreeSet<&str> = fields.iter().map(|(manager, _)| manager.as_str()).collect();
    input.live.is_some_and(|live| may_take_back(&managers, &live.appliers))
}

/// Words of the API server, or of a webhook behind it, without what they quote of the Secret.
fn hushed(said: String, content: &Content) -> String {
    /// Shorter ones are no secret, and would be found in any text.
    const SHORT: usize = 6;
    let quotes = |value: &[u8]| {
        let text = std::str::from_utf8(value).unwrap_or_default().trim();
        (text.len() >= SHORT && said.contains(text)) || (value.len() >= SHORT && said.contains(&STANDARD.encode(value)))
    };
    if content.data.values().any(|value| quotes(value)) {
        let end = said.find(": ").unwrap_or_default();
        return format!(
            "{}: the API server refuses it, in words that quote a value and are not shown here",
            &said[..end]
        );
    }
    said
}
