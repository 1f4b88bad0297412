//! The kind that this library owns.

pub mod v1alpha1;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The CustomResourceDefinitions of this library.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crd = v1alpha1::GitSync::crd();
    // KEP-3659: a kind whose objects are parents of an ApplySet says so on its CRD.
    crd.metadata.labels.get_or_insert_default().insert(crate::inventory::IS_PARENT_TYPE.into(), "true".into());
    vec![crd]
}

#[cfg(test)]
mod tests;
