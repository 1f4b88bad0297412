//! The wish: which share of a route's traffic each backend gets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where traffic enters: the apex Service of an app, and the Gateways that it is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Namespace of all its objects.
    pub namespace: String,
    /// Name of the route object and of the apex Service.
    pub name: String,
    /// Port of the apex Service.
    pub port: u16,
    /// Gateways that a Gateway API route is attached to.
    pub parents: Vec<Parent>,
    /// Host names of a Gateway API route.
    pub hosts: Vec<String>,
    /// Labels for the route object and the apex Service.
    pub labels: BTreeMap<String, String>,
    /// Owner reference (one JSON object) for what the router makes.
    pub owner: Option<serde_json::Value>,
}

/// A Gateway, or one listener of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Namespace of the Gateway.
    pub namespace: String,
    /// Name of the Gateway.
    pub name: String,
    /// Listener.
    pub section: Option<String>,
}

/// One backend: the Service of a colour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Name in splits and observations, as in `blue`.
    pub name: String,
    /// Service that selects its pods.
    pub service: String,
    /// Port of that Service.
    pub port: u16,
    /// Pods' port behind it (number or name).
    pub target_port: serde_json::Value,
    /// Labels that select its pods.
    pub selector: BTreeMap<String, String>,
    /// Percent of the traffic.
    pub weight: u8,
}

/// A request that reaches one backend whatever the weights say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Request header; its value is the backend's name.
    pub header: String,
    /// Backend that is previewed.
    pub backend: String,
}

/// The whole wish for a [`Route`]. Weights sum to 100.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// All backends; one with weight 0 stays in the route so that its endpoints stay warm in the proxies.
    pub backends: Vec<Backend>,
    /// Preview rules.
    pub previews: Vec<Preview>,
    /// Value for the annotation `homelab.dev/active`, written together with the weights.
    pub active: String,
}
