//! Kinds of this library, group `homelab.dev`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub mod v1alpha1;

/// The definitions of all kinds of this library.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![v1alpha1::SecretPolicy::crd(), v1alpha1::ClusterSecretPolicy::crd(), v1alpha1::SecretSync::crd()]
}

#[cfg(test)]
mod tests {
    #[test]
    fn kinds_are_named_and_their_conditions_merge_by_type() {
        let crds: Vec<_> = super::crds().into_iter().map(|crd| serde_json::to_value(crd).unwrap()).collect();
        let names: Vec<_> = crds.iter().map(|crd| crd["spec"]["names"]["shortNames"][0].as_str().unwrap()).collect();
        assert_eq!(names, ["secpol", "csecpol", "ssync"]);
        for crd in &crds {
            assert_eq!(crd["spec"]["names"]["categories"], serde_json::json!(["homelab"]));
            let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
            assert_eq!(schema["status"]["properties"]["conditions"]["x-kubernetes-list-map-keys"][0], "type");
            if names.last().is_some_and(|sync| crd["spec"]["names"]["shortNames"][0] == *sync) {
                let spec = &schema["spec"];
                assert!(
                    spec["x-kubernetes-validations"].is_array() && spec["properties"]["refresh"]["default"] == "1h"
                );
                continue;
            }
            let rule = &schema["spec"]["properties"]["rules"]["items"];
            assert!(
                rule["x-kubernetes-validations"].is_array() && rule["properties"]["paths"]["description"].is_string()
            );
        }
    }
}
