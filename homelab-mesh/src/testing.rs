//! The suite that every router passes, and what tests need around it.
#![expect(clippy::disallowed_methods, reason = "the suite plays the caller, who has a clock")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a suite fails by panicking")]

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;

use crate::error::Error;
use crate::router::{Confirmation, TrafficRouter};
use crate::split::{Backend, Parent, Preview, Route, Split};

/// What the suite needs besides a router: a route that nobody else uses, and hands in the cluster behind it.
#[async_trait]
pub trait World: Send + Sync {
    /// The router under test.
    fn router(&self) -> &dyn TrafficRouter;
    /// Its route; nothing of it exists yet.
    fn route(&self) -> Route;
    /// A backend of that route.
    fn backend(&self, name: &str, weight: u8) -> Backend {
        backend(name, weight)
    }
    /// Makes `count` endpoints of a backend ready.
    async fn ready(&self, backend: &str, count: u32);
    /// Plays somebody who edits, by hand, what the router wrote.
    async fn edit(&self);
}

/// The backend `NAME` of the App `web`.
pub fn backend(name: &str, weight: u8) -> Backend {
    Backend {
        name: name.into(),
        service: format!("web-{name}"),
        port: 80,
        target_port: json!("http"),
        selector: [("app.kubernetes.io/instance".to_owned(), format!("web-{name}"))].into(),
        weight,
    }
}

/// The route of the App `web` in a namespace, behind one Gateway.
pub fn route(namespace: &str) -> Route {
    Route {
        namespace: namespace.into(),
        name: "web".into(),
        port: 80,
        parents: vec![Parent { namespace: "infra".into(), name: "gw".into(), section: Some("https".into()) }],
        hosts: vec!["web.home.example".into()],
        labels: [("homelab.dev/app".to_owned(), "web".to_owned())].into(),
        owner: None,
    }
}

/// What every router promises. Panics with the broken promise.
pub async fn contract(world: &dyn World) {
    nothing_yet(world).await;
    first_write(world).await;
    stale_writes(world).await;
    shift(world).await;
    same_weights(world).await;
    foreign_edit(world).await;
    release(world).await;
}

fn split(world: &dyn World, blue: u8, active: &str) -> Split {
    let previews = match world.router().capabilities().preview_header {
        true => vec![Preview { header: "x-preview".into(), backend: "green".into() }],
        false => vec![],
    };
    Split::new(vec![world.backend("blue", blue), world.backend("green", 100 - blue)], previews, active).unwrap()
}

async fn nothing_yet(world: &dyn World) {
    let (router, route) = (world.router(), world.route());
    let seen = router.observe(&route).await.unwrap();
    assert!(!seen.exists && seen.version.is_none() && seen.weights.is_empty(), "a route that is not there: {seen:?}");
    let confirmation = router.confirm(&route, &split(world, 100, "blue@1"), Timestamp::now()).await.unwrap();
    assert!(matches!(confirmation, Confirmation::Pending { .. }), "nothing is there to confirm: {confirmation:?}");
    assert!(router.release(&route).await.unwrap().is_empty(), "gone already is fine");
}

async fn first_write(world: &dyn World) {
    let (router, route) = (world.router(), world.route());
    world.ready("blue", 2).await;
    router.apply(&route, &split(world, 100, "blue@1"), None, false).await.unwrap();
    let seen = router.observe(&route).await.unwrap();
    assert!(seen.exists && seen.version.is_some(), "the route is there: {seen:?}");
    assert_eq!(seen.weights.get("blue"), Some(&100));
    assert_eq!(seen.active.as_deref(), Some("blue@1"));
    assert!(seen.shifted_at.is_some() && seen.edited_by.is_none(), "{seen:?}");
    assert_eq!(seen.ready_endpoints.get("blue"), Some(&2));
    confirmed(world, &split(world, 100, "blue@1")).await;
}

async fn stale_writes(world: &dyn World) {
    let (router, route) = (world.router(), world.route());
    let wish = split(world, 0, "blue@1");
    conflict("a first write where something is", router.apply(&route, &wish, None, false).await);
    let version = write(world, &split(world, 100, "blue@2"), false).await;
    conflict("a write planned from an older version", router.apply(&route, &wish, version.as_deref(), false).await);
}

async fn shift(world: &dyn World) {
    let (router, route) = (world.router(), world.route());
    world.ready("green", 1).await;
    let before = router.observe(&route).await.unwrap();
    assert_eq!(before.ready_endpoints.get("green"), Some(&1), "backends are counted before they get traffic");
    tokio::time::sleep(Duration::from_millis(5)).await;
    match router.capabilities().weights {
        true => {
            write(world, &split(world, 90, "blue@2"), false).await;
            let seen = router.observe(&route).await.unwrap();
            assert_eq!((seen.weights.get("blue"), seen.weights.get("green")), (Some(&90), Some(&10)));
            confirmed(world, &split(world, 90, "blue@2")).await;
        }
        false => {
            let partial = router.apply(&route, &split(world, 90, "blue@2"), before.version.as_deref(), false).await;
            assert!(matches!(partial, Err(Error::Invalid(_))), "weights it can not do: {partial:?}");
        }
    }
    write(world, &split(world, 0, "blue@2"), false).await;
    let after = router.observe(&route).await.unwrap();
    assert_eq!(after.weights.get("green"), Some(&100));
    assert!(after.shifted_at > before.shifted_at, "the time of a shift is written with it");
    confirmed(world, &split(world, 0, "blue@2")).await;
}

async fn same_weights(world: &dyn World) {
    let (router, route) = (world.router(), world.route());
    let before = router.observe(&route).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    write(world, &split(world, 0, "green@3"), false).await;
    let after = router.observe(&route).await.unwrap();
    assert_eq!(after.active.as_deref(), Some("green@3"));
    assert_eq!(after.shifted_at, before.shifted_at, "equal weights are no shift");
    write(world, &split(world, 0, "green@3"), false).await;
}

async fn foreign_edit(world: &dyn World) {
    world.edit().await;
    let (router, route) = (world.router(), world.route());
    let seen = router.observe(&route).await.unwrap();
    assert!(seen.edited_by.is_some(), "an edit by somebody else is seen: {seen:?}");
    let wish = split(world, 100, "blue@4");
    conflict("a write over somebody's edit", router.apply(&route, &wish, seen.version.as_deref(), false).await);
    write(world, &wish, true).await;
    let back = router.observe(&route).await.unwrap();
    assert_eq!((back.edited_by, back.weights.get("blue")), (None, Some(&100)), "it is taken back");
    assert_eq!(back.active.as_deref(), Some("blue@4"));
    write(world, &split(world, 100, "blue@5"), false).await;
}

async fn release(world: &dyn World) {
    let (router, route) = (world.router(), world.route());
    assert!(!router.release(&route).await.unwrap().is_empty(), "says what it took away");
    assert!(!router.observe(&route).await.unwrap().exists);
    assert!(router.release(&route).await.unwrap().is_empty(), "gone already is fine");
}

/// Writes as a caller does: what another wrote meanwhile, say a controller its status, is looked at again. Returns the
/// version that the write was planned from.
async fn write(world: &dyn World, wish: &Split, force: bool) -> Option<String> {
    let (router, route) = (world.router(), world.route());
    let mut last = None;
    for _ in 0..10 {
        let version = router.observe(&route).await.unwrap().version;
        match router.apply(&route, wish, version.as_deref(), force).await {
            Ok(()) => return version,
            Err(error @ Error::Conflict { .. }) => last = Some(error),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("each of 10 writes met a conflict: {last:?}");
}

/// Asks for up to 20 s, as a caller would.
async fn confirmed(world: &dyn World, wish: &Split) {
    let mut last = None;
    for _ in 0..200 {
        let confirmation = world.router().confirm(&world.route(), wish, Timestamp::now()).await.unwrap();
        if !matches!(confirmation, Confirmation::Pending { .. }) {
            return;
        }
        last = Some(confirmation);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never confirmed: {last:?}");
}

fn conflict(what: &str, result: Result<(), Error>) {
    assert!(matches!(result, Err(Error::Conflict { .. })), "{what} is a conflict: {result:?}");
}
