use insta::assert_yaml_snapshot;

use super::*;
use crate::split::{Parent, Preview};
use crate::testing::{backend, route};

fn split(blue: u8) -> Split {
    let previews = vec![Preview { header: "x-preview".into(), backend: "green".into() }];
    Split::new(vec![backend("blue", blue), backend("green", 100 - blue)], previews, "blue@0a1b2c3d4e").unwrap()
}

#[test]
fn an_apex_service_selects_one_colour() {
    let split = split(100);
    let service = apex_service(&route("app"), &split, split.whole().unwrap(), "2026-11-01T12:00:00Z".parse().unwrap());
    assert_yaml_snapshot!(service);
}

#[test]
fn a_route_keeps_both_colours_and_puts_previews_first() {
    let mut route = route("app");
    route.owner = Some(json!({"apiVersion": "homelab.dev/v1alpha1", "kind": "App", "name": "web", "uid": "u"}));
    let object = http_route(&route, &split(100), "2026-11-01T12:00:00Z".parse().unwrap()).unwrap();
    assert_yaml_snapshot!(planned_from(object, Some("17")));
}

#[test]
fn a_route_without_parents_says_what_to_do() {
    let mut route = route("app");
    route.parents = Vec::<Parent>::new();
    let error = http_route(&route, &split(90), Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(
        error.to_string(),
        "route web has no parents: name the Gateway in routes[].parents, or use mesh: service"
    );
}
