//! Desired × live × what we applied → the next actions, and why others wait. Pure and total.
//!
//! A plan holds the actions of one stage only; when they are done, observe and plan again. Nothing is remembered between two
//! plans but [`Applied`], and losing that only means that everything is applied once more, which changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use homelab_core::meta::{ObjectRef, annotation};
use serde::{Deserialize, Serialize};

use crate::inventory::GroupKind;
use crate::order::{self, Stage};

mod fingerprint;

/// One object as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Which.
    pub reference: ObjectRef,
    /// Digest of the stamped manifest.
    pub digest: String,
    /// The kind that it defines, if it is a CustomResourceDefinition.
    pub defines: Option<GroupKind>,
}

/// What tells one state of an object from another, as far as it is ours to care: status updates do not change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// uid: another one is another object.
    pub uid: String,
    /// `g` + generation for kinds that count it, else `v` + resourceVersion.
    pub state: String,
    /// Digest of labels, annotations, finalizers and owners.
    pub metadata: String,
}

/// One object as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its state.
    pub fingerprint: Fingerprint,
    /// resourceVersion to plan a deletion from.
    pub resource_version: String,
    /// Id of the set that it is a member of.
    pub part_of: Option<String>,
    /// It is being deleted.
    pub terminating: bool,
    /// Annotation `homelab.dev/prune`.
    pub prune: Option<String>,
    /// Annotation `homelab.dev/prune-confirmed`.
    pub confirmed: Option<String>,
}

/// What we applied, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Digest of the manifest.
    pub digest: String,
    /// The object right after.
    pub fingerprint: Fingerprint,
}

/// Everything that a plan is made from.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// What should be, or nothing at all if the GitSync is being deleted.
    pub goal: Goal<'a>,
    /// Id of the GitSync's set.
    pub set: &'a str,
    /// `spec.prune`.
    pub prune: bool,
    /// Desired objects and members that exist.
    pub live: &'a BTreeMap<ObjectRef, Live>,
    /// What we applied, as far as we remember.
    pub applied: &'a BTreeMap<ObjectRef, Applied>,
    /// Kinds that the API server does not serve (yet).
    pub unserved: &'a BTreeSet<GroupKind>,
}

/// What a GitSync is after.
#[derive(Clone, Copy, Debug)]
pub enum Goal<'a> {
    /// These objects, and no other members.
    Hold(&'a [Desired]),
    /// No members: the GitSync is being deleted.
    Release,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Server-side apply.
    Apply {
        /// Which object.
        reference: ObjectRef,
        /// Take fields over from others: Git holds this object already, so a foreign change of it is drift.
        force: bool,
    },
    /// Deletion of exactly this object in exactly this state.
    Delete {
        /// Which object.
        reference: ObjectRef,
        /// Its uid.
        uid: String,
        /// Its resourceVersion.
        resource_version: String,
    },
}

/// Why an object is not as Git says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The API server does not know its kind.
    KindUnserved,
    /// It is being deleted; it comes back afterwards.
    Terminating,
    /// It is being pruned.
    Pruning,
    /// An earlier stage is not done.
    Stage,
    /// Another set holds it.
    OwnedBy(String),
    /// Left over: `spec.prune` is off.
    PruneOff,
    /// Left over: its annotation says so.
    PruneNever,
    /// Left over: a person has to agree, by writing this uid.
    Confirm(String),
    /// Left over: the folder is empty, which is more likely a mistake than a wish.
    NothingDesired,
}

impl Reason {
    /// Whether it passes without anybody's change.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::KindUnserved | Self::Terminating | Self::Pruning | Self::Stage)
    }

    /// Whether it is about an object that Git no longer has.
    pub fn is_left_over(&self) -> bool {
        matches!(self, Self::PruneOff | Self::PruneNever | Self::Confirm(_) | Self::NothingDesired)
    }
}

/// Something that is not as Git says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    /// Which object.
    pub reference: ObjectRef,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reference, reason } = self;
        match reason {
            Reason::KindUnserved => write!(
                f,
                "{reference}: the cluster does not know this kind yet; install its operator or CustomResourceDefinition, or correct apiVersion and kind"
            ),
            Reason::Terminating => {
                write!(f, "{reference}: is being deleted; it is made anew when it is gone (finalizers?)")
            }
            Reason::Pruning => write!(f, "{reference}: is no longer in Git and being deleted (finalizers?)"),
            Reason::Stage => write!(f, "{reference}: not usable yet"),
            Reason::OwnedBy(set) => write!(
                f,
                "{reference}: belongs to another set, {set}; remove it from one of the two repositories, or remove its label {}",
                crate::inventory::PART_OF
            ),
            Reason::PruneOff => write!(f, "{reference}: is no longer in Git; spec.prune is false, so it stays"),
            Reason::PruneNever => write!(
                f,
                "{reference}: is no longer in Git; its annotation {} says never, so it stays",
                annotation::PRUNE
            ),
            Reason::Confirm(uid) => write!(
                f,
                "{reference}: is no longer in Git; to delete it for good, annotate it with {}={uid}",
                annotation::PRUNE_CONFIRMED
            ),
            Reason::NothingDesired => write!(
                f,
                "{reference}: the folder in Git is empty; nothing is deleted, delete the GitSync if that is meant"
            ),
        }
    }
}

/// The next actions, and why others wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be done in this order; those of one plan do not depend on each other's success.
    pub actions: Vec<Action>,
    /// What is not as Git says and not in `actions`.
    pub waits: Vec<Wait>,
}

impl Plan {
    /// Whether everything is as Git says, left-over objects aside.
    pub fn is_done(&self) -> bool {
        self.actions.is_empty() && self.waits.iter().all(|wait| wait.reason.is_left_over())
    }
}

/// Makes the next plan.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let desired = match input.goal {
        Goal::Hold(desired) => desired,
        Goal::Release => &[],
    };
    let applied = [Stage::Kinds, Stage::Namespaces, Stage::Rest].into_iter().all(|stage| {
        let before = plan.waits.len();
        apply_stage(input, desired, stage, &mut plan);
        let usable = plan.waits.get(before..).is_none_or(<[Wait]>::is_empty);
        plan.actions.is_empty() && (usable || stage == Stage::Rest)
    });
    // A kind that nobody serves yet may be on its way; it does not keep what is gone from Git in the cluster.
    if applied && plan.waits.iter().all(|wait| wait.reason == Reason::KindUnserved) {
        prune(input, desired, &mut plan);
    }
    plan
}

fn apply_stage(input: &Input<'_>, desired: &[Desired], stage: Stage, plan: &mut Plan) {
    let mut objects: Vec<&Desired> = desired.iter().filter(|object| order::stage(&object.reference) == stage).collect();
    objects.sort_by_key(|object| (order::rank(&object.reference), &object.reference));
    for object in objects {
        match next(input, object) {
            Next::Nothing => {}
            Next::Apply { force } => plan.actions.push(Action::Apply { reference: object.reference.clone(), force }),
            Next::Wait(reason) => plan.waits.push(Wait { reference: object.reference.clone(), reason }),
        }
    }
}

enum Next {
    Nothing,
    Apply { force: bool },
    Wait(Reason),
}

fn next(input: &Input<'_>, object: &Desired) -> Next {
    let Desired { reference, digest, defines } = object;
    if input.unserved.contains(&kind_of(reference)) {
        return Next::Wait(Reason::KindUnserved);
    }
    let Some(live) = input.live.get(reference) else { return Next::Apply { force: false } };
    let applied = input.applied.get(reference).filter(|applied| applied.fingerprint.uid == live.fingerprint.uid);
    match &live.part_of {
        _ if live.terminating => Next::Wait(Reason::Terminating),
        Some(other) if other != input.set => Next::Wait(Reason::OwnedBy(other.clone())),
        None if applied.is_none() => Next::Apply { force: false },
        _ if applied.is_none_or(|applied| applied.digest != *digest || applied.fingerprint != live.fingerprint) => {
            Next::Apply { force: true }
        }
        _ if defines.as_ref().is_some_and(|kind| input.unserved.contains(kind)) => Next::Wait(Reason::Stage),
        _ => Next::Nothing,
    }
}

fn kind_of(reference: &ObjectRef) -> GroupKind {
    GroupKind { group: reference.group.clone(), kind: reference.kind.clone() }
}

fn prune(input: &Input<'_>, desired: &[Desired], plan: &mut Plan) {
    let wanted: BTreeSet<&ObjectRef> = desired.iter().map(|object| &object.reference).collect();
    let is_candidate = |(reference, live): &(&ObjectRef, &Live)| {
        live.part_of.as_deref() == Some(input.set) && !wanted.contains(*reference)
    };
    let mut candidates: Vec<(&ObjectRef, &Live)> = input.live.iter().filter(is_candidate).collect();
    candidates
        .sort_by_key(|(reference, _)| (order::tier(reference), std::cmp::Reverse(order::rank(reference)), *reference));
    let mut current = None;
    for (reference, live) in candidates {
        let mut wait = |reason| plan.waits.push(Wait { reference: reference.clone(), reason });
        if let Some(reason) = guard(input, reference, live) {
            wait(reason);
            continue;
        }
        // What goes in a later tier waits until this one is gone.
        let tier = order::tier(reference);
        if tier != *current.get_or_insert(tier) || live.terminating {
            wait(Reason::Pruning);
            continue;
        }
        plan.actions.push(Action::Delete {
            reference: reference.clone(),
            uid: live.fingerprint.uid.clone(),
            resource_version: live.resource_version.clone(),
        });
    }
}

fn guard(input: &Input<'_>, reference: &ObjectRef, live: &Live) -> Option<Reason> {
    if live.terminating {
        return None;
    }
    let empty = matches!(input.goal, Goal::Hold([]));
    let confirmed = live.confirmed.as_ref() == Some(&live.fingerprint.uid);
    match live.prune.as_deref() {
        _ if !input.prune => Some(Reason::PruneOff),
        _ if empty => Some(Reason::NothingDesired),
        Some("never") => Some(Reason::PruneNever),
        Some("confirm") if !confirmed => Some(Reason::Confirm(live.fingerprint.uid.clone())),
        _ if order::needs_confirmation(reference) && !confirmed => Some(Reason::Confirm(live.fingerprint.uid.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
