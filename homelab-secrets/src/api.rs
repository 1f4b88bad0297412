//! Kinds of this library, group `homelab.dev`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub mod v1alpha1;

/// The definitions of all kinds of this library.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![v1alpha1::SecretPolicy::crd(), v1alpha1::ClusterSecretPolicy::crd()]
}
