//! What is remembered of a GitSync between two steps. Losing it costs requests, nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homelab_core::class::Backoff;
use homelab_core::meta::ObjectRef;
use jiff::Timestamp;

use super::drift::Subscriptions;
use crate::Error;
use crate::desired::DesiredSet;
use crate::execute::Checked;
use crate::plan::Applied;
use crate::render::Rendered;
use crate::sealed::SealedText;
use crate::source::{CommitId, GitRef, RepoPath, TreeId};
use crate::spec::Settings;

/// A commit as it was read.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) commit: CommitId,
    /// What named it.
    pub(super) reference: GitRef,
    pub(super) rendered: Rendered,
    pub(super) sealed: Arc<[SealedText]>,
    pub(super) trees: BTreeMap<RepoPath, TreeId>,
}

/// A commit whose dry-run passed.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) loaded: Loaded,
    pub(super) set: Arc<DesiredSet>,
    /// Since when it should be healthy.
    pub(super) since: Timestamp,
    /// All of it was applied.
    pub(super) complete: bool,
}

/// Sealed files as they were last handed to whoever shows them.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) commit: CommitId,
    /// Why they are not shown, and when to try again.
    pub(super) failed: Option<(Error, Timestamp)>,
}

/// What is remembered of a GitSync.
#[derive(Default)]
pub(super) struct Memory {
    /// Settings of the last step.
    pub(super) settings: Option<Settings>,
    /// When Git was asked last.
    pub(super) polled: Option<Timestamp>,
    /// Failed polls in a row.
    pub(super) poll_failures: u32,
    /// What Git said then.
    pub(super) head: Option<CommitId>,
    /// Why Git could not be asked, or its commit not be read.
    pub(super) source_error: Option<Error>,
    /// Request for a poll that was answered.
    pub(super) handled_sync: Option<String>,
    /// Newest commit, as long as it is not in force.
    pub(super) candidate: Option<Loaded>,
    /// Why not.
    pub(super) candidate_error: Option<Error>,
    /// When to try again.
    pub(super) candidate_retry: Option<Timestamp>,
    /// Newest commit whose dry-run passed.
    pub(super) in_force: Option<InForce>,
    /// Which commit's sealed files are shown.
    pub(super) shown: Option<Shown>,
    /// What we applied.
    pub(super) applied: BTreeMap<ObjectRef, Applied>,
    /// Digests whose dry-run passed.
    pub(super) checked: BTreeMap<ObjectRef, String>,
    /// How the objects are doing.
    pub(super) health: Checked,
    /// Failed writes in a row, and when to go on.
    pub(super) write_failures: u32,
    pub(super) write_retry: Option<Timestamp>,
    /// Something is on its way: look again at this time at the latest.
    pub(super) look_again: Option<Timestamp>,
    /// What wakes us.
    pub(super) subscriptions: Subscriptions,
}

impl Memory {
    /// Takes new settings; another source makes everything that was read worthless.
    pub(super) fn settle(&mut self, settings: &Settings) {
        if self.settings.as_ref().is_none_or(|old| !old.has_same_source(settings)) {
            self.polled = None;
            self.poll_failures = 0;
            self.head = None;
            self.source_error = None;
            self.candidate = None;
            self.candidate_error = None;
            self.checked.clear();
            self.shown = None;
        }
        self.settings = Some(settings.clone());
    }

    /// Whether Git should be asked now.
    pub(super) fn is_poll_due(&self, settings: &Settings, request: Option<&str>, now: Timestamp) -> bool {
        request.is_some_and(|request| self.handled_sync.as_deref() != Some(request))
            || self.next_poll(settings).is_none_or(|at| at <= now)
    }

    fn next_poll(&self, settings: &Settings) -> Option<Timestamp> {
        let wait = match self.poll_failures {
            0 => settings.interval,
            n => Backoff { base: Duration::from_secs(2), ..Backoff::RECONCILE }.delay(n - 1).min(settings.interval),
        };
        self.polled.map(|at| after(at, wait))
    }

    /// Time until something has to be done unasked.
    pub(super) fn next_delay(&self, now: Timestamp) -> Duration {
        let poll = self.settings.as_ref().and_then(|settings| self.next_poll(settings));
        let show = self.shown.as_ref().and_then(|shown| Some(shown.failed.as_ref()?.1));
        let times = [poll, self.candidate_retry, show, self.write_retry, self.look_again];
        let next = times.into_iter().flatten().min();
        let wait = next.map_or(Duration::from_secs(60), |at| at.duration_since(now).unsigned_abs_if_positive());
        wait.clamp(Duration::from_millis(100), Duration::from_secs(3600))
    }
}

trait Positive {
    fn unsigned_abs_if_positive(self) -> Duration;
}

impl Positive for jiff::SignedDuration {
    fn unsigned_abs_if_positive(self) -> Duration {
        if self.is_positive() { self.unsigned_abs() } else { Duration::ZERO }
    }
}

/// `at` + `wait`.
pub(super) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}
