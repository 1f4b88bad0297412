//! Observe, plan, execute, until there is nothing to do or something to wait for.

use std::collections::BTreeMap;

use homelab_core::meta::ObjectRef;

use super::memory::Memory;
use super::parent::Parent;
use super::prepare;
use crate::Error;
use crate::desired::{DesiredSet, Item};
use crate::execute::{Cluster, Done, Observed, Served};
use crate::inventory::Extent;
use crate::plan::{Action, Goal, Input, Plan, plan};
use crate::source::Owner;

/// Rounds in one step: three stages, four tiers, and one to see that all is done.
const MOST_ROUNDS: usize = 10;

/// What a run came to.
#[derive(Default)]
pub(super) struct Converged {
    pub(super) plan: Plan,
    pub(super) observed: Observed,
    pub(super) served: Served,
    pub(super) extent: Extent,
    /// Objects that were other than they should be, or not there, and are now.
    pub(super) written: Vec<ObjectRef>,
    pub(super) deleted: Vec<ObjectRef>,
    pub(super) errors: Vec<Error>,
}

/// Makes the cluster hold `desired`; none: nothing, because the GitSync is being deleted.
pub(super) async fn converge(
    cluster: &Cluster,
    parent: &mut Parent<'_>,
    owner: &Owner,
    desired: Option<&DesiredSet>,
    prune: bool,
    memory: &mut Memory,
) -> Result<Converged, Error> {
    let mut result = Converged::default();
    let wanted = Extent::of(desired.into_iter().flat_map(|set| &set.items).map(Item::reference), owner);
    result.extent = parent.extent().union(&wanted);
    if desired.is_some() {
        parent.hold(&result.extent).await?;
    }
    let wishes = desired.map(DesiredSet::wishes);
    let items: BTreeMap<&ObjectRef, &Item> =
        desired.into_iter().flat_map(|set| &set.items).map(|item| (item.reference(), item)).collect();
    for _ in 0..MOST_ROUNDS {
        result.served = cluster.served(desired, &result.extent).await?;
        result.observed = cluster.observe(desired, &result.extent, &result.served).await?;
        result.plan = plan(&Input {
            goal: wishes.as_deref().map_or(Goal::Release, Goal::Hold),
            set: cluster.set(),
            prune,
            live: &result.observed.live,
            applied: &memory.applied,
            unserved: &result.served.unserved,
        });
        if result.plan.actions.is_empty() {
            break;
        }
        if let Some(set) = desired {
            let next: Vec<&Item> =
                applied(&result.plan).filter_map(|reference| items.get(reference).copied()).collect();
            if let Err(error) = prepare::check(cluster, &next, set, &result.observed, &result.served, memory).await {
                result.errors.push(error);
                break;
            }
        }
        let (done, failed) = cluster.execute(&result.plan.actions, &items, &result.observed, &result.served).await;
        remember(memory, &mut result, done);
        if !failed.is_empty() {
            result.errors = failed;
            break;
        }
    }
    if desired.is_some() && result.errors.is_empty() && result.plan.is_done() {
        let members = result
            .observed
            .live
            .iter()
            .filter(|(_, live)| live.part_of.as_deref() == Some(cluster.set()))
            .map(|(reference, _)| reference);
        parent.hold(&Extent::of(members, owner)).await?;
    }
    Ok(result)
}

fn applied(plan: &Plan) -> impl Iterator<Item = &ObjectRef> {
    plan.actions.iter().filter_map(|action| match action {
        Action::Apply { reference, .. } => Some(reference),
        Action::Delete { .. } => None,
    })
}

fn remember(memory: &mut Memory, result: &mut Converged, done: Vec<Done>) {
    for one in done {
        match one {
            Done::Applied { reference, applied, changed } => {
                memory.applied.insert(reference.clone(), applied);
                if changed {
                    result.written.push(reference);
                }
            }
            Done::Deleted(reference) => {
                memory.applied.remove(&reference);
                result.deleted.push(reference);
            }
        }
    }
}
