//! What a GitSync adds to everything that it applies. Only the daemon may say these things, so whatever Git says is replaced.

use std::collections::BTreeMap;

use homelab_core::meta::{Account, annotation};
use serde_json::{Map, Value};

use super::{Problem, Rendered};
use crate::inventory;
use crate::source::{Owner, RepoPath, TreeId};

/// What to stamp.
#[derive(Clone, Debug)]
pub struct Stamps<'a> {
    /// The GitSync.
    pub owner: &'a Owner,
    /// In whose name its objects are applied, and run.
    pub account: &'a Account,
    /// Tree ids of the chart folders that the commit has.
    pub trees: &'a BTreeMap<RepoPath, TreeId>,
}

/// Stamps every object: member label, account, and on Apps with a relative chart the tree id of its folder.
pub fn stamp(rendered: &mut Rendered, stamps: &Stamps<'_>) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    let set = inventory::id(stamps.owner);
    for manifest in &mut rendered.manifests {
        let tree = manifest.chart.as_ref().map(|folder| (folder, stamps.trees.get(folder)));
        if let Some((folder, None)) = tree {
            let message = format!(
                "{}: spec.helm.chart names folder {folder}, which is not in the repository",
                manifest.reference
            );
            problems.push(Problem { origin: manifest.origin.clone(), message });
        }
        let source = tree.and_then(|(_, tree)| tree).map(|tree| format!("{}@{tree}", stamps.owner));
        let Some(metadata) = manifest.object.get_mut("metadata").and_then(Value::as_object_mut) else {
            let message = format!("{}: metadata is no object", manifest.reference);
            problems.push(Problem { origin: manifest.origin.clone(), message });
            continue;
        };
        let mut labels = take(metadata, "labels");
        labels.retain(|key, _| !key.starts_with(inventory::PREFIX));
        labels.insert(inventory::PART_OF.into(), set.clone().into());
        metadata.insert("labels".into(), labels.into());

        let mut annotations = take(metadata, "annotations");
        let reserved = [annotation::PRUNE_CONFIRMED, annotation::SOURCE, annotation::ACCOUNT];
        annotations.retain(|key, _| !key.starts_with(inventory::PREFIX) && !reserved.contains(&key.as_str()));
        annotations.insert(annotation::ACCOUNT.into(), stamps.account.to_string().into());
        annotations.extend(source.map(|source| (annotation::SOURCE.to_owned(), source.into())));
        metadata.insert("annotations".into(), annotations.into());
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn take(fields: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match fields.remove(key) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}
