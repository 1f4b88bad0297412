//! What to make of a refusal. Pure.

use homelab_core::class::Class;
use homelab_core::meta::{ObjectRef, manager};

/// Who keeps the fields that he owns, though Git holds the object: other programs that would set them again at once.
const KEEPERS: [&str; 10] = [
    manager::ROLLOUT,
    manager::MESH,
    manager::SECRETS,
    "kube-controller-manager",
    "keda-operator",
    "argocd-controller",
    "kustomize-controller",
    "helm-controller",
    "helm",
    "vpa-updater",
];

/// Whether a foreign change is drift to be undone, rather than the work of another program.
pub(super) fn may_take(fields: &[(String, String)]) -> bool {
    fields.iter().all(|(manager, _)| !KEEPERS.contains(&manager.as_str()))
}

/// Names the other owners, and what to do.
pub(super) fn describe(fields: &[(String, String)]) -> String {
    let each: Vec<String> = fields.iter().map(|(manager, field)| format!("{field} belongs to {manager}")).collect();
    format!("{}; remove the field from Git, or let that program give it up", each.join(", "))
}

/// The class of a refusal and what to say of it. A Secret's values never get into a message.
pub(super) fn judge(reference: &ObjectRef, class: Class, said: &str) -> (Class, String) {
    let mut said = said.to_owned();
    if reference.group.is_empty()
        && reference.kind == "Secret"
        && let Some(at) = ["got &value", "Invalid value:", "unable to decode", "cannot unmarshal"]
            .iter()
            .filter_map(|mark| said.find(mark))
            .min()
    {
        said.truncate(at);
        said.push_str("(value not shown)");
    }
    let unknown = said.contains("field not declared in schema") || said.contains("unknown field");
    // The API server answers 500 to a field that its schema does not have.
    if unknown || said.contains("failed to create typed patch object") {
        let advice =
            if unknown { "; remove the field, or correct its name or place" } else { "; correct the field's type" };
        return (Class::Invalid, format!("{said}{advice}"));
    }
    if said.contains("field is immutable") {
        return (Class::Invalid, format!("{said}; delete the object, or give it another name in Git"));
    }
    if said.contains("namespaces \"") && said.contains("not found") {
        return (Class::NotFound, format!("{said}; put the Namespace into Git, or make it"));
    }
    (class, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_overruled_and_programs_are_not() {
        let by = |manager: &str| vec![(manager.to_owned(), ".spec.replicas".to_owned())];
        assert!(may_take(&by("kubectl-edit")));
        assert!(!may_take(&by("kube-controller-manager")));
        assert_eq!(
            describe(&by("helm")),
            ".spec.replicas belongs to helm; remove the field from Git, or let that program give it up"
        );
    }

    #[test]
    fn refusals_are_judged_by_what_is_said() {
        let deployment = ObjectRef::namespaced("apps", "Deployment", "web", "api");
        let (class, said) = judge(
            &deployment,
            Class::Retry,
            "failed to create typed patch object (web/api; apps/v1, Kind=Deployment): .spec.replica: field not declared in schema",
        );
        assert_eq!(class, Class::Invalid);
        assert!(said.ends_with("remove the field, or correct its name or place"), "{said}");
        let secret = ObjectRef::namespaced("", "Secret", "web", "db");
        let (_, said) = judge(
            &secret,
            Class::Retry,
            "failed to create typed patch object: .stringData.pin: expected string, got &value.valueUnstructured{Value:4711}",
        );
        assert!(!said.contains("4711"), "{said}");
    }
}
