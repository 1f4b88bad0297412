use super::crds;

/// The API server takes only structural schemas, and Argo CD wants no defaults inside lists.
#[test]
fn the_definition_is_what_people_get() {
    let [crd] = <[_; 1]>::try_from(crds()).unwrap();
    assert_eq!(crd.metadata.name.as_deref(), Some("apps.homelab.dev"));
    assert_eq!(crd.spec.names.categories.as_deref(), Some(&["homelab".to_owned()][..]));
    let json = serde_json::to_value(&crd).unwrap();
    let spec = json.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
    assert!(!spec.to_string().contains("\"default\":"), "no defaults in the spec");
    let columns = json.pointer("/spec/versions/0/additionalPrinterColumns").unwrap().as_array().unwrap();
    let names: Vec<_> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Ready", "Active", "Revision", "Phase", "Status", "Age"]);
    assert_eq!(json.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/helm/properties/values/x-kubernetes-preserve-unknown-fields"), Some(&true.into()));
    undocumented(spec, "spec");
}

fn undocumented(schema: &serde_json::Value, path: &str) {
    assert!(schema.get("description").is_some(), "{path} has no description");
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        undocumented(field, &format!("{path}.{name}"));
    }
}
