//! Which Service of a chart the route leads to.

use std::collections::BTreeMap;

use homelab_core::meta::label;
use serde_json::Value;

use super::Weights;
use super::observed::{Slot, SlotFacts};
use super::spec::{Route, Spec, Strategy};
use crate::deployer::{ServiceInfo, SlotState};
use crate::ports::{TrafficBackend, TrafficCapabilities, TrafficSplit};
use crate::preflight;

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
    let services: Vec<_> = state.services.iter().filter(|service| !service.selector.is_empty()).cloned().collect();
    let (service, port, target_port) = match route {
        Some(route) => preflight::pick(app, &release, &services, route.service.as_deref(), &route.port.to_value())
            .map_err(|error| error.to_string())?,
        None => only(&release, &services)?,
    };
    Ok(Backend { selector: with_colour(&service, slot), service: service.name, port, target_port })
}

fn only(release: &str, services: &[ServiceInfo]) -> Result<(ServiceInfo, u16, Value), String> {
    match services {
        [service] => match service.ports.first() {
            Some((_, port, target)) => Ok((service.clone(), *port, target.clone())),
            None => Err(format!("Service {} has no port", service.name)),
        },
        _ => Err(format!("release {release} has {} Services: name one, and its port, in spec.routes", services.len())),
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
