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
