//! The trait that every way to move traffic implements.

use std::collections::BTreeMap;

use async_trait::async_trait;
use homelab_core::meta::ObjectRef;
use jiff::Timestamp;

use crate::error::Error;
use crate::split::{Route, Split};

/// What a router can do. What is missing is reduced by the caller before a rollout starts, and said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Weights other than 0 and 100.
    pub weights: bool,
    /// Preview by request header on the production host.
    pub preview_header: bool,
    /// Preview by cookie on the production host.
    pub preview_cookie: bool,
}

/// What the cluster holds for a [`Route`] now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The route is there, whole, and nothing of ours beside it moves traffic.
    pub exists: bool,
    /// Percent by backend name; a plain Service has 100 for the one that its selector names.
    pub weights: BTreeMap<String, u8>,
    /// Backends that the data plane could be sent to (ready endpoints), by backend name.
    pub ready_endpoints: BTreeMap<String, u32>,
    /// Value of the annotation `homelab.dev/active`.
    pub active: Option<String>,
    /// When the weights last changed, from the annotation written with them.
    pub shifted_at: Option<Timestamp>,
    /// `resourceVersion` that a write has to be planned from.
    pub version: Option<String>,
    /// Field manager of somebody else who changed our fields, if any.
    pub edited_by: Option<String>,
}

/// How far a wish has come. Compares content, never "newer than my write", so that it holds after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The proxies, or the control plane for them, are known to have it.
    Confirmed {
        /// Who said so, for people: "HTTPRoute accepted at generation 4".
        by: String,
    },
    /// Not yet; ask again.
    Pending {
        /// What is waited for.
        waiting_for: String,
    },
    /// It holds as far as can be asked, and more can not be known here.
    Unconfirmed {
        /// Why no more can be known.
        why: String,
    },
}

/// One way to move traffic between the backends of a route. Verbs are idempotent; dropping a future between two awaits
/// leaves either the old or the new state, as each verb makes one write.
#[async_trait]
pub trait TrafficRouter: Send + Sync {
    /// What this router can do.
    fn capabilities(&self) -> Capabilities;
    /// Reads the route. A route that does not exist is an observation, not an error.
    async fn observe(&self, route: &Route) -> Result<Observation, Error>;
    /// Makes the cluster hold `split`, in one write planned from `version` (none: it is not there, or not whole).
    /// `force` takes back what somebody else wrote into the route. [`Error::Conflict`] names another owner or a newer
    /// version.
    async fn apply(&self, route: &Route, split: &Split, version: Option<&str>, force: bool) -> Result<(), Error>;
    /// How far `split` has come at `now`.
    async fn confirm(&self, route: &Route, split: &Split, now: Timestamp) -> Result<Confirmation, Error>;
    /// Takes away whatever of the route is there, and what another router left of it; gone already is fine. Returns what was taken away.
    async fn release(&self, route: &Route) -> Result<Vec<ObjectRef>, Error>;
}
