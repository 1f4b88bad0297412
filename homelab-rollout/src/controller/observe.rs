//! What is: everything that the plan is made from, read anew each time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use homelab_core::client::{classify, explain};
use homelab_core::condition;
use homelab_core::graph;
use homelab_core::meta::{REVISION_SECRET_TYPE, annotation, finalizer, label};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};

use super::Context;
use super::handle::Handle;
use super::wanted::{Candidate, Charts};
use crate::api::v1alpha1::App;
use crate::deployer::Colour;
use crate::error::Error;
use crate::plan::backend::{self, Backend};
use crate::plan::observed::{
    AppFacts, DependencyFacts, GateFacts, Kept, Observed, RequestFacts, RouteFacts, SlotFacts, Trouble, Wanted,
};
use crate::plan::{Slot, Weights};
use crate::ports::{InjectedSecret, PortError, ResolvedSecret, TrafficConfirmation, TrafficState};
use crate::request::Request;
use crate::revision::RevisionRecord;
use crate::revision::secret::{self, Marks};

/// What a worker keeps between two rounds. Losing it costs work, never a decision.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) gates: Vec<GateFacts>,
    pub(super) trouble: Option<Trouble>,
    /// Records without their archives; immutable, so read once.
    pub(super) records: HashMap<String, RevisionRecord>,
    pub(super) charts: Charts,
    /// Preflight passed for these.
    pub(super) checked: BTreeSet<String>,
    /// Pins were written since this process started.
    pub(super) pinned: bool,
}

/// An observation, and what only its executor needs.
pub(super) struct Seen {
    pub(super) observed: Observed,
    /// The wanted revision, if it is not kept yet.
    pub(super) candidate: Option<RevisionRecord>,
    /// Versions that the secrets stand at.
    pub(super) watching: Vec<(String, u64)>,
    /// The newest of secrets that every colour follows.
    pub(super) newest: Vec<ResolvedSecret>,
}

pub(super) fn api_error(action: impl Into<String>, error: &kube::Error) -> Error {
    Error::Api { action: action.into(), message: explain(error), class: classify(error) }
}

pub(super) fn port_error(action: impl Into<String>, error: PortError) -> Error {
    Error::Api { action: action.into(), message: error.message, class: error.class }
}

/// Reads everything.
pub(super) async fn observe(context: &Context, handle: &Handle, memory: &mut Memory) -> Result<Seen, Error> {
    let deleting = handle.app.metadata.deletion_timestamp.is_some();
    let revisions = revisions(context, handle, memory).await?;
    let slots = slots(context, handle).await?;
    let route = route(context, handle, &slots).await?;
    let mut observed = Observed {
        app: AppFacts {
            name: handle.name.clone(),
            generation: handle.app.metadata.generation.unwrap_or_default(),
            finalizer: handle.app.finalizers().iter().any(|name| name == finalizer::APP),
            deleting,
            namespace_ending: deleting && namespace_ending(context, handle).await?,
        },
        wanted: Wanted::default(),
        newest: BTreeMap::new(),
        revisions,
        slots,
        route,
        gates: memory.gates.clone(),
        dependencies: Vec::new(),
        request: request(&handle.app),
        answered: handle.app.status.as_ref().and_then(|status| status.last_request.clone()),
        trouble: memory.trouble.clone(),
    };
    if deleting {
        return Ok(Seen { observed, candidate: None, watching: Vec::new(), newest: Vec::new() });
    }
    let candidate = match dependencies(context, handle).await? {
        Ok(dependencies) => {
            observed.dependencies = dependencies;
            super::wanted::find(context, handle, memory, &observed).await
        }
        Err(cycle) => Candidate::blocked("DependencyCycle", format!("spec.dependsOn goes in a circle: {cycle}"), false),
    };
    observed.wanted = candidate.wanted;
    let newest = super::wanted::newest(context, handle).await;
    observed.newest = newest.iter().map(|secret| (secret.path.clone(), secret.version)).collect();
    Ok(Seen { observed, candidate: candidate.record, watching: candidate.watching, newest })
}

fn request(app: &App) -> Option<RequestFacts> {
    let text = app.annotations().get(annotation::REQUEST).filter(|text| !text.trim().is_empty())?;
    Some(match Request::parse(text) {
        Ok(request) => RequestFacts::Asked(request),
        Err(error) => RequestFacts::Malformed { text: text.chars().take(200).collect(), error },
    })
}

async fn namespace_ending(context: &Context, handle: &Handle) -> Result<bool, Error> {
    let found = Api::<Namespace>::all(context.clients.own()).get_metadata_opt(&handle.namespace).await;
    let found = found.map_err(|error| api_error(format!("read Namespace {}", handle.namespace), &error))?;
    Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

async fn revisions(context: &Context, handle: &Handle, memory: &mut Memory) -> Result<Vec<Kept>, Error> {
    let api: Api<Secret> = Api::namespaced(context.clients.own(), &handle.namespace);
    let wish = ListParams::default()
        .labels(&format!("{}={}", label::APP, handle.name))
        .fields(&format!("type={REVISION_SECRET_TYPE}"));
    let listed = api.list_metadata(&wish).await.map_err(|error| api_error("list revision Secrets", &error))?;
    let mut kept = Vec::new();
    for secret in listed {
        let mine = secret.owner_references().iter().any(|owner| owner.uid == handle.uid);
        let Some(id) =
            secret.labels().get(label::REVISION).filter(|_| mine && secret.metadata.deletion_timestamp.is_none())
        else {
            continue;
        };
        if !memory.records.contains_key(id) {
            let name = secret.name_any();
            let full = api.get(&name).await.map_err(|error| api_error(format!("read Secret {name}"), &error))?;
            match secret::from_secret(&full) {
                Ok((record, _)) => {
                    drop(memory.records.insert(id.clone(), RevisionRecord { archive: Vec::new(), ..record }))
                }
                Err(error) => {
                    tracing::warn!(app = handle.name, namespace = handle.namespace, %error, "revision left out");
                    continue;
                }
            }
        }
        if let Some(record) = memory.records.get(id) {
            kept.push(kept_of(record, Marks::from_annotations(secret.annotations())));
        }
    }
    memory.records.retain(|id, _| kept.iter().any(|kept| kept.id == *id));
    mark_gone(context, handle, memory, &mut kept).await;
    kept.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(kept)
}

/// Says which revisions were made with what is gone. While the store can not be asked, none is known to be.
async fn mark_gone(context: &Context, handle: &Handle, memory: &Memory, kept: &mut [Kept]) {
    // What changes in place is not gone with a version.
    let pinned = |record: &'_ &InjectedSecret| !handle.spec.cut.contains(&record.path);
    let secrets = memory.records.values().flat_map(|record| &record.secrets).filter(pinned);
    let versions: BTreeSet<_> = secrets.map(|secret| (secret.path.clone(), secret.version)).collect();
    if versions.is_empty() {
        return;
    }
    let versions: Vec<_> = versions.into_iter().collect();
    let gone = match context.secrets.gone(&versions).await {
        Ok(gone) => gone,
        Err(error) => return tracing::debug!(%error, "the secrets of kept revisions can not be looked at"),
    };
    for kept in kept {
        let used = memory.records.get(&kept.id).into_iter().flat_map(|record| &record.secrets);
        let mut lost = used.filter(|secret| gone.contains(&(secret.path.clone(), secret.version)));
        kept.gone = lost.next().map(|secret| format!("secret {} v{} destroyed", secret.path, secret.version));
    }
}

fn kept_of(record: &RevisionRecord, marks: Marks) -> Kept {
    Kept {
        id: record.id.clone(),
        created: record.created,
        chart: record.chart.clone(),
        secrets: record.secrets.iter().map(|secret| format!("{}@{}", secret.path, secret.version)).collect(),
        source: record.source.clone(),
        reason: record.reason.clone(),
        marks,
        gone: None,
    }
}

async fn slots(context: &Context, handle: &Handle) -> Result<BTreeMap<Slot, SlotFacts>, Error> {
    let mut slots = BTreeMap::new();
    for slot in handle.slots() {
        let state = context.deployer.observe(&handle.slot(*slot)).await?;
        let endpoints = match backend::of(&handle.name, *slot, &state, handle.spec.route.as_ref()) {
            Ok(backend) => endpoints(context, handle, &backend).await?,
            Err(_) => 0,
        };
        slots.insert(*slot, SlotFacts { state, endpoints });
    }
    Ok(slots)
}

async fn endpoints(context: &Context, handle: &Handle, backend: &Backend) -> Result<u32, Error> {
    let api: Api<EndpointSlice> = Api::namespaced(context.clients.own(), &handle.namespace);
    let wish = ListParams::default().labels(&format!("kubernetes.io/service-name={}", backend.service));
    let slices = api
        .list(&wish)
        .await
        .map_err(|error| api_error(format!("list endpoints of Service {}", backend.service), &error))?;
    let mut ready = BTreeSet::new();
    for endpoint in slices.items.iter().flat_map(|slice| slice.endpoints.iter().flatten()) {
        let conditions = endpoint.conditions.as_ref();
        let usable = conditions.is_none_or(|c| c.ready.unwrap_or(true) && !c.terminating.unwrap_or(false));
        ready.extend(endpoint.addresses.iter().filter(|_| usable));
    }
    Ok(u32::try_from(ready.len()).unwrap_or(u32::MAX))
}

async fn route(context: &Context, handle: &Handle, slots: &BTreeMap<Slot, SlotFacts>) -> Result<RouteFacts, Error> {
    let known = slots
        .iter()
        .find_map(|(slot, facts)| backend::of(&handle.name, *slot, &facts.state, handle.spec.route.as_ref()).ok());
    let Some(route) = handle.route(known.as_ref()) else { return Ok(RouteFacts::default()) };
    let failed = |error| port_error(format!("route of App {}", handle.name), error);
    let capabilities = context.traffic.capabilities(&route).await.map_err(failed)?;
    let state = context.traffic.observe(&route).await.map_err(failed)?;
    let mut facts = RouteFacts { state, capabilities: Some(capabilities), confirmation: None };
    let weights = held(&facts.state);
    if let Some(waiting) = unusual(&weights).filter(|_| facts.state.exists) {
        facts.confirmation = Some(TrafficConfirmation::Pending(waiting));
    } else if let Some(active) = facts.state.active.clone().filter(|_| facts.state.exists)
        && let Ok(split) = backend::split(&handle.spec, &handle.name, slots, facts.capabilities, &weights, active)
    {
        facts.confirmation = Some(context.traffic.confirm(&route, &split).await.map_err(failed)?);
    }
    Ok(facts)
}

/// The weights that the route holds, and the active colour with 0 where it has none: a plain Service knows only the
/// colour that it selects, while an abort still returns to the other one.
fn held(state: &TrafficState) -> Weights {
    let mut weights: Weights =
        state.weights.iter().filter_map(|(name, weight)| Some((Colour::parse(name)?, *weight))).collect();
    let active = state.active.as_deref().and_then(|active| Colour::parse(active.split_once('@')?.0));
    if let Some(active) = active {
        weights.entry(active).or_insert(0);
    }
    weights
}

/// Weights that we never write: somebody's edit. There is no split like that to ask about.
fn unusual(weights: &Weights) -> Option<String> {
    let sum: u32 = weights.values().map(|weight| u32::from(*weight)).sum();
    (sum != 100).then(|| format!("weights that sum to 100, not {sum}"))
}

/// What the Apps that come first lack, or the circle that they go in.
async fn dependencies(context: &Context, handle: &Handle) -> Result<Result<Vec<DependencyFacts>, String>, Error> {
    if handle.spec.depends_on.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let api: Api<App> = Api::namespaced(context.clients.own(), &handle.namespace);
    let apps = api.list(&ListParams::default()).await.map_err(|error| api_error("list Apps", &error))?.items;
    let needs = |app: &App| app.spec.depends_on.iter().map(|dependency| dependency.name.clone()).collect();
    let edges = apps.iter().map(|app| (app.name_any(), needs(app))).collect();
    if let Err(cycle) = graph::order(&edges)
        && cycle.0.contains(&handle.name)
    {
        return Ok(Err(cycle.to_string()));
    }
    let facts = handle.spec.depends_on.iter().map(|name| DependencyFacts {
        name: name.clone(),
        waiting: waiting(apps.iter().find(|app| app.name_any() == *name)),
    });
    Ok(Ok(facts.collect()))
}

fn waiting(app: Option<&App>) -> Option<String> {
    let Some(app) = app else { return Some("it does not exist".into()) };
    let status = app.status.as_ref().filter(|status| status.observed_generation == app.meta().generation);
    let Some(status) = status else { return Some("its newest generation was not looked at yet".into()) };
    for (type_, wanted) in [
        (condition::READY, true),
        (condition::RECONCILING, false),
        (crate::status::FAILED, false),
        (crate::status::ROLLED_BACK, false),
        (crate::status::WAITING, false),
    ] {
        if condition::is_true(&status.conditions, type_) != wanted {
            let message = condition::get(&status.conditions, type_).map(|condition| condition.message.clone());
            return Some(message.filter(|message| !message.is_empty()).unwrap_or_else(|| format!("it is not {type_}")));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_middle_of_a_switch_a_plain_service_still_names_the_colour_to_return_to() {
        let weights = BTreeMap::from([("green".to_owned(), 100)]);
        let state = TrafficState { weights, active: Some("blue@12ad9d3364".into()), ..TrafficState::default() };
        assert_eq!(held(&state), Weights::from([(Colour::Blue, 0), (Colour::Green, 100)]));
        let settled = TrafficState { active: Some("green@1c8a35bfdd".into()), ..state };
        assert_eq!(held(&settled), Weights::from([(Colour::Green, 100)]));
    }

    #[test]
    fn weights_of_an_edited_route_are_not_asked_about() {
        let edited = TrafficState { active: Some("blue@12ad9d3364".into()), ..TrafficState::default() };
        assert_eq!(unusual(&held(&edited)).as_deref(), Some("weights that sum to 100, not 0"));
        assert_eq!(unusual(&Weights::from([(Colour::Blue, 0), (Colour::Green, 100)])), None);
    }
}
