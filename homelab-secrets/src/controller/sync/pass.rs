//! One pass: observe, plan, execute.

use homelab_core::events::EventType;
use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};

use super::{Shared, execute, generate, observe};
use crate::api::v1alpha1::{SecretSync, SecretSyncSpec};
use crate::sync::plan::{Action, Input, Owner, plan};
use crate::sync::report::Finding;
use crate::sync::{Problem, account, content, target};

/// Makes what is to be generated, lets the Secret hold what it should, and says what came of it and when something is due
/// again.
pub(super) async fn pass(shared: &Shared, sync: &SecretSync) -> (Finding, Option<Timestamp>) {
    let (again, ungenerated) = generate::generate(shared, sync, &account(sync)).await;
    let held = match has_target(&sync.spec) {
        true => attempt(shared, sync).await,
        false => Ok(Finding::Held { keys: 0, versions: Vec::new() }),
    };
    // What was not made is the cause of what is missing then.
    let finding = match (ungenerated, held) {
        (Some(problem), _) | (None, Err(problem)) => {
            tracing::debug!(reason = problem.reason, passing = problem.passing, "{}", problem.message);
            Finding::Failed(problem)
        }
        (None, Ok(held)) => held,
    };
    (finding, again)
}

/// Whether there is a Kubernetes Secret at all.
fn has_target(spec: &SecretSyncSpec) -> bool {
    !spec.data.is_empty() || !spec.data_from.is_empty() || spec.template.is_some()
}

/// When an object was made.
pub(super) fn created(sync: &SecretSync) -> Timestamp {
    sync.creation_timestamp().map_or(Timestamp::MAX, |time| time.0)
}

async fn attempt(shared: &Shared, sync: &SecretSync) -> Result<Finding, Problem> {
    let account = account(sync);
    let (namespace, own, name) = (account.namespace.as_str(), sync.name_any(), target(sync));
    let found = observe::found(shared, sync, &account).await?;
    let content = content::build(&sync.spec, &found)?;
    let client = shared.context.clients.of(&account);
    let client = client.map_err(|error| {
        Problem::passing(
            "ApiUnavailable",
            format!("no client for {account}: {}", homelab_core::client::explain(&error)),
        )
    })?;
    let live = observe::live(&client, sync, &account).await?;
    let (rivals, strays) = (observe::rivals(shared, sync), observe::strays(shared, sync).await);
    let uid = sync.metadata.uid.clone().unwrap_or_default();
    let input = Input {
        owner: Owner { namespace, name: &own, uid: &uid, created: created(sync) },
        name: &name,
        target: &sync.spec.target,
        deletion: sync.spec.deletion,
        content: &content,
        live: live.as_ref(),
        rivals: &rivals,
        strays: &strays,
    };
    let actions = plan(&input)?;
    let writer = execute::Writer { client: &client, account: &account, secrets: &*shared.context.secrets };
    for action in &actions {
        writer.execute(&input, action).await?;
        let note = match action {
            Action::Apply { .. } => format!("wrote Secret {name} from {}", content.versions.join(", ")),
            Action::Delete(stray) => format!("deleted Secret {}, which is no longer named", stray.name),
        };
        tracing::info!(secretsync = own, namespace, "{note}");
        shared.context.events.emit(&sync.object_ref(&()), EventType::Normal, "Synced", "Sync", &note).await;
    }
    Ok(Finding::Held { keys: content.data.len(), versions: content.versions.clone() })
}
