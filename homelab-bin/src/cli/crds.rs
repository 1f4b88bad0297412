//! `homelab print-crds`: our kinds, for the chart, for editors and for kubeconform; for editors the form of sealed files, too.
#![expect(clippy::disallowed_methods, reason = "writes the schemas")]

use std::path::Path;

use anyhow::{Context as _, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::args::PrintCrds;
use crate::cli::output;

pub(crate) fn run(args: &PrintCrds) -> Result<()> {
    match &args.schemas {
        None => output::bytes(yaml()?.as_bytes()),
        Some(directory) => schemas(directory),
    }
}

/// All our kinds, by name.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    let mut all = homelab_secrets::api::crds();
    all.extend(homelab_gitops::api::crds());
    all.extend(homelab_rollout::api::crds());
    all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    all
}

fn yaml() -> Result<String> {
    crds().iter().map(|crd| Ok(format!("---\n{}", document(crd)?))).collect()
}

fn document(crd: &CustomResourceDefinition) -> Result<String> {
    Ok(format!("{}\n", serde_saphyr::to_string(crd).context("write YAML")?.trim_end()))
}

fn schemas(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("make directory {}", directory.display()))?;
    for (name, text) in all_schemas()? {
        let file = directory.join(&name);
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

/// File name and text of the schema of each kind, and of sealed files.
fn all_schemas() -> Result<Vec<(String, String)>> {
    let mut all = vec![("sealed_v1.json".to_owned(), homelab_secrets::sealed::schema())];
    for crd in crds() {
        for version in &crd.spec.versions {
            let name = format!("{}_{}.json", crd.spec.names.kind.to_lowercase(), version.name);
            all.push((name, schema(&crd, &version.name)?));
        }
    }
    let text =
        |schema: &Value| anyhow::Ok(format!("{}\n", serde_json::to_string_pretty(schema).context("write JSON")?));
    all.iter().map(|(name, schema)| Ok((name.clone(), text(schema)?))).collect()
}

/// The kind's schema as editors want it: apiVersion and kind fixed, fields that do not exist refused.
fn schema(crd: &CustomResourceDefinition, version: &str) -> Result<Value> {
    let found = crd.spec.versions.iter().find(|v| v.name == version).and_then(|v| v.schema.as_ref());
    let mut schema =
        serde_json::to_value(found.and_then(|s| s.open_api_v3_schema.as_ref())).context("write a schema")?;
    close(&mut schema);
    let kind = &crd.spec.names.kind;
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(kind);
    schema["properties"]["apiVersion"] = json!({"const": format!("{}/{version}", crd.spec.group)});
    schema["properties"]["kind"] = json!({"const": kind});
    schema["properties"]["metadata"] = json!({"type": "object"});
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    Ok(schema)
}

/// Kubernetes prunes unknown fields; an editor should underline them.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let open =
                map.contains_key("additionalProperties") || map.contains_key("x-kubernetes-preserve-unknown-fields");
            if map.get("properties").is_some_and(Value::is_object) && map.get("type") == Some(&json!("object")) && !open
            {
                map.insert("additionalProperties".into(), json!(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_there_once_with_a_schema() {
        let names: Vec<_> = crds().iter().map(|crd| crd.spec.names.kind.clone()).collect();
        assert_eq!(names, ["App", "ClusterSecretPolicy", "GitSync", "SecretPolicy", "SecretSync"]);
        for crd in crds() {
            let schema = schema(&crd, "v1alpha1").expect("a schema");
            assert_eq!(schema["properties"]["spec"]["additionalProperties"], json!(false), "{}", crd.spec.names.kind);
        }
    }

    #[test]
    fn the_schemas_for_editors_are_current() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
        for (name, text) in all_schemas().expect("schemas") {
            let committed = std::fs::read_to_string(directory.join(&name)).unwrap_or_default();
            assert!(text == committed, "docs/schemas/{name} is stale: run `cargo xtask codegen`");
        }
    }

    #[test]
    fn the_chart_has_them() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/homelab/crds");
        for crd in crds() {
            let file = directory.join(format!("{}.yaml", crd.metadata.name.clone().unwrap_or_default()));
            let committed = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                document(&crd).expect("YAML") == committed,
                "{} is stale: run `cargo xtask codegen`",
                file.display()
            );
        }
    }
}
