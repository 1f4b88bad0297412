//! A commit's objects, stamped and ready to be compared and written. Pure.

use homelab_core::meta::ObjectRef;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::inventory::GroupKind;
use crate::plan::Desired;
use crate::render::{Origin, Rendered, is_crd};
use crate::source::CommitId;

/// One object to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What the planner sees of it.
    pub wish: Desired,
    /// The whole of it.
    pub object: Value,
    /// Where it is written in Git.
    pub origin: Origin,
}

impl Item {
    /// `apiVersion` as written.
    pub fn api_version(&self) -> &str {
        self.object.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
    }

    /// Which object.
    pub fn reference(&self) -> &ObjectRef {
        &self.wish.reference
    }

    /// Where it is written and which it is, for messages.
    pub fn label(&self) -> String {
        format!("{}: {}", self.origin, self.wish.reference)
    }
}

/// All objects of a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredSet {
    /// The commit.
    pub revision: CommitId,
    /// Its objects.
    pub items: Vec<Item>,
    /// Files without any.
    pub skipped: u32,
}

impl DesiredSet {
    /// The objects of a settled and stamped rendering.
    pub fn new(revision: CommitId, rendered: Rendered) -> Self {
        let items = rendered.manifests.into_iter().map(|manifest| {
            let defines = defines(&manifest.reference, &manifest.object);
            let wish = Desired { reference: manifest.reference, digest: digest(&manifest.object), defines };
            Item { wish, object: manifest.object, origin: manifest.origin }
        });
        Self { revision, items: items.collect(), skipped: rendered.skipped }
    }

    /// What the planner sees.
    pub fn wishes(&self) -> Vec<Desired> {
        self.items.iter().map(|item| item.wish.clone()).collect()
    }

    /// One object.
    pub fn get(&self, reference: &ObjectRef) -> Option<&Item> {
        self.items.iter().find(|item| item.wish.reference == *reference)
    }
}

fn defines(reference: &ObjectRef, object: &Value) -> Option<GroupKind> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    is_crd(reference)
        .then(|| Some(GroupKind { group: text("/spec/group")?, kind: text("/spec/names/kind")? }))
        .flatten()
}

fn digest(object: &Value) -> String {
    Sha256::digest(object.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}
