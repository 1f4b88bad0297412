//! Kinds of this library.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

#[expect(unreachable_pub, reason = "KubeSchema repeats each struct inside a function")]
pub mod v1alpha1;

/// The definitions of all kinds of this library.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![v1alpha1::App::crd()]
}

#[cfg(test)]
mod tests;
