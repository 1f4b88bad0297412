//! A router that keeps everything in memory: what tests of others stand on, and the plainest reading of the contract.
#![expect(clippy::disallowed_methods, reason = "the time of a shift is written by the backend, as by the others")]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use homelab_core::meta::ObjectRef;
use jiff::Timestamp;

use crate::error::Error;
use crate::router::{Capabilities, Confirmation, Observation, TrafficRouter};
use crate::split::{Route, Split};

/// The router. Routes are told apart by namespace and name.
#[derive(Debug, Default)]
pub struct MemoryRouter {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    routes: BTreeMap<(String, String), Held>,
    ready: BTreeMap<(String, String), BTreeMap<String, u32>>,
    writes: u64,
}

#[derive(Debug)]
struct Held {
    split: Split,
    shifted_at: Timestamp,
    version: u64,
    edited_by: Option<String>,
}

impl MemoryRouter {
    /// A router that knows of no route.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many endpoints of a backend are ready.
    pub fn set_ready(&self, route: &Route, backend: &str, count: u32) {
        self.lock().ready.entry(key(route)).or_default().insert(backend.into(), count);
    }

    /// Plays somebody who edits the route by hand.
    pub fn edit(&self, route: &Route, manager: &str) {
        if let Some(held) = self.lock().routes.get_mut(&key(route)) {
            held.edited_by = Some(manager.into());
            held.version += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(route: &Route) -> (String, String) {
    (route.namespace.clone(), route.name.clone())
}

fn conflict(route: &Route, message: String) -> Error {
    Error::Conflict { object: format!("route {}/{}", route.namespace, route.name), message }
}

#[async_trait]
impl TrafficRouter for MemoryRouter {
    fn capabilities(&self) -> Capabilities {
        Capabilities { weights: true, preview_header: true, preview_cookie: false }
    }

    async fn observe(&self, route: &Route) -> Result<Observation, Error> {
        let state = self.lock();
        let ready_endpoints = state.ready.get(&key(route)).cloned().unwrap_or_default();
        let Some(held) = state.routes.get(&key(route)) else {
            return Ok(Observation { ready_endpoints, ..Observation::default() });
        };
        Ok(Observation {
            exists: true,
            weights: held.split.weights(),
            ready_endpoints,
            active: Some(held.split.active().into()),
            shifted_at: Some(held.shifted_at),
            version: Some(held.version.to_string()),
            edited_by: held.edited_by.clone(),
        })
    }

    async fn apply(&self, route: &Route, split: &Split, version: Option<&str>, force: bool) -> Result<(), Error> {
        let mut state = self.lock();
        let now = Timestamp::now();
        state.writes += 1;
        let version_now = state.writes;
        let old = state.routes.get(&key(route));
        if old.map(|held| held.version.to_string()).as_deref() != version {
            return Err(conflict(route, "has moved on since it was read".into()));
        }
        if let Some(manager) = old.and_then(|held| held.edited_by.as_ref()).filter(|_| !force) {
            return Err(conflict(route, format!("was edited by {manager}")));
        }
        let same = old.filter(|held| held.split.weights() == split.weights());
        let shifted_at = same.map_or(now, |held| held.shifted_at);
        let held = Held { split: split.clone(), shifted_at, version: version_now, edited_by: None };
        state.routes.insert(key(route), held);
        Ok(())
    }

    async fn confirm(&self, route: &Route, split: &Split, _now: Timestamp) -> Result<Confirmation, Error> {
        let state = self.lock();
        Ok(match state.routes.get(&key(route)) {
            Some(held) if held.split == *split => Confirmation::Confirmed { by: "memory".into() },
            _ => Confirmation::Pending { waiting_for: format!("route {} to hold the weights", route.name) },
        })
    }

    async fn release(&self, route: &Route) -> Result<Vec<ObjectRef>, Error> {
        let gone = self.lock().routes.remove(&key(route));
        Ok(gone.map(|_| ObjectRef::namespaced("", "Route", &route.namespace, &route.name)).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, contract, route};

    struct Memory(MemoryRouter);

    #[async_trait]
    impl World for Memory {
        fn router(&self) -> &dyn TrafficRouter {
            &self.0
        }
        fn route(&self) -> Route {
            route("app")
        }
        async fn ready(&self, backend: &str, count: u32) {
            self.0.set_ready(&self.route(), backend, count);
        }
        async fn edit(&self) {
            self.0.edit(&self.route(), "kubectl-edit");
        }
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        contract(&Memory(MemoryRouter::new())).await;
    }
}
