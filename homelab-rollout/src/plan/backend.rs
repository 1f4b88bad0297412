//! Which Service of a chart the route leads to.

use std::collections::BTreeMap;

use homelab_core::meta::label;
use serde_json::Value;

use super::Weights;
use super::observed::{Slot, SlotFacts};
use super::spec::{Port, Route, Spec, Strategy};
use crate::deployer::{ServiceInfo, SlotState};
use crate::ports::{TrafficBackend, TrafficCapabilities, TrafficSplit};

/// The Service and port that the route leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Name of the Service.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// The pods' port.
    pub target_port: Value,
    /// Labels of the pods, with the colour.
    pub selector: BTreeMap<String, String>,
}

/// The Service of a release that has the route's port; the error names the choices. Without a route the only one.
pub fn of(app: &str, slot: Slot, state: &SlotState, route: Option<&Route>) -> Result<Backend, String> {
    let release = slot.release(app);
    let fits = |service: &&ServiceInfo| {
        !service.selector.is_empty()
            && route.is_none_or(|route| named(route, app, &release, service) && port_of(service, Some(route)).is_some())
    };
    let candidates: Vec<_> = state.services.iter().filter(fits).collect();
    match candidates.as_slice() {
        [service] => port_of(service, route)
            .map(|(port, target_port)| Backend {
                service: service.name.clone(),
                port,
                target_port,
                selector: with_colour(service, slot),
            })
            .ok_or_else(|| format!("Service {} has no port", service.name)),
        [] => Err(format!(
            "no Service of release {release} has {}; there are: {}",
            wish(route),
            list(&state.services.iter().collect::<Vec<_>>())
        )),
        several => Err(format!(
            "more than one Service of release {release} has {}: {}; name one in routes[0].service",
            wish(route),
            list(several)
        )),
    }
}

/// The whole wish for these weights: a backend for each colour that has a Service, previews where the route can.
/// A colour without weight that has no Service yet is left out.
pub fn split(
    spec: &Spec,
    app: &str,
    slots: &BTreeMap<Slot, SlotFacts>,
    capabilities: Option<TrafficCapabilities>,
    weights: &Weights,
    active: String,
) -> Result<TrafficSplit, String> {
    let mut backends = Vec::new();
    for (colour, weight) in weights {
        let slot = Slot::from(*colour);
        let found = slots.get(&slot).map_or_else(
            || Err(format!("there is no release {}", slot.release(app))),
            |facts| of(app, slot, &facts.state, spec.route.as_ref()),
        );
        let backend = match found {
            Ok(backend) => backend,
            Err(_) if *weight == 0 => continue,
            Err(why) => return Err(why),
        };
        backends.push(TrafficBackend {
            name: colour.to_string(),
            service: backend.service,
            port: backend.port,
            target_port: backend.target_port,
            selector: backend.selector,
            weight: *weight,
        });
    }
    let header = match &spec.strategy {
        Strategy::BlueGreen(strategy) if capabilities.is_some_and(|capabilities| capabilities.preview_header) => {
            strategy.preview.clone()
        }
        _ => None,
    };
    let preview = |header: String| backends.iter().map(|backend| (header.clone(), backend.name.clone())).collect();
    Ok(TrafficSplit { previews: header.map(preview).unwrap_or_default(), backends, active })
}

fn with_colour(service: &ServiceInfo, slot: Slot) -> BTreeMap<String, String> {
    let mut selector = service.selector.clone();
    if let Some(colour) = slot.colour() {
        selector.insert(label::COLOUR.into(), colour.to_string());
    }
    selector
}

/// `web` in the spec stands for `web-blue` in the release `web-blue` of App `web`, `web-api` for `web-blue-api`.
fn named(route: &Route, app: &str, release: &str, service: &ServiceInfo) -> bool {
    let Some(wanted) = &route.service else { return true };
    let in_release = match wanted.strip_prefix(app) {
        Some(rest) if rest.is_empty() || rest.starts_with('-') => format!("{release}{rest}"),
        _ => wanted.clone(),
    };
    service.name == in_release || service.name == *wanted
}

fn port_of(service: &ServiceInfo, route: Option<&Route>) -> Option<(u16, Value)> {
    let fits = |(name, number, _): &&(Option<String>, u16, Value)| match route.map(|route| &route.port) {
        None => true,
        Some(Port::Number(wanted)) => number == wanted,
        Some(Port::Name(wanted)) => name.as_ref() == Some(wanted),
    };
    service.ports.iter().find(fits).map(|(_, number, target)| (*number, target.clone()))
}

fn wish(route: Option<&Route>) -> String {
    let Some(route) = route else { return "a selector and a port".into() };
    let port = match &route.port {
        Port::Number(number) => format!("port {number}"),
        Port::Name(name) => format!("a port named {name}"),
    };
    route.service.as_ref().map_or_else(|| port.clone(), |service| format!("the name {service} and {port}"))
}

fn list(services: &[&ServiceInfo]) -> String {
    if services.is_empty() {
        return "none".into();
    }
    let one = |service: &&ServiceInfo| {
        let ports: Vec<_> = service
            .ports
            .iter()
            .map(|(name, number, _)| {
                name.as_ref().map_or_else(|| number.to_string(), |name| format!("{name}={number}"))
            })
            .collect();
        format!("{} ({})", service.name, ports.join(" "))
    };
    services.iter().map(one).collect::<Vec<_>>().join(", ")
}
