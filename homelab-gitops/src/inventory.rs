//! What a GitSync holds, as an ApplySet (KEP-3659): kubectl can read it, and it survives the loss of every status.
//!
//! Each member carries the label `part-of` with the id of its set. The parent, the GitSync, carries that id too, the kinds
//! and namespaces in which members may be found, and who manages the set. The parent is widened *before* a kind is used for
//! the first time and narrowed only after the last of its objects is gone, so no crash makes a member invisible.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::source::Owner;

/// Prefix of all names of ApplySets.
pub const PREFIX: &str = "applyset.kubernetes.io/";
/// Label of a parent: its id.
pub const ID: &str = "applyset.kubernetes.io/id";
/// Label of a member: the id of its set.
pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
/// Label of a CustomResourceDefinition whose objects are parents.
pub const IS_PARENT_TYPE: &str = "applyset.kubernetes.io/is-parent-type";
/// Annotation of a parent: who manages the set.
pub const TOOLING: &str = "applyset.kubernetes.io/tooling";
/// Annotation of a parent: `Kind.group` of its members, comma separated.
pub const GROUP_KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
/// Annotation of a parent: other namespaces with members, comma separated.
pub const NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";
/// What we write as [`TOOLING`].
pub const OUR_TOOLING: &str = concat!("homelab/v", env!("CARGO_PKG_VERSION"));

/// A kind without its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKind {
    /// Group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
}

/// The id of a GitSync's set.
pub fn id(owner: &Owner) -> String {
    let digest = Sha256::digest(format!("{}.{}.GitSync.homelab.dev", owner.name, owner.namespace));
    format!("applyset-{}-v1", URL_SAFE_NO_PAD.encode(digest))
}

/// Where members may be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Their kinds.
    pub kinds: BTreeSet<GroupKind>,
    /// Their namespaces, without the GitSync's own.
    pub namespaces: BTreeSet<String>,
}

impl Extent {
    /// Reads the annotations of a parent.
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        let list = |key: &str| {
            annotations.get(key).map(String::as_str).unwrap_or_default().split(',').filter(|part| !part.is_empty())
        };
        let kinds = list(GROUP_KINDS).map(|text| {
            let (kind, group) = text.split_once('.').unwrap_or((text, ""));
            GroupKind { group: group.into(), kind: kind.into() }
        });
        Self { kinds: kinds.collect(), namespaces: list(NAMESPACES).map(Into::into).collect() }
    }

    /// The extent of some objects.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a homelab_core::meta::ObjectRef>, owner: &Owner) -> Self {
        let mut extent = Self::default();
        for object in objects {
            extent.kinds.insert(GroupKind { group: object.group.clone(), kind: object.kind.clone() });
            extent.namespaces.extend(object.namespace.clone().filter(|namespace| *namespace != owner.namespace));
        }
        extent
    }

    /// This and the other.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self { kinds: &self.kinds | &other.kinds, namespaces: &self.namespaces | &other.namespaces }
    }

    /// The annotations of a parent.
    pub fn annotations(&self) -> BTreeMap<&'static str, String> {
        let kinds = self.kinds.iter().map(|GroupKind { group, kind }| match group.as_str() {
            "" => kind.clone(),
            group => format!("{kind}.{group}"),
        });
        let namespaces: Vec<&str> = self.namespaces.iter().map(String::as_str).collect();
        BTreeMap::from([
            (TOOLING, OUR_TOOLING.into()),
            (GROUP_KINDS, kinds.collect::<Vec<_>>().join(",")),
            (NAMESPACES, namespaces.join(",")),
        ])
    }
}

/// Whether we may manage a set with these annotations: it is new, or managed by some version of ours.
pub fn is_ours(annotations: &BTreeMap<String, String>) -> Result<(), &str> {
    match annotations.get(TOOLING) {
        Some(tooling) if !tooling.starts_with("homelab/") => Err(tooling),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
