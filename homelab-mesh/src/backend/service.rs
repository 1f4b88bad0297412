//! Blue-green by a plain Service: the apex Service is ours, and a switch is one server-side apply of its selector.
//!
//! There are no weights between 0 and 100 and no previews. Old pods have to outlive the propagation to every node,
//! which nobody can be asked about: [`TrafficRouter::confirm`] waits for the EndpointSlices and a fixed time, and then
//! says that it is unconfirmed.
//!
//! An App that moved here from a Gateway leaves an HTTPRoute of ours, whose weights nobody would follow up: the route does
//! not count as whole before that is gone. It goes after the apex Service was written, so a crash between repeats both.
#![expect(clippy::disallowed_methods, reason = "the time of a shift is written with the shift")]

use std::time::Duration;

use async_trait::async_trait;
use homelab_core::meta::ObjectRef;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::{Client, ResourceExt};

use super::{cluster, gateway};
use crate::error::Error;
use crate::router::{Capabilities, Confirmation, Observation, TrafficRouter};
use crate::split::{Route, Split};
use crate::{confirm, managed, plan};

/// Fields of the apex Service that nobody else may write.
const OURS: &[&[&str]] = &[
    &["f:spec", "f:selector"],
    &["f:spec", "f:ports", "k:*", "f:targetPort"],
    &["f:metadata", "f:annotations", "f:homelab.dev/active"],
];

/// The router.
#[derive(Clone)]
pub struct ServiceRouter {
    client: Client,
    propagation: Duration,
}

impl ServiceRouter {
    /// How long kube-proxy gets to follow, unless said otherwise.
    pub const PROPAGATION: Duration = Duration::from_secs(2);

    /// A router that writes with the rights of `client`.
    pub fn new(client: Client) -> Self {
        Self { client, propagation: Self::PROPAGATION }
    }

    /// The same with another time for kube-proxy to follow.
    #[must_use]
    pub fn with_propagation(self, propagation: Duration) -> Self {
        Self { propagation, ..self }
    }
}

/// What an apex Service says, without its endpoints.
pub(super) fn seen(service: &Service) -> Observation {
    Observation {
        weights: cluster::selected(service).map(|name| (name, 100)).into_iter().collect(),
        edited_by: managed::edited_by(&cluster::managed_fields(service), OURS),
        ..cluster::annotated(service)
    }
}

#[async_trait]
impl TrafficRouter for ServiceRouter {
    fn capabilities(&self) -> Capabilities {
        Capabilities { weights: false, preview_header: false, preview_cookie: false }
    }

    async fn observe(&self, route: &Route) -> Result<Observation, Error> {
        let service = cluster::get(&cluster::services(&self.client, route), "Service", &route.name).await?;
        let ready_endpoints = cluster::ready_by_colour(&self.client, route).await?;
        let seen = service.as_ref().map(seen);
        let left = gateway::left(&self.client, route).await?;
        let seen = match &left {
            None => seen.unwrap_or_default(),
            Some(http) => Observation { exists: false, version: None, ..seen.unwrap_or_else(|| gateway::held(http)) },
        };
        Ok(Observation { ready_endpoints, ..seen })
    }

    async fn apply(&self, route: &Route, split: &Split, version: Option<&str>, force: bool) -> Result<(), Error> {
        let backend = split.whole().ok_or_else(|| {
            Error::Invalid(format!(
                "a plain Service can not share traffic: give one backend of {} all of it",
                route.name
            ))
        })?;
        let api = cluster::services(&self.client, route);
        let read = cluster::get(&api, "Service", &route.name).await?;
        let left = gateway::left(&self.client, route).await?.is_some();
        let repair = version.is_none() && left;
        let base = if repair { read.as_ref().and_then(ResourceExt::resource_version) } else { version.map(Into::into) };
        cluster::guard("Service", route, read.as_ref(), base.as_deref())?;
        let before = read.as_ref().map(seen).unwrap_or_default();
        // What a Gateway sent elsewhere up to now drains from now on.
        let same = !left && before.weights.contains_key(&backend.name);
        let shifted_at = before.shifted_at.filter(|_| same).unwrap_or_else(Timestamp::now);
        let object = plan::planned_from(plan::apex_service(route, split, backend, shifted_at), base.as_deref());
        cluster::apply(&api, "Service", route, &object, force).await?;
        if left { gateway::release_left(&self.client, route).await.map(drop) } else { Ok(()) }
    }

    async fn confirm(&self, route: &Route, split: &Split, now: Timestamp) -> Result<Confirmation, Error> {
        let Some(backend) = split.whole() else {
            return Ok(Confirmation::Pending { waiting_for: "a backend with all of the traffic".into() });
        };
        let seen = cluster::apex_seen(&self.client, route, backend).await?;
        Ok(confirm::apex(route, backend, &seen, self.propagation, now))
    }

    async fn release(&self, route: &Route) -> Result<Vec<ObjectRef>, Error> {
        let mut gone: Vec<_> = gateway::release_left(&self.client, route).await?.into_iter().collect();
        gone.extend(release_apex(&self.client, route).await?);
        Ok(gone)
    }
}

/// Takes the apex Service away if it is ours.
pub(super) async fn release_apex(client: &Client, route: &Route) -> Result<Vec<ObjectRef>, Error> {
    let api = cluster::services(client, route);
    let read = cluster::get(&api, "Service", &route.name).await?;
    let Some(service) = read.filter(|s| managed::is_ours(&cluster::managed_fields(s))) else { return Ok(vec![]) };
    let gone = cluster::delete(&api, "Service", &service).await?;
    let reference = ObjectRef::namespaced("", "Service", &route.namespace, &route.name);
    Ok(gone.then_some(reference).into_iter().collect())
}
