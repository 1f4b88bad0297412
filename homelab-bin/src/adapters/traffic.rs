//! homelab-rollout's `Traffic` by homelab-mesh's routers.
#![expect(clippy::disallowed_methods, reason = "confirmations of a plain Service depend on the clock")]

use std::sync::Arc;

use async_trait::async_trait;
use homelab_mesh::backend::choose::{Mesh, Routers};
use homelab_mesh::error::Error;
use homelab_mesh::router::{Confirmation, TrafficRouter};
use homelab_mesh::split::{Backend, Parent, Preview, Route, Split};
use homelab_rollout::ports::{
    PortError, Traffic, TrafficBackend, TrafficCapabilities, TrafficConfirmation, TrafficRoute, TrafficSplit,
    TrafficState,
};

use super::counted;
use crate::daemon::metrics::Metrics;

/// Chooses the router anew for each call: what a cluster has may change while we run.
pub struct MeshTraffic {
    routers: Routers,
    metrics: Arc<Metrics>,
}

impl MeshTraffic {
    /// Over these routers.
    pub fn new(routers: Routers, metrics: Arc<Metrics>) -> Self {
        Self { routers, metrics }
    }

    async fn router(&self, from: &TrafficRoute) -> Result<(Arc<dyn TrafficRouter>, Route), PortError> {
        let mesh = Mesh::parse(&from.mesh).ok_or_else(|| {
            port(Error::Invalid(format!(
                "route {}/{}: mesh is auto, service or gateway, not `{}`",
                from.namespace, from.name, from.mesh
            )))
        })?;
        let route = route(from);
        Ok((self.routers.choose(mesh, &route).await.map_err(port)?, route))
    }
}

#[async_trait]
impl Traffic for MeshTraffic {
    async fn capabilities(&self, from: &TrafficRoute) -> Result<TrafficCapabilities, PortError> {
        let (router, _) = self.router(from).await?;
        let can = router.capabilities();
        Ok(TrafficCapabilities { weights: can.weights, preview_header: can.preview_header })
    }

    async fn observe(&self, from: &TrafficRoute) -> Result<TrafficState, PortError> {
        let (router, route) = self.router(from).await?;
        let seen = counted(&self.metrics, "traffic_observe", router.observe(&route)).await.map_err(port)?;
        Ok(TrafficState {
            exists: seen.exists,
            weights: seen.weights,
            ready_endpoints: seen.ready_endpoints,
            active: seen.active,
            shifted_at: seen.shifted_at,
            version: seen.version,
            edited_by: seen.edited_by,
        })
    }

    async fn apply(
        &self,
        from: &TrafficRoute,
        wish: &TrafficSplit,
        version: Option<&str>,
        force: bool,
    ) -> Result<(), PortError> {
        let (router, route) = self.router(from).await?;
        let wish = split(wish)?;
        counted(&self.metrics, "traffic_apply", router.apply(&route, &wish, version, force)).await.map_err(port)
    }

    async fn confirm(&self, from: &TrafficRoute, wish: &TrafficSplit) -> Result<TrafficConfirmation, PortError> {
        let (router, route) = self.router(from).await?;
        let wish = split(wish)?;
        let confirmation = router.confirm(&route, &wish, jiff::Timestamp::now());
        Ok(match counted(&self.metrics, "traffic_confirm", confirmation).await.map_err(port)? {
            Confirmation::Confirmed { by } => TrafficConfirmation::Confirmed(by),
            Confirmation::Pending { waiting_for } => TrafficConfirmation::Pending(waiting_for),
            Confirmation::Unconfirmed { why } => TrafficConfirmation::Unconfirmed(why),
        })
    }

    async fn release(&self, from: &TrafficRoute) -> Result<(), PortError> {
        let (router, route) = self.router(from).await?;
        counted(&self.metrics, "traffic_release", router.release(&route)).await.map(drop).map_err(port)
    }
}

fn port(error: Error) -> PortError {
    PortError { class: error.class(), message: error.to_string() }
}

fn route(from: &TrafficRoute) -> Route {
    let parent = |(namespace, name, section): &(String, String, Option<String>)| Parent {
        namespace: namespace.clone(),
        name: name.clone(),
        section: section.clone(),
    };
    Route {
        namespace: from.namespace.clone(),
        name: from.name.clone(),
        port: from.port,
        parents: from.parents.iter().map(parent).collect(),
        hosts: from.hosts.clone(),
        labels: from.labels.clone(),
        owner: from.owner.clone(),
    }
}

fn split(from: &TrafficSplit) -> Result<Split, PortError> {
    let backends = from.backends.iter().map(backend).collect();
    let previews = from
        .previews
        .iter()
        .map(|(header, backend)| Preview { header: header.clone(), backend: backend.clone() })
        .collect();
    Split::new(backends, previews, from.active.clone()).map_err(port)
}

fn backend(from: &TrafficBackend) -> Backend {
    Backend {
        name: from.name.clone(),
        service: from.service.clone(),
        port: from.port,
        target_port: from.target_port.clone(),
        selector: from.selector.clone(),
        weight: from.weight,
    }
}
