//! In which order kinds are applied, and in which they are taken away.

use homelab_core::meta::ObjectRef;

use crate::render::is_crd;

/// A stage begins when all objects of the one before are applied and usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// CustomResourceDefinitions: served before anything of their kind is written.
    Kinds,
    /// Namespaces: there before anything is written into them.
    Namespaces,
    /// All other objects, by [`rank`].
    Rest,
}

/// A tier begins when all objects of the one before are gone, finalizers and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Apps and GitSyncs: they take down what they made.
    Apps,
    /// Custom resources: their operator must still run to finish them.
    CustomResources,
    /// What Kubernetes itself brings, operators among it.
    Builtin,
    /// CustomResourceDefinitions and Namespaces: they take everything inside with them.
    Containers,
}

/// The stage that an object is applied in.
pub fn stage(reference: &ObjectRef) -> Stage {
    if is_crd(reference) {
        Stage::Kinds
    } else if is_namespace(reference) {
        Stage::Namespaces
    } else {
        Stage::Rest
    }
}

/// The tier that an object is pruned in.
pub fn tier(reference: &ObjectRef) -> Tier {
    if is_crd(reference) || is_namespace(reference) {
        Tier::Containers
    } else if reference.group == "homelab.dev" && matches!(reference.kind.as_str(), "App" | "GitSync") {
        Tier::Apps
    } else if is_builtin_group(&reference.group) {
        Tier::Builtin
    } else {
        Tier::CustomResources
    }
}

/// Place within a stage: what others refer to comes first, what acts on others last.
pub fn rank(reference: &ObjectRef) -> u8 {
    match reference.kind.as_str() {
        "CustomResourceDefinition" | "Namespace" => 0,
        "PriorityClass" | "StorageClass" | "RuntimeClass" | "IngressClass" | "GatewayClass" | "VolumeSnapshotClass" => {
            1
        }
        "ResourceQuota" | "LimitRange" => 2,
        "ServiceAccount" => 3,
        "Role" | "ClusterRole" => 4,
        "RoleBinding" | "ClusterRoleBinding" => 5,
        "NetworkPolicy" => 6,
        "Secret" | "ConfigMap" => 7,
        "PersistentVolume" => 8,
        "PersistentVolumeClaim" => 9,
        "Service" => 10,
        "SecretPolicy" | "ClusterSecretPolicy" => 11,
        "APIService" => 40,
        "App" => 50,
        "GitSync" => 51,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => 60,
        _ if is_builtin_group(&reference.group) => 20,
        _ => 30,
    }
}

/// Whether a person has to agree before an object is pruned: data, or everything inside, would go with it.
pub fn needs_confirmation(reference: &ObjectRef) -> bool {
    is_crd(reference)
        || is_namespace(reference)
        || (reference.group.is_empty() && reference.kind == "PersistentVolumeClaim")
}

/// Whether an object is a Namespace.
pub fn is_namespace(reference: &ObjectRef) -> bool {
    reference.group.is_empty() && reference.kind == "Namespace"
}

fn is_builtin_group(group: &str) -> bool {
    const SHORT: [&str; 4] = ["apps", "batch", "autoscaling", "policy"];
    const LONG: [&str; 16] = [
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    ];
    group.is_empty() || SHORT.contains(&group) || LONG.contains(&group)
}
