use super::*;
use homelab_core::meta::ObjectRef;

fn owner() -> Owner {
    Owner { namespace: "infra".into(), name: "home".into() }
}

#[test]
fn the_id_follows_the_enhancement_proposal() {
    // base64url(sha256("home.infra.GitSync.homelab.dev")) without padding, by coreutils.
    insta::assert_snapshot!(id(&owner()), @"applyset-Y-6XlJHTxZz5xVEZNrgfWJWxWiQFJrYP0JMr892Cqv4-v1");
}

#[test]
fn an_extent_survives_its_annotations() {
    let objects = [
        ObjectRef::namespaced("apps", "Deployment", "web", "api"),
        ObjectRef::namespaced("", "ConfigMap", "infra", "settings"),
        ObjectRef::cluster("", "Namespace", "web"),
    ];
    let extent = Extent::of(&objects, &owner());
    let annotations: BTreeMap<String, String> = extent.annotations().into_iter().map(|(k, v)| (k.into(), v)).collect();
    assert_eq!(annotations[GROUP_KINDS], "ConfigMap,Namespace,Deployment.apps");
    assert_eq!(annotations[NAMESPACES], "web");
    assert_eq!(Extent::read(&annotations), extent);
    assert_eq!(is_ours(&annotations), Ok(()));
    assert_eq!(is_ours(&BTreeMap::from([(TOOLING.to_owned(), "kubectl/v1.37.1".to_owned())])), Err("kubectl/v1.37.1"));
}
