//! What has to be written. Pure.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homelab_core::meta::{GROUP, VERSION, label, manager};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::live::OPAQUE;
use super::{Content, Live, Problem};
use crate::api::v1alpha1::{Deletion, TargetSecret};

/// Programs that write what they own again at once, even where they do not apply server-side.
const KEEPERS: [&str; 8] = [
    manager::GITOPS,
    manager::ROLLOUT,
    "helm",
    "argocd-controller",
    "kustomize-controller",
    "helm-controller",
    "externalsecrets.external-secrets.io",
    "sealed-secrets-controller",
];

/// The SecretSync, as far as the plan needs it.
#[derive(Clone, Debug)]
pub struct Owner<'a> {
    /// Namespace of it and of the Secret.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// When it was made.
    pub created: Timestamp,
}

/// Another SecretSync of the namespace that names the same Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
}

/// A Secret that was made for this SecretSync under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that was seen.
    pub resource_version: String,
}

/// Everything that a plan is made from.
#[derive(Debug)]
pub struct Input<'a> {
    /// Whose plan it is.
    pub owner: Owner<'a>,
    /// Name of the Secret.
    pub name: &'a str,
    /// Type, labels, annotations.
    pub target: &'a TargetSecret,
    /// What becomes of a Secret that is no longer wanted.
    pub deletion: Deletion,
    /// What the Secret has to hold.
    pub content: &'a Content,
    /// The Secret as it is.
    pub live: Option<&'a Live>,
    /// Who else names it.
    pub rivals: &'a [Rival],
    /// What was left behind.
    pub strays: &'a [Stray],
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Server-side apply of the Secret, from the version that was seen (none: there was none).
    Apply {
        /// The version.
        resource_version: Option<String>,
        /// Take fields back that somebody edited by hand: see [`may_take_back`].
        take_back: bool,
    },
    /// Deletion of exactly this Secret.
    Delete(Stray),
}

/// Compares. In order: what a later action needs, an earlier one has done.
pub fn plan(input: &Input<'_>) -> Result<Vec<Action>, Problem> {
    let mut actions = Vec::new();
    match input.live {
        None => {
            first_of_rivals(input)?;
            actions.push(Action::Apply { resource_version: None, take_back: false });
        }
        Some(live) => {
            is_ours(input, live)?;
            if live.terminating {
                let message = format!("{} is being deleted; it is made anew afterwards", label_of(input));
                return Err(Problem::passing("Terminating", message));
            }
            if differs(input, live) {
                may_change(input, live)?;
                let resource_version = Some(live.resource_version.clone());
                // What was never applied by us was only handed over: its owners are asked, not overruled.
                actions.push(Action::Apply { resource_version, take_back: live.was_applied });
            }
        }
    }
    if input.deletion == Deletion::Delete {
        actions.extend(input.strays.iter().cloned().map(Action::Delete));
    }
    Ok(actions)
}

/// Whether a conflict with these managers is an edit to be undone, and not the work of another program.
pub fn may_take_back(managers: &BTreeSet<&str>, appliers: &BTreeSet<String>) -> bool {
    managers.iter().all(|manager| !appliers.contains(*manager) && !KEEPERS.contains(manager))
}

/// The Secret as it is applied.
pub fn manifest(input: &Input<'_>) -> Value {
    let data: Map<String, Value> =
        input.content.data.iter().map(|(key, value)| (key.clone(), STANDARD.encode(value.as_slice()).into())).collect();
    let mut metadata = json!({
        "name": input.name,
        "namespace": input.owner.namespace,
        "labels": labels(input),
    });
    if !input.target.annotations.is_empty() {
        metadata["annotations"] = json!(input.target.annotations);
    }
    if input.deletion == Deletion::Delete {
        // Without blockOwnerDeletion: that would ask for rights on SecretSyncs.
        metadata["ownerReferences"] = json!([{
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "SecretSync",
            "name": input.owner.name, "uid": input.owner.uid, "controller": true,
        }]);
    }
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": type_of(input), "data": data})
}

fn labels(input: &Input<'_>) -> BTreeMap<String, String> {
    let mut labels = input.target.labels.clone();
    labels.insert(label::SECRET_SYNC.into(), input.owner.name.into());
    labels.entry(label::MANAGED_BY.into()).or_insert_with(|| label::MANAGED_BY_US.into());
    labels
}

fn type_of<'a>(input: &Input<'a>) -> &'a str {
    input.target.type_.as_deref().unwrap_or(OPAQUE)
}

fn label_of(input: &Input<'_>) -> String {
    format!("Secret {}/{}", input.owner.namespace, input.name)
}

/// Where there is no Secret yet, the SecretSync that was made first makes it.
fn first_of_rivals(input: &Input<'_>) -> Result<(), Problem> {
    let own = (input.owner.created, input.owner.name);
    match input
        .rivals
        .iter()
        .filter(|rival| (rival.created, rival.name.as_str()) < own)
        .min_by_key(|rival| rival.created)
    {
        Some(first) => Err(taken(input, &first.name)),
        None => Ok(()),
    }
}

fn is_ours(input: &Input<'_>, live: &Live) -> Result<(), Problem> {
    let name = input.owner.name;
    if live.sync() == Some(name) || live.owners.contains(input.owner.uid) {
        return Ok(());
    }
    if let Some(rival) = live.sync().and_then(|other| input.rivals.iter().find(|rival| rival.name == other)) {
        return Err(taken(input, &rival.name));
    }
    let namespace = input.owner.namespace;
    Err(Problem::stalled(
        "NotOurs",
        format!(
            "{} exists and was not made for this SecretSync, so it stays as it is: give spec.target.name another name, delete \
             the Secret, or hand it over with `kubectl label secret {} -n {namespace} --overwrite {}={name}`",
            label_of(input),
            input.name,
            label::SECRET_SYNC
        ),
    ))
}

fn taken(input: &Input<'_>, other: &str) -> Problem {
    Problem::stalled(
        "TargetTaken",
        format!(
            "{} is kept by SecretSync {}/{other}: give one of the two another spec.target.name",
            label_of(input),
            input.owner.namespace
        ),
    )
}

/// What Kubernetes lets nobody change.
fn may_change(input: &Input<'_>, live: &Live) -> Result<(), Problem> {
    let what = label_of(input);
    let again =
        format!("delete it (`kubectl delete secret {} -n {}`), and it is made anew", input.name, input.owner.namespace);
    if live.type_ != type_of(input) {
        let message = format!(
            "{what} has type {}, not {}, and Kubernetes lets nobody change that: {again}",
            live.type_,
            type_of(input)
        );
        return Err(Problem::stalled("TypeDiffers", message));
    }
    if live.immutable {
        let message = format!("{what} is immutable and does not hold what it should: {again}");
        return Err(Problem::stalled("Immutable", message));
    }
    Ok(())
}

fn differs(input: &Input<'_>, live: &Live) -> bool {
    let owned = input.deletion == Deletion::Delete;
    live.type_ != type_of(input)
        || map_differs(&input.content.data, &live.data, &live.applied.data)
        || map_differs(&labels(input), &live.labels, &live.applied.labels)
        || map_differs(&input.target.annotations, &live.annotations, &live.applied.annotations)
        || owned != live.owners.contains(input.owner.uid)
}

/// A wished key is missing or other, or one that we once applied is no longer wished. What others added is theirs.
fn map_differs<V: PartialEq>(
    wish: &BTreeMap<String, V>,
    live: &BTreeMap<String, V>,
    applied: &BTreeSet<String>,
) -> bool {
    wish.iter().any(|(key, value)| live.get(key) != Some(value))
        || applied.iter().any(|key| !wish.contains_key(key) && live.contains_key(key))
}
