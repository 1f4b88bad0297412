//! Which router a route gets.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;

use super::cluster::api_error;
use super::gateway::GatewayRouter;
use super::service::ServiceRouter;
use crate::api::gateway::GROUP;
use crate::error::Error;
use crate::router::TrafficRouter;
use crate::split::Route;

/// What an App asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mesh {
    /// By what the cluster has: `Gateway` where parents are given and HTTPRoute exists, else `Service`.
    Auto,
    /// A plain Service.
    Service,
    /// A Gateway API HTTPRoute.
    Gateway,
}

impl Mesh {
    /// Reads `auto`, `service` or `gateway`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "service" => Some(Self::Service),
            "gateway" => Some(Self::Gateway),
            _ => None,
        }
    }
}

/// All routers over one client.
#[derive(Clone)]
pub struct Routers {
    client: Client,
    service: Arc<ServiceRouter>,
    gateway: Arc<GatewayRouter>,
}

impl Routers {
    /// Routers that write with the rights of `client`.
    pub fn new(client: Client) -> Self {
        let service = Arc::new(ServiceRouter::new(client.clone()));
        let gateway = Arc::new(GatewayRouter::new(client.clone()));
        Self { client, service, gateway }
    }

    /// The same, with another time that a plain Service's endpoints take to reach every node.
    #[must_use]
    pub fn with_propagation(self, propagation: Duration) -> Self {
        let service = ServiceRouter::new(self.client.clone()).with_propagation(propagation);
        Self { service: Arc::new(service), ..self }
    }

    /// The router for `route`. `Gateway` on a cluster without HTTPRoute is [`Error::Invalid`]; the cluster is asked
    /// only where parents are given or `Gateway` is.
    pub async fn choose(&self, mesh: Mesh, route: &Route) -> Result<Arc<dyn TrafficRouter>, Error> {
        let wanted = match mesh {
            Mesh::Service => false,
            Mesh::Auto if route.parents.is_empty() => false,
            Mesh::Auto => self.has_http_route().await?,
            Mesh::Gateway if self.has_http_route().await? => true,
            Mesh::Gateway => {
                return Err(Error::Invalid(format!(
                    "route {} asks for mesh: gateway, but the cluster has no HTTPRoute: install the Gateway API, or use mesh: service",
                    route.name
                )));
            }
        };
        Ok(if wanted { self.gateway.clone() } else { self.service.clone() })
    }

    async fn has_http_route(&self) -> Result<bool, Error> {
        match self.client.list_api_group_resources(&format!("{GROUP}/v1")).await {
            Ok(list) => Ok(list.resources.iter().any(|r| r.kind == "HTTPRoute")),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(api_error(format!("ask for kinds of {GROUP}"), &error)),
        }
    }
}
