//! What does Git say?

use std::collections::BTreeMap;

use homelab_core::meta::annotation;
use jiff::Timestamp;

use super::memory::{Loaded, Memory};
use super::{Shared, credentials};
use crate::Error;
use crate::api::v1alpha1::GitSync;
use crate::render;
use crate::source::{CommitId, GitRef, Remote};
use crate::spec::Settings;

/// Asks Git if it is time, and reads a commit that is new.
pub(super) async fn poll(shared: &Shared, sync: &GitSync, settings: &Settings, memory: &mut Memory, now: Timestamp) {
    let request = sync.metadata.annotations.as_ref().and_then(|all| all.get(annotation::SYNC_REQUESTED_AT));
    if !memory.is_poll_due(settings, request.map(String::as_str), now) {
        return;
    }
    memory.polled = Some(now);
    let result = ask(shared, settings, memory).await;
    if request.is_some() {
        memory.handled_sync = request.cloned();
    }
    match result {
        Ok(()) => {
            memory.poll_failures = 0;
            memory.source_error = None;
        }
        Err(error) => {
            memory.poll_failures = memory.poll_failures.saturating_add(1);
            memory.source_error = Some(error);
            offline(shared, sync, settings, memory).await;
        }
    }
}

async fn ask(shared: &Shared, settings: &Settings, memory: &mut Memory) -> Result<(), Error> {
    let source = &shared.context.source;
    let credentials = credentials::credentials(&shared.context.clients, settings).await?;
    let remote = Remote { owner: settings.owner.clone(), url: settings.url.clone(), credentials };
    let head = source.resolve(&remote, &settings.reference).await?;
    // A commit that could not be read is the same when it is read again.
    let is_known = memory.head.as_ref() == Some(&head)
        && !matches!(
            memory.source_error,
            Some(Error::NotFetched { .. } | Error::Storage { .. } | Error::Source { .. })
        );
    if is_known {
        return match memory.source_error.take() {
            Some(error @ (Error::Render(_) | Error::Path { .. })) => Err(error),
            _ => Ok(()),
        };
    }
    let commit = match &settings.reference {
        GitRef::Commit(_) => source.fetch(&remote, &GitRef::Commit(head)).await?,
        reference => source.fetch(&remote, reference).await?,
    };
    memory.head = Some(commit.clone());
    memory.candidate = None;
    memory.candidate_error = None;
    memory.candidate_retry = None;
    if memory.in_force.as_ref().is_some_and(|in_force| in_force.loaded.commit == commit) && memory.is_checked() {
        return Ok(());
    }
    memory.candidate = Some(load(shared, settings, commit).await?);
    Ok(())
}

impl Memory {
    /// Whether what is in force was made with these settings: other ones clear `checked`.
    fn is_checked(&self) -> bool {
        !self.checked.is_empty()
    }
}

/// After a restart with Git away: what was applied last is still in the clone, and drift from it can be repaired.
async fn offline(shared: &Shared, sync: &GitSync, settings: &Settings, memory: &mut Memory) {
    if memory.in_force.is_some() || memory.candidate.is_some() {
        return;
    }
    let applied = sync.status.as_ref().and_then(|status| status.last_applied_revision.as_deref());
    if let Some(commit) = applied.and_then(CommitId::parse) {
        memory.candidate = load(shared, settings, commit).await.ok();
    }
}

async fn load(shared: &Shared, settings: &Settings, commit: CommitId) -> Result<Loaded, Error> {
    let source = &shared.context.source;
    let files = source.files(&settings.owner, &commit, &settings.path).await?;
    let mut rendered = render::render(&files).map_err(Error::Render)?;
    let charts = rendered.charts();
    let ids = source.trees(&settings.owner, &commit, &charts).await?;
    let trees: BTreeMap<_, _> = charts.into_iter().zip(ids).filter_map(|(folder, id)| Some((folder, id?))).collect();
    let sealed = std::mem::take(&mut rendered.sealed).into();
    Ok(Loaded { commit, reference: settings.reference.clone(), rendered, sealed, trees })
}
