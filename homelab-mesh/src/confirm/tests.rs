use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::split::Preview;
use crate::testing::{backend, route};

fn pods(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn apex_with(change: impl FnOnce(&mut ApexSeen)) -> String {
    let green = backend("green", 100);
    let mut seen = ApexSeen {
        selector: Some(crate::plan::apex_selector(&green)),
        apex_pods: pods(&["g1", "g2"]),
        backend_pods: pods(&["g1", "g2"]),
        shifted_at: Some(at("2026-11-01T12:00:00Z")),
    };
    change(&mut seen);
    match apex(&route("app"), &green, &seen, Duration::from_secs(2), at("2026-11-01T12:00:02Z")) {
        Confirmation::Pending { waiting_for } => format!("waits for {waiting_for}"),
        Confirmation::Unconfirmed { why } => format!("unconfirmed: {why}"),
        Confirmation::Confirmed { by } => format!("confirmed by {by}"),
    }
}

#[test]
fn a_plain_service_is_in_force_when_its_slices_hold_exactly_the_new_pods_and_time_has_passed() {
    assert_eq!(
        apex_with(|_| {}),
        "unconfirmed: EndpointSlices of Service web hold exactly the 2 ready pods of green; kube-proxy can not be asked"
    );
    assert_eq!(apex_with(|s| s.selector = None), "waits for Service web to exist");
    assert_eq!(
        apex_with(|s| s.selector = Some([("a".to_owned(), "b".to_owned())].into())),
        "waits for the selector of Service web to name green"
    );
    assert_eq!(
        apex_with(|s| s.apex_pods = pods(&["g1", "g2", "b1"])),
        "waits for EndpointSlices of Service web to let go of pod b1"
    );
    assert_eq!(apex_with(|s| s.apex_pods = pods(&["g1"])), "waits for EndpointSlices of Service web to hold pod g2");
    assert_eq!(apex_with(|s| s.backend_pods = pods(&[])), "waits for a ready pod of green behind Service web-green");
    assert_eq!(
        apex_with(|s| s.shifted_at = Some(at("2026-11-01T12:00:01Z"))),
        "waits for 2s for kube-proxy on the nodes to follow"
    );
}

fn split() -> Split {
    let previews = vec![Preview { header: "x-preview".into(), backend: "green".into() }];
    Split::new(vec![backend("blue", 90), backend("green", 10)], previews, "blue@1").unwrap()
}

/// The verdict on our own route with the status conditions given as (type, status, observedGeneration).
fn judged(conditions: &[(&str, &str, Option<i64>)]) -> String {
    let route = route("app");
    let object = crate::plan::http_route(&route, &split(), Timestamp::UNIX_EPOCH).unwrap();
    let spec: HttpRouteSpec = serde_json::from_value(object["spec"].clone()).unwrap();
    let conditions: Vec<_> = conditions
        .iter()
        .map(|(t, s, g)| json!({"type": t, "status": s, "observedGeneration": g, "reason": "R", "message": "m"}))
        .collect();
    // As Linkerd echoes it: another group, no kind.
    let parent = json!({"group": "core", "name": "gw", "namespace": "infra", "sectionName": "https"});
    let status = json!({"parents": [{"parentRef": parent, "controllerName": "c", "conditions": conditions}]});
    let status: RouteStatus = serde_json::from_value(status).unwrap();
    match http_route(&route, &split(), 4, &spec, Some(&status)) {
        Confirmation::Pending { waiting_for } => format!("waits for {waiting_for}"),
        Confirmation::Unconfirmed { why } => format!("unconfirmed: {why}"),
        Confirmation::Confirmed { by } => format!("confirmed by {by}"),
    }
}

#[test]
fn a_route_is_confirmed_when_every_parent_accepted_this_generation() {
    let both = |status, generation| judged(&[("Accepted", "True", generation), ("ResolvedRefs", status, generation)]);
    assert_eq!(both("True", Some(4)), "confirmed by HTTPRoute accepted at generation 4");
    assert_eq!(both("True", Some(3)), "waits for c to see generation 4");
    assert_eq!(both("False", Some(4)), "waits for Gateway infra/gw: ResolvedRefs is not true, R: m");
    assert_eq!(both("True", None), "unconfirmed: c accepts HTTPRoute web but does not say at which generation");
    assert_eq!(judged(&[("Accepted", "True", Some(4))]), "waits for c to say ResolvedRefs for Gateway infra/gw");
}

#[test]
fn a_route_that_holds_other_weights_is_not_in_force() {
    let route = route("app");
    let object = crate::plan::http_route(&route, &split(), Timestamp::UNIX_EPOCH).unwrap();
    let spec: HttpRouteSpec = serde_json::from_value(object["spec"].clone()).unwrap();
    let wish = Split::new(vec![backend("blue", 0), backend("green", 100)], vec![], "blue@1").unwrap();
    assert_eq!(
        http_route(&route, &wish, 4, &spec, None),
        Confirmation::Pending { waiting_for: "HTTPRoute web to hold the weights".into() }
    );
    assert_eq!(
        http_route(&route, &split(), 4, &spec, None),
        Confirmation::Pending { waiting_for: "a controller of Gateway infra/gw to answer for HTTPRoute web".into() }
    );
}
