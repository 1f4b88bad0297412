//! Blue-green by a Gateway API HTTPRoute: weights and previews, applied by whichever controller runs the Gateway.
//!
//! The route sends to the charts' own Services, both colours always, the idle one with weight 0. Clients inside the
//! cluster that do not pass the Gateway use the apex Service; it follows `active`, so it moves last, after 100 % was
//! confirmed. Its write comes before the route's: the route's annotation `homelab.dev/active` is what the next
//! observation goes by, so a crash between the two repeats both.
#![expect(clippy::disallowed_methods, reason = "the time of a shift is written with the shift")]

use std::collections::BTreeMap;

use async_trait::async_trait;
use homelab_core::meta::ObjectRef;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client, ResourceExt};

use super::{cluster, service};
use crate::api::gateway::{GROUP, HTTPRoute};
use crate::error::Error;
use crate::router::{Capabilities, Confirmation, Observation, TrafficRouter};
use crate::split::{Route, Split};
use crate::{confirm, managed, plan};

/// Fields of the HTTPRoute that nobody else may write.
const OURS: &[&[&str]] = &[
    &["f:spec", "f:rules"],
    &["f:spec", "f:parentRefs"],
    &["f:spec", "f:hostnames"],
    &["f:metadata", "f:annotations", "f:homelab.dev/active"],
];

/// The router.
#[derive(Clone)]
pub struct GatewayRouter {
    client: Client,
}

impl GatewayRouter {
    /// A router that writes with the rights of `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn routes(&self, route: &Route) -> Api<HTTPRoute> {
        routes(&self.client, route)
    }

    async fn read(&self, route: &Route) -> Result<(Option<HTTPRoute>, Option<Service>), Error> {
        let http = cluster::get(&self.routes(route), "HTTPRoute", &route.name).await?;
        let apex = cluster::get(&cluster::services(&self.client, route), "Service", &route.name).await?;
        Ok((http, apex))
    }
}

fn routes(client: &Client, route: &Route) -> Api<HTTPRoute> {
    Api::namespaced(client.clone(), &route.namespace)
}

/// Our HTTPRoute for `route`, if there is one; a cluster that does not know the kind has none.
pub(super) async fn left(client: &Client, route: &Route) -> Result<Option<HTTPRoute>, Error> {
    let read = cluster::get(&routes(client, route), "HTTPRoute", &route.name).await?;
    Ok(read.filter(|http| managed::is_ours(&cluster::managed_fields(http))))
}

/// Takes our HTTPRoute away.
pub(super) async fn release_left(client: &Client, route: &Route) -> Result<Option<ObjectRef>, Error> {
    let Some(http) = left(client, route).await? else { return Ok(None) };
    let gone = cluster::delete(&routes(client, route), "HTTPRoute", &http).await?;
    Ok(gone.then(|| ObjectRef::namespaced(GROUP, "HTTPRoute", &route.namespace, &route.name)))
}

/// What an HTTPRoute says by itself.
pub(super) fn held(http: &HTTPRoute) -> Observation {
    Observation {
        weights: weights(http),
        edited_by: managed::edited_by(&cluster::managed_fields(http), OURS),
        ..cluster::annotated(http)
    }
}

/// What the two objects say together. The route is whole only with both; without the HTTPRoute the apex Service
/// still tells who has the traffic (an App that moves from a plain Service to a Gateway).
fn seen(http: Option<&HTTPRoute>, apex: Option<&Service>) -> Observation {
    let apex = apex.map(service::seen);
    let Some(http) = http else {
        return Observation { exists: false, version: None, ..apex.unwrap_or_default() };
    };
    let whole = apex.is_some();
    let own = held(http);
    let edited_by = own.edited_by.clone().or_else(|| apex?.edited_by);
    Observation { exists: whole, version: own.version.clone().filter(|_| whole), edited_by, ..own }
}

/// Percent by backend, by the rule that has no header match.
fn weights(http: &HTTPRoute) -> BTreeMap<String, u8> {
    let services: BTreeMap<String, String> =
        http.annotations().get(plan::BACKENDS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let main = http.spec.rules.iter().find(|r| r.matches.iter().all(|m| m.get("headers").is_none()));
    let weight = |service: &String| {
        let reference = main?.backend_refs.iter().find(|r| r.name == *service)?;
        u8::try_from(reference.weight.unwrap_or(1)).ok()
    };
    services.iter().filter_map(|(name, service)| Some((name.clone(), weight(service)?))).collect()
}

#[async_trait]
impl TrafficRouter for GatewayRouter {
    fn capabilities(&self) -> Capabilities {
        Capabilities { weights: true, preview_header: true, preview_cookie: false }
    }

    async fn observe(&self, route: &Route) -> Result<Observation, Error> {
        let (http, apex) = self.read(route).await?;
        let ready_endpoints = cluster::ready_by_colour(&self.client, route).await?;
        Ok(Observation { ready_endpoints, ..seen(http.as_ref(), apex.as_ref()) })
    }

    async fn apply(&self, route: &Route, split: &Split, version: Option<&str>, force: bool) -> Result<(), Error> {
        let active = split.active_backend().ok_or_else(|| Error::Invalid("no backend is active".into()))?;
        let (http, apex) = self.read(route).await?;
        let before = seen(http.as_ref(), apex.as_ref());
        // A half of the route that is left (the other was deleted) is taken up again, as long as it is ours.
        let repair = version.is_none() && http.is_some() != apex.is_some();
        let base = if repair { http.as_ref().and_then(ResourceExt::resource_version) } else { version.map(Into::into) };
        cluster::guard("HTTPRoute", route, http.as_ref(), base.as_deref())?;
        let apex_version = apex.as_ref().and_then(ResourceExt::resource_version);
        cluster::guard("Service", route, apex.as_ref(), apex_version.as_deref())?;

        let same = http.is_some() && before.weights == split.weights();
        let shifted_at = before.shifted_at.filter(|_| same).unwrap_or_else(Timestamp::now);
        let object = plan::planned_from(plan::http_route(route, split, shifted_at)?, base.as_deref());
        let service = plan::apex_service(route, split, active, shifted_at);
        let services = cluster::services(&self.client, route);
        let service = plan::planned_from(service, apex_version.as_deref());
        cluster::apply(&services, "Service", route, &service, force).await?;
        cluster::apply(&self.routes(route), "HTTPRoute", route, &object, force).await
    }

    async fn confirm(&self, route: &Route, split: &Split, _now: Timestamp) -> Result<Confirmation, Error> {
        let Some(http) = cluster::get(&self.routes(route), "HTTPRoute", &route.name).await? else {
            return Ok(Confirmation::Pending { waiting_for: format!("HTTPRoute {} to exist", route.name) });
        };
        if let Some(active) = split.active_backend() {
            let apex = cluster::apex_seen(&self.client, route, active).await?;
            if let Some(waiting_for) = confirm::apex_missing(route, active, &apex) {
                return Ok(Confirmation::Pending { waiting_for });
            }
        }
        let generation = http.metadata.generation.unwrap_or(0);
        Ok(confirm::http_route(route, split, generation, &http.spec, http.status.as_ref()))
    }

    async fn release(&self, route: &Route) -> Result<Vec<ObjectRef>, Error> {
        let mut gone: Vec<_> = release_left(&self.client, route).await?.into_iter().collect();
        gone.extend(service::release_apex(&self.client, route).await?);
        Ok(gone)
    }
}
