//! Somebody else wrote our route: nothing moves until a person says whether it is taken back.

use super::{back, keep_whole};
use crate::deployer::Colour;
use crate::plan::observed::Kept;
use crate::plan::view::View;
use crate::plan::{Action, Next};
use crate::revision::secret::Marks;

/// None: the route is ours, and nobody asked for more.
///
/// What was asked for holds for the edit of that one manager, and for one write: a later edit pauses again.
pub(super) fn next(view: &View<'_>) -> Option<Next> {
    let edited_by = view.observed.route.state.edited_by.as_ref();
    let asked = view.observed.revisions.iter().find_map(|kept| Some((kept, kept.marks.take_back.as_ref()?)));
    match (asked, edited_by) {
        (None, None) => None,
        (None, Some(who)) => Some(Next::Paused(paused(&view.observed.app.name, who))),
        (Some((kept, whose)), Some(who)) if whose == who => Some(take_back(view, kept, who)),
        (Some((kept, whose)), _) => {
            let why = format!("the edit by {whose} is over");
            Some(Next::Act(vec![forget(kept, &why)], why))
        }
    }
}

fn paused(app: &str, who: &str) -> String {
    format!("the route was edited by {who}: `homelab app resume {app}` takes it back, with all traffic to what serves")
}

/// All traffic to the active colour, whatever the edit said; a rollout then goes through its steps again.
fn take_back(view: &View<'_>, kept: &Kept, who: &str) -> Next {
    let why = format!("the route is taken back from {who}");
    let Some((slot, revision)) = &view.active else { return Next::Act(vec![forget(kept, &why)], why) };
    if let Some(next) = keep_whole(view, *slot, revision) {
        return next;
    }
    match back(view, slot.colour().unwrap_or(Colour::Blue), revision, &why) {
        Next::Act(mut actions, why) => {
            for action in &mut actions {
                if let Action::Shift { force, .. } = action {
                    *force = true;
                }
            }
            actions.push(forget(kept, &why));
            Next::Act(actions, why)
        }
        next => next,
    }
}

fn forget(kept: &Kept, why: &str) -> Action {
    let marks = Marks { take_back: None, ..kept.marks.clone() };
    Action::Mark { revision: kept.id.clone(), marks, why: why.to_owned() }
}
