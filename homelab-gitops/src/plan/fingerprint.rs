//! Fingerprints of live objects. Pure.

use std::collections::BTreeMap;

use homelab_core::meta::annotation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Fingerprint, Live};
use crate::inventory;

impl Fingerprint {
    /// The fingerprint of a live object; of its labels and annotations only those count that `wanted` sets.
    pub fn of(live: &ObjectMeta, wanted: Option<&Value>) -> Self {
        let state = match live.generation {
            Some(generation) if generation > 0 => format!("g{generation}"),
            _ => format!("v{}", live.resource_version.as_deref().unwrap_or_default()),
        };
        let mut hash = Sha256::new();
        for (field, values) in [("labels", &live.labels), ("annotations", &live.annotations)] {
            let wanted = wanted.and_then(|object| object.pointer("/metadata")?.get(field)?.as_object());
            for key in wanted.into_iter().flat_map(|map| map.keys()) {
                let value = values.as_ref().and_then(|values| values.get(key));
                hash.update(format!("{field} {key:?} {value:?}\n"));
            }
        }
        let metadata = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { uid: live.uid.clone().unwrap_or_default(), state, metadata }
    }
}

impl Live {
    /// What the planner sees of a live object.
    pub fn of(live: &ObjectMeta, wanted: Option<&Value>) -> Self {
        let text =
            |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().and_then(|map| map.get(key)).cloned();
        Self {
            fingerprint: Fingerprint::of(live, wanted),
            resource_version: live.resource_version.clone().unwrap_or_default(),
            part_of: text(&live.labels, inventory::PART_OF),
            terminating: live.deletion_timestamp.is_some(),
            prune: text(&live.annotations, annotation::PRUNE),
            confirmed: text(&live.annotations, annotation::PRUNE_CONFIRMED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_counts() {
        let wanted = serde_json::json!({"metadata": {"labels": {"a": "1"}}});
        let labels =
            |pairs: &[(&str, &str)]| Some(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        let live = ObjectMeta {
            generation: Some(3),
            resource_version: Some("7".into()),
            labels: labels(&[("a", "1")]),
            ..ObjectMeta::default()
        };
        let before = Fingerprint::of(&live, Some(&wanted));
        let foreign = ObjectMeta {
            resource_version: Some("8".into()),
            labels: labels(&[("a", "1"), ("b", "2")]),
            ..live.clone()
        };
        assert_eq!(Fingerprint::of(&foreign, Some(&wanted)), before);
        let ours = ObjectMeta { labels: labels(&[("a", "2")]), ..live.clone() };
        assert_ne!(Fingerprint::of(&ours, Some(&wanted)), before);
        let unversioned = ObjectMeta { generation: None, ..live };
        assert_eq!(Fingerprint::of(&unversioned, None).state, "v7");
    }
}
