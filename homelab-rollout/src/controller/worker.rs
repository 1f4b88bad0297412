//! The task of one App: look, decide, write, look again; then sleep until something happens.
#![expect(clippy::disallowed_methods, reason = "the clock enters here")]

use std::sync::Arc;
use std::time::Duration;

use homelab_core::class::{Backoff, Class};
use homelab_core::events::EventType;
use homelab_core::meta::manager;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tracing::Instrument as _;

use super::handle::Handle;
use super::observe::{self, Memory, Seen, api_error};
use super::{Context, Key};
use crate::api::v1alpha1::{App, AppStatus};
use crate::error::Error;
use crate::execute::{Executor, Failpoint};
use crate::plan::observed::{Trouble, TroubleKind};
use crate::plan::{Action, Plan, plan};
use crate::status;

/// Events of a rollout come in bursts.
const SETTLE: Duration = Duration::from_millis(200);
/// How often secrets are looked at when the store can not tell of changes.
const DEAF: Duration = Duration::from_secs(30);

pub(super) struct Worker {
    context: Context,
    key: Key,
    wake: Arc<Notify>,
    permits: Arc<Semaphore>,
    failpoint: Failpoint,
    memory: Memory,
    /// Observations that failed in a row.
    failures: u32,
    failed: Option<Failed>,
    watching: Vec<(String, u64)>,
    /// Told of a newer version than these, though nothing newer can be had: not listened to again.
    told: Vec<(String, u64)>,
}

/// What failed last.
struct Failed {
    action: Action,
    attempts: u32,
    /// When it is tried again.
    at: Timestamp,
}

/// What a round came to.
enum Round {
    /// Look again at once: something was written.
    Again,
    /// Look again after this.
    After(Duration),
    /// There is no such App.
    Gone,
}

impl Worker {
    pub(super) fn new(
        context: Context,
        key: Key,
        wake: Arc<Notify>,
        permits: Arc<Semaphore>,
        failpoint: Failpoint,
    ) -> Self {
        Self {
            context,
            key,
            wake,
            permits,
            failpoint,
            memory: Memory::default(),
            failures: 0,
            failed: None,
            watching: Vec::new(),
            told: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let permit = self.permits.clone().acquire_owned().await;
            // Named as kube's controllers name theirs, so that one metric counts all.
            let name = format!("App.v1alpha1.homelab.dev/{}.{}", self.key.1, self.key.0);
            let round = self.round().instrument(tracing::info_span!("reconciling object", "object.ref" = %name)).await;
            drop(permit);
            match round {
                Ok(Round::Gone) => return,
                Ok(Round::Again) => {}
                Ok(Round::After(after)) => self.sleep(after).await,
                Err(error) => {
                    let after = Backoff::RECONCILE.delay(self.failures.min(6));
                    self.failures = self.failures.saturating_add(1);
                    tracing::warn!(namespace = self.key.0, app = self.key.1, %error, "App can not be looked at; trying again in {} s", after.as_secs());
                    self.sleep(after).await;
                }
            }
        }
    }

    /// Until `after` is over, the cluster changes, or a secret does.
    async fn sleep(&mut self, after: Duration) {
        let deaf = self.watching.is_empty() || self.told == self.watching;
        let secrets = async {
            if deaf || self.context.secrets.changed(&self.watching).await.is_err() {
                // A newest version that was deleted never stops being newer.
                tokio::time::sleep(DEAF).await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(after) => {}
            () = secrets => self.told.clone_from(&self.watching),
            () = self.wake.notified() => tokio::time::sleep(SETTLE).await,
        }
    }

    async fn round(&mut self) -> Result<Round, Error> {
        let (namespace, name) = &self.key;
        let api: Api<App> = Api::namespaced(self.context.clients.own(), namespace);
        let found = api.get_opt(name).await.map_err(|error| api_error(format!("read App {name}"), &error))?;
        let Some(app) = found else { return Ok(Round::Gone) };
        let handle = match Handle::new(app.clone()) {
            Ok(handle) => handle,
            Err(error) => return self.invalid(&api, &app, &error).await,
        };
        let seen = match observe::observe(&self.context, &handle, &mut self.memory).await {
            Ok(seen) => seen,
            Err(error) => {
                self.tell(&handle.app, EventType::Warning, "ObserveFailed", "Observe", &error.to_string()).await;
                return Err(error);
            }
        };
        self.failures = 0;
        let now = Timestamp::now();
        let wanted = seen.observed.wanted.id().map(ToOwned::to_owned);
        self.memory.trouble.take_if(|trouble| trouble.kind == TroubleKind::Invalid && trouble.revision != wanted);
        let planned = plan(&handle.spec, &seen.observed, now);
        self.context.cases.set(&self.key, json!({"spec": handle.app.spec, "observed": seen.observed, "now": now}));
        self.watching.clone_from(&seen.watching);
        self.say(&api, &handle, &seen, &planned, now).await?;
        self.pin(&handle, &seen).await?;
        self.act(&handle, seen, planned, now).await
    }

    async fn invalid(&self, api: &Api<App>, app: &App, error: &Error) -> Result<Round, Error> {
        let generation = app.metadata.generation.unwrap_or_default();
        let new = status::invalid(&error.to_string(), generation, app.status.as_ref(), Timestamp::now());
        self.write_status(api, app, &new).await?;
        self.tell(app, EventType::Warning, "InvalidSpec", "Parse", &error.to_string()).await;
        Ok(Round::After(Duration::from_secs(600)))
    }

    /// Pins are derived from the kept revisions: a crash between Secret and pin is made good here.
    async fn pin(&mut self, handle: &Handle, seen: &Seen) -> Result<(), Error> {
        if self.memory.pinned || seen.observed.app.deleting {
            return Ok(());
        }
        for record in self.memory.records.values() {
            crate::execute::pin(&self.context, handle, record).await?;
        }
        self.memory.pinned = true;
        Ok(())
    }

    /// Writes the actions in order, then has the world looked at again.
    async fn act(&mut self, handle: &Handle, seen: Seen, planned: Plan, now: Timestamp) -> Result<Round, Error> {
        if planned.actions.is_empty() {
            // What is invalid stays so until something else is wanted.
            self.memory.trouble.take_if(|trouble| trouble.kind != TroubleKind::Invalid);
            self.failed = None;
            return Ok(Round::After(planned.requeue));
        }
        let first = planned.actions.first();
        if let Some(failed) = self.failed.as_ref().filter(|failed| failed.at > now && first == Some(&failed.action)) {
            return Ok(Round::After(Duration::try_from(failed.at.duration_since(now)).unwrap_or_default()));
        }
        let executor = Executor {
            context: &self.context,
            handle,
            candidate: seen.candidate.as_ref(),
            newest: &seen.newest,
            failpoint: &self.failpoint,
        };
        for action in &planned.actions {
            match executor.execute(action).await {
                Ok(answer) => {
                    self.memory.trouble = None;
                    self.failed = None;
                    if let Some(answer) = answer {
                        self.memory.gates.retain(|old| old.gate != answer.gate);
                        self.memory.gates.push(answer);
                    }
                    self.tell_done(handle, action).await;
                }
                Err(error) => return Ok(Round::After(self.fail(handle, action, &error, now).await)),
            }
        }
        Ok(Round::Again)
    }

    /// Remembers what failed; says when to look again.
    async fn fail(&mut self, handle: &Handle, action: &Action, error: &Error, now: Timestamp) -> Duration {
        let again = self.failed.take().filter(|failed| failed.action == *action);
        let attempts = again.map_or(0, |failed| failed.attempts + 1);
        if attempts == 0 && error.class() == Class::Conflict {
            // Planned from what is not so any more: observe again, then decide.
            self.failed = Some(Failed { action: action.clone(), attempts, at: now });
            return SETTLE;
        }
        let wait = Backoff::RECONCILE.delay(attempts.min(6));
        let at = jiff::SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok());
        self.failed = Some(Failed { action: action.clone(), attempts, at: at.unwrap_or(now) });
        let (slot, revision) = match action {
            Action::Deploy { slot, revision, .. } => (Some(*slot), Some(revision.clone())),
            Action::Repair { slot, .. } | Action::Remove { slot, .. } => (Some(*slot), None),
            Action::Keep { revision } | Action::Forget { revision } => (None, Some(revision.clone())),
            _ => (None, None),
        };
        let message = error.to_string();
        tracing::warn!(namespace = self.key.0, app = self.key.1, error = message, "action failed");
        self.tell(&handle.app, EventType::Warning, "ActionFailed", verb(action), &message).await;
        self.memory.trouble = Some(Trouble { slot, revision, kind: TroubleKind::from(error.class()), message });
        SETTLE
    }

    async fn say(
        &self,
        api: &Api<App>,
        handle: &Handle,
        seen: &Seen,
        planned: &Plan,
        now: Timestamp,
    ) -> Result<(), Error> {
        let new = status::status(&planned.report, &seen.observed, handle.app.status.as_ref(), now);
        self.write_status(api, &handle.app, &new).await?;
        if let Some((reason, why)) = &planned.report.stalled {
            self.tell(&handle.app, EventType::Warning, reason, "Plan", why).await;
        }
        if let Some(waiting) = &planned.report.waiting {
            self.tell(&handle.app, EventType::Normal, "WaitingForApproval", "Plan", waiting).await;
        }
        if let Some(answer) = &planned.report.answer {
            let type_ = if answer.outcome == "accepted" { EventType::Normal } else { EventType::Warning };
            self.tell(
                &handle.app,
                type_,
                "Request",
                "Answer",
                &format!("{} {}: {}", answer.verb, answer.outcome, answer.message),
            )
            .await;
        }
        Ok(())
    }

    async fn write_status(&self, api: &Api<App>, app: &App, new: &AppStatus) -> Result<(), Error> {
        if !status::differs(app.status.as_ref(), new) {
            return Ok(());
        }
        let name = app.metadata.name.as_deref().unwrap_or_default();
        let patch = json!({
            "apiVersion": App::api_version(&()), "kind": App::kind(&()),
            "metadata": {"name": name, "uid": app.metadata.uid}, "status": new,
        });
        let written =
            api.patch_status(name, &PatchParams::apply(manager::ROLLOUT).force(), &Patch::Apply(&patch)).await;
        match written {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => Ok(()),
            Err(error) => Err(api_error(format!("write status of App {name}"), &error)),
        }
    }

    async fn tell_done(&self, handle: &Handle, action: &Action) {
        let (reason, note) = match action {
            Action::Mark { marks, why, .. } if marks.held.is_some() && marks.rolled_back.is_some() => {
                ("RolledBack", why)
            }
            Action::Mark { marks, why, .. } if marks.held.is_some() => {
                return self.tell(&handle.app, EventType::Warning, "RevisionFailed", "Mark", why).await;
            }
            Action::Mark { why, .. } => ("RevisionMarked", why),
            Action::Deploy { why, .. } => ("Deployed", why),
            Action::Repair { why, .. } => ("Repaired", why),
            Action::Remove { why, .. } => ("Removed", why),
            Action::Shift { why, .. } => ("TrafficShifted", why),
            Action::Keep { revision } => ("RevisionKept", revision),
            Action::ReleaseRoute
            | Action::AddFinalizer
            | Action::RemoveFinalizer
            | Action::Forget { .. }
            | Action::CheckGate { .. } => return,
        };
        tracing::info!(namespace = self.key.0, app = self.key.1, reason, "{note}");
        self.tell(&handle.app, EventType::Normal, reason, verb(action), note).await;
    }

    async fn tell(&self, app: &App, type_: EventType, reason: &str, action: &str, note: &str) {
        let reference: ObjectReference = app.object_ref(&());
        self.context.events.emit(&reference, type_, reason, action, note).await;
    }
}

fn verb(action: &Action) -> &'static str {
    match action {
        Action::AddFinalizer | Action::RemoveFinalizer => "Finalize",
        Action::Keep { .. } => "Keep",
        Action::Forget { .. } => "Forget",
        Action::Mark { .. } => "Mark",
        Action::Deploy { .. } => "Deploy",
        Action::Repair { .. } => "Repair",
        Action::Remove { .. } => "Remove",
        Action::Shift { .. } | Action::ReleaseRoute => "Shift",
        Action::CheckGate { .. } => "CheckGate",
    }
}
