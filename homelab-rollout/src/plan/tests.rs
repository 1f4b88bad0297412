//! Tables, goldens and a state machine with crashes between any two writes.

use serde_json::json;

use super::*;
use crate::api::v1alpha1::AppSpec;

mod model;
mod property;
mod table;

fn parse(spec: serde_json::Value) -> Spec {
    let spec: AppSpec = serde_json::from_value(spec).unwrap();
    Spec::try_from(&spec).unwrap()
}

fn blue_green(steps: &[u8], gates: serde_json::Value) -> Spec {
    parse(json!({
        "helm": {"chart": "./charts/web"},
        "routes": [{"port": "http"}],
        "strategy": {"blueGreen": {"steps": steps, "keepWarm": "1h", "preview": {"header": "x-preview"}}},
        "gates": gates,
    }))
}

fn rolling(gates: serde_json::Value) -> Spec {
    parse(json!({"helm": {"chart": "./charts/web"}, "gates": gates}))
}

/// `homelab app explain -o case` writes such files: what was seen, and when. The plan is committed beside it.
#[test]
fn cases() {
    for (name, text) in [
        ("next_step", include_str!("tests/cases/next_step.json")),
        ("green_dies_under_traffic", include_str!("tests/cases/green_dies_under_traffic.json")),
        ("superseded_under_traffic", include_str!("tests/cases/superseded_under_traffic.json")),
        ("foreign_edit", include_str!("tests/cases/foreign_edit.json")),
        ("active_deployment_deleted", include_str!("tests/cases/active_deployment_deleted.json")),
    ] {
        let case: serde_json::Value = serde_json::from_str(text).unwrap();
        let observed: Observed = serde_json::from_value(case["observed"].clone()).unwrap();
        let now = serde_json::from_value(case["now"].clone()).unwrap();
        insta::assert_yaml_snapshot!(name, plan(&parse(case["spec"].clone()), &observed, now));
    }
}
