use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

fn app() -> ObjectReference {
    serde_json::from_value(json!({"kind": "App", "namespace": "home", "name": "web", "uid": "u"})).unwrap()
}

#[tokio::test]
async fn an_event_is_sent_once_and_a_failure_is_swallowed() {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let events = Events::new(Client::new(service, "default"), "homelab-rollout", "host-1");
    let server = tokio::spawn(async move {
        let (request, send) = handle.next_request().await.unwrap();
        let path = request.uri().path().to_owned();
        let body: Value = serde_json::from_slice(&request.into_body().collect_bytes().await.unwrap()).unwrap();
        send.send_error("away");
        (path, body, handle)
    });
    for _ in 0..2 {
        events.emit(&app(), EventType::Warning, "GateFailed", "Gate", "smoke answered 503").await;
    }
    let (path, body, _handle) = server.await.unwrap();
    assert_eq!(path, "/apis/events.k8s.io/v1/namespaces/home/events");
    assert_eq!(
        (&body["type"], &body["note"], &body["regarding"]["uid"]),
        (&json!("Warning"), &json!("smoke answered 503"), &json!("u"))
    );
}

#[tokio::test]
async fn another_note_is_another_event_and_quiet_ends() {
    let (service, _handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let events = Events::new(Client::new(service, "default"), "c", "i");
    let now = Instant::now();
    let key = |note| key(&app(), EventType::Normal, "R", "A", note);
    assert!(events.is_new(key("a"), now));
    assert!(!events.is_new(key("a"), now + Duration::from_secs(1)));
    assert!(events.is_new(key("b"), now));
    assert!(events.is_new(key("a"), now + QUIET + Duration::from_secs(2)));
}

#[test]
fn a_note_is_cut_between_characters() {
    assert_eq!(cut("aäö", 4), "aä");
    assert_eq!(cut("short", 1024), "short");
}
