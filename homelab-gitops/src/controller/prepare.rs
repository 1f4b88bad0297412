//! Can a commit be applied? Its objects get their namespaces and stamps, and the API server is asked about all of them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homelab_core::class::Backoff;
use homelab_core::meta::ObjectRef;
use jiff::Timestamp;

use super::memory::{InForce, Loaded, Memory, after};
use crate::Error;
use crate::desired::{DesiredSet, Item};
use crate::execute::{Cluster, Observed, Served};
use crate::inventory::Extent;
use crate::order;
use crate::render::{self, Scope, Stamps};
use crate::spec::Settings;

/// Time until a dry-run is tried again that only had bad luck.
const PASSING: Duration = Duration::from_secs(5);

/// Puts the candidate in force if the API server takes it.
pub(super) async fn prepare(
    cluster: &Cluster,
    settings: &Settings,
    extent: &Extent,
    memory: &mut Memory,
    now: Timestamp,
) {
    let Some(candidate) = memory.candidate.clone() else { return };
    if memory.candidate_retry.is_some_and(|at| at > now) {
        return;
    }
    match examine(cluster, settings, extent, memory, &candidate).await {
        Ok(set) => {
            memory.candidate = None;
            memory.candidate_error = None;
            memory.candidate_retry = None;
            memory.write_retry = None;
            memory.write_failures = 0;
            memory.in_force = Some(InForce { loaded: candidate, set: set.into(), since: now, complete: false });
        }
        Err(error) => {
            // What somebody has to grant or make may come at any time.
            let wait = if error.class().is_passing() { PASSING } else { settings.interval.min(Backoff::RECONCILE.cap) };
            memory.candidate_retry = Some(after(now, wait));
            memory.candidate_error = Some(error);
        }
    }
}

async fn examine(
    cluster: &Cluster,
    settings: &Settings,
    extent: &Extent,
    memory: &mut Memory,
    candidate: &Loaded,
) -> Result<DesiredSet, Error> {
    let set = build(cluster, settings, candidate).await?;
    let extent = extent.union(&Extent::of(set.items.iter().map(Item::reference), &settings.owner));
    let served = cluster.served(Some(&set), &extent).await?;
    let observed = cluster.observe(Some(&set), &extent, &served).await?;
    let items: Vec<&Item> = set.items.iter().collect();
    check(cluster, &items, &set, &observed, &served, memory).await?;
    Ok(set)
}

/// Dry-runs those of `items` that were not checked yet and can be now; an object whose kind or Namespace comes with the same
/// commit waits until that is there.
pub(super) async fn check(
    cluster: &Cluster,
    items: &[&Item],
    set: &DesiredSet,
    observed: &Observed,
    served: &Served,
    memory: &mut Memory,
) -> Result<(), Error> {
    let coming: BTreeSet<&str> = set
        .items
        .iter()
        .filter(|item| order::is_namespace(item.reference()) && !observed.live.contains_key(item.reference()))
        .map(|item| item.reference().name.as_str())
        .collect();
    let is_possible = |item: &&Item| {
        let namespace = item.reference().namespace.as_deref();
        served.get(item.reference()).is_some() && !namespace.is_some_and(|namespace| coming.contains(namespace))
    };
    let is_unchecked = |item: &&Item| memory.checked.get(item.reference()) != Some(&item.wish.digest);
    // What another set holds is reported by the plan and never written.
    let is_ours = |item: &&Item| {
        observed
            .live
            .get(item.reference())
            .and_then(|live| live.part_of.as_deref())
            .is_none_or(|set| set == cluster.set())
    };
    let todo: Vec<&Item> = items.iter().copied().filter(is_possible).filter(is_unchecked).filter(is_ours).collect();
    let with_force: Vec<(&Item, bool)> =
        todo.iter().map(|item| (*item, is_member(cluster, observed, item.reference()))).collect();
    let errors = cluster.dry_run(&with_force, served).await;
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    memory.checked.extend(todo.into_iter().map(|item| (item.reference().clone(), item.wish.digest.clone())));
    Ok(())
}

fn is_member(cluster: &Cluster, observed: &Observed, reference: &ObjectRef) -> bool {
    observed.live.get(reference).and_then(|live| live.part_of.as_deref()) == Some(cluster.set())
}

/// The objects of a commit with namespaces and stamps.
pub(super) async fn build(cluster: &Cluster, settings: &Settings, loaded: &Loaded) -> Result<DesiredSet, Error> {
    let mut rendered = loaded.rendered.clone();
    let own = rendered.own_kinds();
    let mut scopes: BTreeMap<(String, String), Option<Scope>> = BTreeMap::new();
    for manifest in &rendered.manifests {
        let key = type_of(&manifest.object);
        if let Entry::Vacant(unknown) = scopes.entry(key) {
            let (api_version, kind) = unknown.key();
            let by_definition = own.get(&(manifest.reference.group.clone(), manifest.reference.kind.clone())).copied();
            let scope = cluster.scope(api_version, kind).await?.or(by_definition);
            unknown.insert(scope);
        }
    }
    let scope = |manifest: &render::Manifest| scopes.get(&type_of(&manifest.object)).copied().flatten();
    rendered.settle(&settings.owner.namespace, scope).map_err(Error::Render)?;
    let stamps = Stamps { owner: &settings.owner, account: &settings.account, trees: &loaded.trees };
    render::stamp(&mut rendered, &stamps).map_err(Error::Render)?;
    Ok(DesiredSet::new(loaded.commit.clone(), rendered))
}

fn type_of(object: &serde_json::Value) -> (String, String) {
    let text = |key: &str| object.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    (text("apiVersion"), text("kind"))
}
