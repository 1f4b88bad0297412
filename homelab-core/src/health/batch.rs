//! Jobs.

use serde_json::Value;

use super::{Health, condition, count};

pub(super) fn job(object: &Value) -> Health {
    let holds = |type_| condition(object, type_).filter(|c| c.is("True"));
    if let Some(failed) = holds("Failed") {
        return Health::Failed(failed.text("failed"));
    }
    if holds("Complete").is_some() || holds("Suspended").is_some() {
        return Health::Current;
    }
    match count(object, "active") {
        0 => Health::InProgress("has not started yet".into()),
        active => Health::InProgress(format!("is running ({active} active)")),
    }
}
