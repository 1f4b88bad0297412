//! What a GitSync's status says. Pure.

use homelab_core::condition::{self, READY, RECONCILING, STALLED, Status};
use jiff::Timestamp;

use crate::Error;
use crate::api::v1alpha1::{GitSyncStatus, InventorySummary};
use crate::source::{CommitId, GitRef};

/// How a GitSync is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that Git holds is there and healthy.
    Ready,
    /// It is getting there by itself.
    Progressing {
        /// Reason of the conditions.
        reason: &'static str,
        /// What is going on.
        message: String,
    },
    /// It is not getting there.
    Failed {
        /// Reason of the conditions.
        reason: &'static str,
        /// What is wrong, and what to do.
        message: String,
        /// Whether it may pass without anybody's change.
        passing: bool,
    },
    /// It was told to do nothing.
    Suspended,
}

impl Verdict {
    /// The verdict of a failure.
    pub fn failed(error: &Error) -> Self {
        Self::Failed { reason: error.reason(), message: error.to_string(), passing: error.class().is_passing() }
    }
}

/// All that goes into a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it is doing.
    pub verdict: Verdict,
    /// Commit that was tried.
    pub attempted: Option<CommitId>,
    /// What is applied completely.
    pub applied: Option<Applied>,
    /// Request for a poll that was answered.
    pub handled_sync: Option<String>,
    /// How much there is.
    pub inventory: Option<InventorySummary>,
    /// What is waited for.
    pub waits: Vec<String>,
}

/// A commit that is applied completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which.
    pub commit: CommitId,
    /// What named it.
    pub reference: GitRef,
}

/// Longest list of what is waited for.
const MOST_WAITS: usize = 10;
/// Longest message of a condition, in characters; the API server refuses those above 32 KiB.
const LONGEST: usize = 2000;

/// The next status. What is not known now (`None`) stays as it was.
pub fn status(old: &GitSyncStatus, report: &Report, generation: i64, now: Timestamp) -> GitSyncStatus {
    let mut new = old.clone();
    new.observed_generation = Some(generation);
    new.last_attempted_revision = report.attempted.as_ref().map(ToString::to_string).or(new.last_attempted_revision);
    if let Some(Applied { commit, reference }) = &report.applied {
        new.last_applied_revision = Some(commit.to_string());
        new.revision = Some(reference.at(commit));
    }
    new.last_handled_sync = report.handled_sync.clone().or(new.last_handled_sync);
    new.inventory = report.inventory.or(new.inventory);
    new.waiting_for = report.waits.iter().take(MOST_WAITS).map(|wait| cut(wait)).collect();
    let applied = new.last_applied_revision.clone();
    let mut set = |type_, status: Status, reason: &str, message: &str| {
        condition::set(&mut new.conditions, type_, status, reason, cut(message), generation, now);
    };
    match &report.verdict {
        Verdict::Ready => {
            set(READY, Status::True, "Applied", &ready(applied.as_deref(), report.inventory));
            condition::remove(&mut new.conditions, RECONCILING);
            condition::remove(&mut new.conditions, STALLED);
        }
        Verdict::Progressing { reason, message } => {
            set(READY, Status::Unknown, reason, message);
            set(RECONCILING, Status::True, reason, message);
            condition::remove(&mut new.conditions, STALLED);
        }
        Verdict::Failed { reason, message, passing } => {
            set(READY, Status::False, reason, message);
            let (moving, stuck) = if *passing { (RECONCILING, STALLED) } else { (STALLED, RECONCILING) };
            set(moving, Status::True, reason, message);
            condition::remove(&mut new.conditions, stuck);
        }
        Verdict::Suspended => {
            new.waiting_for = vec!["spec.suspend is true: nothing is polled, applied or repaired".into()];
            condition::remove(&mut new.conditions, RECONCILING);
        }
    }
    new
}

fn ready(applied: Option<&str>, inventory: Option<InventorySummary>) -> String {
    let revision = applied.and_then(|revision| revision.get(..12)).unwrap_or("the commit");
    let objects = inventory.map_or(0, |inventory| inventory.objects);
    format!("applied {revision}: {objects} objects, all healthy")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report {
        Report {
            verdict,
            attempted: CommitId::parse(&"a".repeat(40)),
            applied: None,
            handled_sync: None,
            inventory: None,
            waits: Vec::new(),
        }
    }

    fn conditions(status: &GitSyncStatus) -> Vec<String> {
        status.conditions.iter().map(|c| format!("{}={} {}", c.type_, c.status, c.reason)).collect()
    }

    #[test]
    fn conditions_follow_the_verdict_and_what_is_unknown_stays() {
        let now: Timestamp = "2026-11-01T10:00:00Z".parse().unwrap();
        let commit = CommitId::parse(&"a".repeat(40)).unwrap();
        let applied = Applied { commit, reference: GitRef::Branch("main".into()) };
        let ready = Report { applied: Some(applied), ..report(Verdict::Ready) };
        let one = status(&GitSyncStatus::default(), &ready, 1, now);
        assert_eq!(conditions(&one), ["Ready=True Applied"]);
        assert_eq!(one.last_applied_revision, Some("a".repeat(40)));
        assert_eq!(one.revision.as_deref(), Some("main@sha1:aaaaaaa"));
        let later = now + jiff::SignedDuration::from_secs(60);
        assert_eq!(status(&one, &ready, 1, later), one, "time alone changes nothing");
        let down = Verdict::Failed { reason: "GitUnreachable", message: "x".into(), passing: true };
        let two = status(&one, &report(down), 1, later);
        assert_eq!(conditions(&two), ["Ready=False GitUnreachable", "Reconciling=True GitUnreachable"]);
        assert_eq!((&two.last_applied_revision, &two.revision), (&one.last_applied_revision, &one.revision));
        let broken = Verdict::Failed { reason: "RenderFailed", message: "x".into(), passing: false };
        let three = status(&two, &report(broken), 2, later);
        assert_eq!(conditions(&three), ["Ready=False RenderFailed", "Stalled=True RenderFailed"]);
        assert_eq!(conditions(&status(&three, &ready, 2, later)), ["Ready=True Applied"]);
        assert_eq!(conditions(&status(&one, &report(Verdict::Suspended), 2, later)), ["Ready=True Applied"]);
    }
}
