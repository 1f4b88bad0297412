//! Whether a wish is in force, judged from what was read. Pure; content is compared, never "newer than my write".

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::gateway::{HttpRouteSpec, ParentStatus, RouteStatus, Rule};
use crate::router::Confirmation;
use crate::split::{Backend, Parent, Route, Split};

/// What was read of an apex Service and of the EndpointSlices behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApexSeen {
    /// Its selector; none if it does not exist.
    pub selector: Option<BTreeMap<String, String>>,
    /// Ready pods that its EndpointSlices name.
    pub apex_pods: BTreeSet<String>,
    /// Ready pods that the EndpointSlices of the wanted backend's Service name.
    pub backend_pods: BTreeSet<String>,
    /// When the selector last changed.
    pub shifted_at: Option<Timestamp>,
}

/// Judges a plain Service that shall send everything to `backend`. The best it can come to is `Unconfirmed`: nobody
/// can be asked whether kube-proxy on each node has it.
pub fn apex(route: &Route, backend: &Backend, seen: &ApexSeen, propagation: Duration, now: Timestamp) -> Confirmation {
    let pending = |waiting_for| Confirmation::Pending { waiting_for };
    if let Some(waiting_for) = apex_missing(route, backend, seen) {
        return pending(waiting_for);
    }
    let since = seen.shifted_at.map_or(SignedDuration::MAX, |at| now.duration_since(at));
    let propagation = SignedDuration::try_from(propagation).unwrap_or(SignedDuration::MAX);
    if since < propagation {
        return pending(format!("{}s for kube-proxy on the nodes to follow", propagation.as_secs_f64()));
    }
    Confirmation::Unconfirmed {
        why: format!(
            "EndpointSlices of Service {} hold exactly the {} ready pods of {}; kube-proxy can not be asked",
            route.name,
            seen.apex_pods.len(),
            backend.name
        ),
    }
}

/// What the API does not hold yet of "the apex Service sends everything to `backend`".
pub fn apex_missing(route: &Route, backend: &Backend, seen: &ApexSeen) -> Option<String> {
    let Some(selector) = &seen.selector else {
        return Some(format!("Service {} to exist", route.name));
    };
    if *selector != crate::plan::apex_selector(backend) {
        return Some(format!("the selector of Service {} to name {}", route.name, backend.name));
    }
    if seen.backend_pods.is_empty() {
        return Some(format!("a ready pod of {} behind Service {}", backend.name, backend.service));
    }
    if let Some(pod) = seen.apex_pods.difference(&seen.backend_pods).next() {
        return Some(format!("EndpointSlices of Service {} to let go of pod {pod}", route.name));
    }
    let pod = seen.backend_pods.difference(&seen.apex_pods).next()?;
    Some(format!("EndpointSlices of Service {} to hold pod {pod}", route.name))
}

/// Judges an HTTPRoute: it holds the split, and every parent's controller accepted that generation of it.
pub fn http_route(
    route: &Route,
    split: &Split,
    generation: i64,
    spec: &HttpRouteSpec,
    status: Option<&RouteStatus>,
) -> Confirmation {
    if !holds(spec, split) {
        return Confirmation::Pending { waiting_for: format!("HTTPRoute {} to hold the weights", route.name) };
    }
    let none = Vec::new();
    let entries = status.map_or(&none, |s| &s.parents);
    let mut silent = None;
    for parent in &route.parents {
        match parent_verdict(route, parent, entries, generation) {
            Verdict::Accepted => {}
            Verdict::Silent(controller) => silent = Some(controller),
            Verdict::Waiting(waiting_for) => return Confirmation::Pending { waiting_for },
        }
    }
    match silent {
        None => Confirmation::Confirmed { by: format!("HTTPRoute accepted at generation {generation}") },
        Some(controller) => Confirmation::Unconfirmed {
            why: format!("{controller} accepts HTTPRoute {} but does not say at which generation", route.name),
        },
    }
}

enum Verdict {
    Accepted,
    /// Accepted, by a controller that never writes `observedGeneration`.
    Silent(String),
    Waiting(String),
}

fn parent_verdict(route: &Route, parent: &Parent, entries: &[ParentStatus], generation: i64) -> Verdict {
    let mut matching = entries.iter().filter(|e| is_parent(route, parent, e)).peekable();
    let gateway = format!("Gateway {}/{}", parent.namespace, parent.name);
    if matching.peek().is_none() {
        return Verdict::Waiting(format!("a controller of {gateway} to answer for HTTPRoute {}", route.name));
    }
    let mut verdict = Verdict::Accepted;
    for entry in matching {
        for wanted in ["Accepted", "ResolvedRefs"] {
            let Some(condition) = entry.conditions.iter().find(|c| c.type_ == wanted) else {
                return Verdict::Waiting(format!("{} to say {wanted} for {gateway}", entry.controller_name));
            };
            match condition.observed_generation.unwrap_or(0) {
                0 => verdict = Verdict::Silent(entry.controller_name.clone()),
                seen if seen < generation => {
                    return Verdict::Waiting(format!("{} to see generation {generation}", entry.controller_name));
                }
                _ => {}
            }
            if condition.status != "True" {
                let (reason, message) = (&condition.reason, &condition.message);
                return Verdict::Waiting(format!("{gateway}: {wanted} is not true, {reason}: {message}"));
            }
        }
    }
    verdict
}

/// By namespace, name and listener: controllers write groups and kinds in their own way.
fn is_parent(route: &Route, parent: &Parent, entry: &ParentStatus) -> bool {
    let seen = &entry.parent_ref;
    seen.name == parent.name
        && seen.namespace.as_deref().unwrap_or(&route.namespace) == parent.namespace
        && seen.section_name.as_deref().unwrap_or_default() == parent.section.as_deref().unwrap_or_default()
}

/// Whether the rule without header matches has exactly the wanted weights, and each preview its rule.
fn holds(spec: &HttpRouteSpec, split: &Split) -> bool {
    let headers = |rule: &Rule| {
        let all = rule.matches.iter().flat_map(|m| m["headers"].as_array().cloned().unwrap_or_default());
        all.filter_map(|h| Some((h["name"].as_str()?.to_owned(), h["value"].as_str()?.to_owned()))).collect::<Vec<_>>()
    };
    let weights = |rule: &Rule| -> BTreeMap<String, i64> {
        rule.backend_refs.iter().map(|r| (r.name.clone(), r.weight.unwrap_or(1))).collect()
    };
    let wanted: BTreeMap<_, _> = split.backends().iter().map(|b| (b.service.clone(), i64::from(b.weight))).collect();
    let main = spec.rules.iter().find(|r| headers(r).is_empty()).is_some_and(|r| weights(r) == wanted);
    let preview = |header: &str, name: &str| {
        let service = split.backends().iter().find(|b| b.name == name).map(|b| b.service.as_str());
        spec.rules.iter().any(|r| {
            headers(r).iter().any(|(h, v)| h == header && v == name)
                && r.backend_refs.first().map(|b| b.name.as_str()) == service
        })
    };
    main && split.previews().iter().all(|p| preview(&p.header, &p.backend))
}

#[cfg(test)]
mod tests;
