//! What people ask for. Every effect is a mark on a revision Secret, in the same write as the request's id: a request
//! is answered once, also after a crash.

use super::Action;
use super::observed::{Kept, RequestFacts, Wanted};
use super::spec::Check;
use super::view::View;
use crate::api::v1alpha1::RequestStatus;
use crate::request::{Request, Verb};
use crate::revision::secret::Marks;

/// What came of a request.
pub(super) struct Answered {
    pub(super) answer: RequestStatus,
    pub(super) actions: Vec<Action>,
}

/// Changed marks by revision, and what was done.
type Effect = (Vec<(String, Marks)>, String);

/// The answer to the request on the App, unless it was answered before.
pub(super) fn answer(view: &View<'_>) -> Option<Answered> {
    let request = match view.observed.request.as_ref()? {
        RequestFacts::Asked(request) => request,
        RequestFacts::Malformed { text, error } => return malformed(view, text, error),
    };
    let known = |kept: &Kept| kept.marks.handled.as_deref() == Some(&request.id);
    let answered = view.observed.answered.as_ref().is_some_and(|answer| answer.id == request.id);
    if answered || view.observed.revisions.iter().any(known) {
        return None;
    }
    let (marks, outcome, message) = match effect(view, request) {
        Ok((marks, message)) => (marks, "accepted", message),
        Err(why) => (refused(view), "refused", why),
    };
    let count = marks.len();
    let actions = marks.into_iter().enumerate().map(|(index, (revision, mut marks))| {
        if index + 1 == count {
            marks.handled = Some(request.id.clone());
        }
        Action::Mark { revision, marks, why: message.clone() }
    });
    Some(Answered {
        actions: actions.collect(),
        answer: RequestStatus {
            id: request.id.clone(),
            verb: request.verb.to_string(),
            outcome: outcome.into(),
            message: message.clone(),
        },
    })
}

fn malformed(view: &View<'_>, text: &str, error: &str) -> Option<Answered> {
    let message = format!("homelab.dev/request {text:?}: {error}");
    let answer = RequestStatus { id: String::new(), verb: String::new(), outcome: "refused".into(), message };
    (view.observed.answered.as_ref() != Some(&answer)).then(|| Answered { answer, actions: Vec::new() })
}

/// A refusal is remembered on whatever revision there is.
fn refused(view: &View<'_>) -> Vec<(String, Marks)> {
    let newest = view.observed.revisions.iter().max_by_key(|kept| (kept.created, kept.id.as_str()));
    newest.map(|kept| (kept.id.clone(), kept.marks.clone())).into_iter().collect()
}

fn effect(view: &View<'_>, request: &Request) -> Result<Effect, String> {
    match request.verb {
        Verb::Promote | Verb::Approve => approve(view, request),
        Verb::Abort => abort(view, request),
        Verb::Rollback => rollback(view, request),
        Verb::Retry => retry(view, request),
        Verb::Resume if view.observed.route.state.edited_by.is_some() => take_back(view, request),
        Verb::Pause | Verb::Resume => pause(view, request),
    }
}

fn said(request: &Request, what: &str) -> String {
    let because = if request.reason.is_empty() { String::new() } else { format!(": {}", request.reason) };
    format!("{what} by {}{because}", request.by)
}

/// The revision that is on its way, if the request means that one.
fn rolling_out<'a>(view: &View<'a>, request: &Request) -> Result<&'a Kept, String> {
    let active = view.active.as_ref().map(|(_, revision)| revision.as_str());
    let target = view.target.revision.as_deref().filter(|target| Some(*target) != active);
    let target = target.and_then(|target| view.kept(target)).ok_or("no rollout is under way")?;
    match &request.revision {
        Some(named) if *named != target.id => {
            Err(format!("revision {named} is not the one that rolls out: that is {}", target.id))
        }
        _ => Ok(target),
    }
}

fn approve(view: &View<'_>, request: &Request) -> Result<Effect, String> {
    let target = rolling_out(view, request)?;
    let asked = view.spec.gates.iter().any(|gate| gate.check == Check::Approval);
    if request.verb == Verb::Approve && !asked {
        return Err("this App has no approval gate".into());
    }
    let mut marks = Marks { approved: Some(request.by.clone()), ..target.marks.clone() };
    if request.verb == Verb::Promote {
        marks.promoted = Some(request.by.clone());
        marks.paused = None;
    }
    let message = said(request, &format!("revision {} {}d", target.id, request.verb));
    Ok((vec![(target.id.clone(), marks)], message))
}

fn abort(view: &View<'_>, request: &Request) -> Result<Effect, String> {
    let target = rolling_out(view, request)?;
    let why = said(request, "aborted");
    let message = format!("revision {} {why}", target.id);
    if !view.target.rollback {
        let marks = Marks { failed: Some(why), held: Some(String::new()), ..target.marks.clone() };
        return Ok((vec![(target.id.clone(), marks)], message));
    }
    // A rollback is undone where it was written: on the revisions that point to its target.
    let active = view.active.as_ref().map(|(_, revision)| revision.as_str());
    let pointing = view.observed.revisions.iter().filter(|kept| kept.marks.held.as_deref() == Some(&target.id));
    let marks = pointing.map(|kept| {
        let serves = active == Some(kept.id.as_str());
        let held = (!serves).then(String::new);
        let failed = kept.marks.failed.clone().or_else(|| Some(why.clone())).filter(|_| !serves);
        (kept.id.clone(), Marks { held, failed, rolled_back: None, ..kept.marks.clone() })
    });
    Ok((marks.collect(), message))
}

fn rollback(view: &View<'_>, request: &Request) -> Result<Effect, String> {
    let (_, active) = view.active.as_ref().ok_or("nothing serves yet, so there is nothing to go back from")?;
    let to = match &request.revision {
        Some(named) => view
            .kept(named)
            .ok_or_else(|| format!("revision {named} is not kept; status.history lists those that are"))?,
        None if view.target.revision.as_deref().is_some_and(|target| target != active) => return abort(view, request),
        None => view.last_good(active).ok_or("no earlier revision is kept")?,
    };
    if let Some(gone) = &to.gone {
        return Err(format!("revision {} cannot return: {gone}; `homelab app history` lists those that can", to.id));
    }
    let target = view.target.revision.as_deref().unwrap_or(active);
    if to.id == target && view.target.rollback {
        // Written before a crash, all but the request's id.
        let serving = view.kept(active).unwrap_or(to);
        return Ok((
            vec![(serving.id.clone(), serving.marks.clone())],
            said(request, &format!("rolled back to revision {}", to.id)),
        ));
    }
    if to.id == target {
        return Err(format!("revision {} is already the target", to.id));
    }
    let message = said(request, &format!("rolled back to revision {}", to.id));
    // The way there is written on what serves and on what should have: the one that was asked for is free again.
    let free = Marks { held: None, failed: None, rolled_back: None, paused: None, ..to.marks.clone() };
    let left =
        |kept: &Kept| Marks { held: Some(to.id.clone()), rolled_back: Some(message.clone()), ..kept.marks.clone() };
    let mut marks = vec![(to.id.clone(), free)];
    for from in [active.as_str(), target] {
        if from != to.id
            && marks.iter().all(|(id, _)| id != from)
            && let Some(kept) = view.kept(from)
        {
            marks.push((kept.id.clone(), left(kept)));
        }
    }
    if let Wanted::Revision { id } = &view.observed.wanted
        && marks.iter().all(|(marked, _)| marked != id)
        && let Some(wanted) = view.kept(id)
    {
        marks.push((id.clone(), left(wanted)));
    }
    Ok((marks, message))
}

fn retry(view: &View<'_>, request: &Request) -> Result<Effect, String> {
    let wanted = view.observed.wanted.id().ok_or("what Git asks for is not known now")?;
    if let Some(named) = request.revision.as_deref().filter(|named| *named != wanted) {
        return Err(format!(
            "revision {named} is not what Git and the secrets ask for: that is {wanted}; use rollback to go there"
        ));
    }
    let kept = view
        .kept(wanted)
        .filter(|kept| kept.marks.held.is_some())
        .ok_or_else(|| format!("revision {wanted} has not failed"))?;
    let marks = Marks { activated_at: kept.marks.activated_at, retried_at: Some(view.now), ..Marks::default() };
    Ok((vec![(kept.id.clone(), marks)], said(request, &format!("revision {wanted} is tried again"))))
}

fn pause(view: &View<'_>, request: &Request) -> Result<Effect, String> {
    let target = rolling_out(view, request)?;
    let pausing = request.verb == Verb::Pause;
    if pausing == target.marks.paused.is_some() {
        return Err(format!(
            "the rollout of revision {} is {}paused",
            target.id,
            if pausing { "already " } else { "not " }
        ));
    }
    let paused = pausing.then(|| said(request, "paused"));
    let message = said(request, if pausing { "paused" } else { "resumed" });
    Ok((vec![(target.id.clone(), Marks { paused, ..target.marks.clone() })], message))
}

/// The edit of the route is undone, and a rollout that was paused besides goes on.
fn take_back(view: &View<'_>, request: &Request) -> Result<Effect, String> {
    let who = view.observed.route.state.edited_by.clone().unwrap_or_default();
    let instead = "delete the route, and it is made again";
    let (_, active) = view.active.as_ref().ok_or_else(|| format!("nothing serves yet: {instead}"))?;
    let serving =
        view.kept(active).ok_or_else(|| format!("revision {active}, which serves, is not kept: {instead}"))?;
    let message = said(request, &format!("the route is taken back from {who}"));
    let mut marks = vec![(serving.id.clone(), Marks { take_back: Some(who), ..serving.marks.clone() })];
    if let Ok(target) = rolling_out(view, request)
        && target.marks.paused.is_some()
    {
        marks.push((target.id.clone(), Marks { paused: None, ..target.marks.clone() }));
    }
    Ok((marks, message))
}
