//! Which revisions are kept.

use std::collections::BTreeSet;

use super::Action;
use super::view::View;

/// So many, besides those in use.
const KEEP: usize = 5;

/// Revisions that nobody needs: not among the newest, in no slot, not active, wanted or a way back.
pub(super) fn superfluous(view: &View<'_>) -> Vec<Action> {
    let observed = view.observed;
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    needed.extend(observed.wanted.id());
    needed.extend(view.target.revision.as_deref());
    if let Some((_, active)) = &view.active {
        needed.insert(active);
        needed.extend(view.last_good(active).map(|kept| kept.id.as_str()));
    }
    needed.extend(observed.slots.values().filter_map(|facts| facts.state.release.as_ref()?.revision.as_deref()));
    needed.extend(observed.revisions.iter().filter_map(|kept| kept.marks.held.as_deref()));
    let mut newest: Vec<_> = observed.revisions.iter().collect();
    newest.sort_by_key(|kept| std::cmp::Reverse((kept.marks.activated_at.max(Some(kept.created)), kept.id.as_str())));
    let gone = newest.into_iter().skip(KEEP).filter(|kept| !needed.contains(kept.id.as_str()));
    gone.map(|kept| Action::Forget { revision: kept.id.clone() }).collect()
}
