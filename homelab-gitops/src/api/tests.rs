use super::*;

#[test]
fn the_definition_is_complete() {
    let crds = crds();
    let schema = serde_json::to_value(&crds[0]).unwrap();
    insta::assert_yaml_snapshot!(schema);
}

#[test]
fn a_short_spec_gets_the_documented_defaults() {
    let spec: v1alpha1::GitSyncSpec =
        serde_json::from_value(serde_json::json!({"url": "https://git.home/me/home.git"})).unwrap();
    assert_eq!((spec.path.as_str(), spec.interval.as_str(), spec.timeout.as_str()), (".", "1m", "5m"));
    assert_eq!((spec.service_account.as_str(), spec.prune, spec.suspend), ("default", false, false));
}
