use futures::channel::mpsc;
use http::{Request, Response};
use kube::client::Body;

use super::*;

fn resource() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&())
}

fn object(name: &str) -> Metadata {
    let mut object: Metadata = serde_json::from_str("{}").unwrap();
    object.metadata.name = Some(name.into());
    object.metadata.namespace = Some("home".into());
    object.metadata.managed_fields = Some(Vec::new());
    object
}

#[tokio::test]
async fn who_hears_of_a_change_finds_it_in_the_store() {
    let (send, events) = mpsc::unbounded();
    let shared = Arc::new(Shared::follow(events, resource()));
    let mut watch = Watch { changes: shared.changes.subscribe(), shared };
    for event in [watcher::Event::Init, watcher::Event::InitApply(object("a")), watcher::Event::InitDone] {
        send.unbounded_send(Ok(event)).unwrap();
    }
    assert_eq!(watch.changed().await, Change::All);
    watch.ready().await;
    assert!(watch.get(Some("home"), "a").is_some_and(|o| o.metadata.managed_fields.as_ref().is_none_or(Vec::is_empty)));
    send.unbounded_send(Ok(watcher::Event::Delete(object("a")))).unwrap();
    assert_eq!(watch.changed().await, Change::Object(ObjectRef::namespaced("", "ConfigMap", "home", "a")));
    assert!(watch.objects().is_empty());
}

#[tokio::test]
async fn a_slow_listener_is_told_that_all_may_have_changed() {
    let (send, events) = mpsc::unbounded();
    let shared = Arc::new(Shared::follow(events, resource()));
    let mut watch = Watch { changes: shared.changes.subscribe(), shared };
    for _ in 0..=BACKLOG {
        send.unbounded_send(Ok(watcher::Event::Apply(object("a")))).unwrap();
    }
    while watch.changes.len() <= BACKLOG {
        tokio::task::yield_now().await;
    }
    assert_eq!(watch.changed().await, Change::All);
}

#[tokio::test]
async fn a_watch_is_shared_and_ends_with_its_last_listener() {
    let (service, _handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let watches = Watches::new(Client::new(service, "default"));
    let first = watches.subscribe(&resource(), None);
    let second = watches.subscribe(&resource(), None);
    let other = watches.subscribe(&resource(), Some("home"));
    assert!(Arc::ptr_eq(&first.shared, &second.shared));
    assert_eq!(watches.count(), 2);
    drop((first, second));
    assert_eq!(watches.count(), 1);
    drop(other);
    assert_eq!(watches.count(), 0);
}
