//! The Gateway API's HTTPRoute, as far as a blue-green route needs it. What we write is made by [`crate::plan`]; these
//! types only read, so fields that they do not know are never lost.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// Group of the Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// Spec of an HTTPRoute.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    plural = "httproutes",
    namespaced,
    schema = "disabled",
    status = "RouteStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// What the route is attached to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Host names.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Rules; the first that matches wins where matches are equally specific.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// One parent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Kind, `Gateway` if absent.
    pub kind: Option<String>,
    /// Namespace, the route's own if absent.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Listener.
    pub section_name: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Matches; none matches everything.
    #[serde(default)]
    pub matches: Vec<serde_json::Value>,
    /// Backends with weights.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
}

/// One weighted Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRef {
    /// Service.
    pub name: String,
    /// Port of the Service.
    pub port: Option<u16>,
    /// Share, 1 if absent.
    pub weight: Option<i64>,
}

/// Status, one entry a parent and controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// What each controller says.
    #[serde(default)]
    pub parents: Vec<ParentStatus>,
}

/// What one controller says of one parent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The parent. Controllers normalise it, so it is matched by name, namespace and listener only.
    pub parent_ref: ParentRef,
    /// Who says it.
    #[serde(default)]
    pub controller_name: String,
    /// `Accepted`, `ResolvedRefs` …
    #[serde(default)]
    pub conditions: Vec<ParentCondition>,
}

/// One condition. Not the usual type: some controllers leave fields out that are required there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentCondition {
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
    /// Generation of the route that was judged; some controllers never write it.
    pub observed_generation: Option<i64>,
}
