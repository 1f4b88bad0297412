//! A cluster that does what it is told, and breaks when it is told to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::super::observed::*;
use super::super::*;
use crate::api::v1alpha1::RequestStatus;
use crate::deployer::{Release, ReleaseStatus, ServiceInfo, SlotState};
use crate::ports::{TrafficCapabilities, TrafficConfirmation};
use crate::request::{Request, Verb};

pub(super) struct Cluster {
    pub(super) spec: Spec,
    pub(super) observed: Observed,
    pub(super) now: Timestamp,
    /// Pods of these revisions never become ready.
    pub(super) sick: BTreeSet<String>,
    /// Gates say no to these revisions.
    pub(super) rejected: BTreeSet<String>,
    /// Helm fails for these revisions.
    pub(super) unrenderable: BTreeSet<String>,
    pub(super) writes: Vec<String>,
    requests: u32,
}

impl Cluster {
    pub(super) fn new(spec: Spec, weights: bool) -> Self {
        let mut observed = Observed::default();
        observed.app.name = "web".into();
        observed.wanted = Wanted::Revision { id: "r0".into() };
        observed.route.capabilities = Some(TrafficCapabilities { weights, preview_header: weights });
        let now = "2026-11-01T00:00:00Z".parse().unwrap();
        Self {
            spec,
            observed,
            now,
            sick: BTreeSet::new(),
            rejected: BTreeSet::new(),
            unrenderable: BTreeSet::new(),
            writes: Vec::new(),
            requests: 0,
        }
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&self.spec, &self.observed, self.now)
    }

    /// One round of the controller; a crash leaves only the first `upto` actions done.
    pub(super) fn round(&mut self, upto: usize) -> Plan {
        let planned = self.plan();
        let before = self.observed.clone();
        for action in planned.actions.iter().take(upto) {
            self.check(&before, action);
            self.apply(action);
        }
        if let Some(answer) = planned.report.answer.clone().filter(|_| upto >= planned.actions.len()) {
            self.observed.answered = Some(answer);
        }
        self.settle();
        planned
    }

    /// A version of a secret that a revision was made with is destroyed.
    pub(super) fn destroy_secret_of(&mut self, id: &str) {
        self.kept(id).gone = Some("secret kv/web/db v1 destroyed".into());
    }

    /// A secret whose earlier value is dead has a new one.
    pub(super) fn cut(&mut self) {
        *self.observed.newest.entry("kv/web/db".into()).or_insert(0) += 1;
    }

    /// A deployment is refused before the engine writes anything, as by an API server that says no.
    pub(super) fn refuse(&mut self, slot: Slot) {
        self.observed.trouble = Some(Trouble {
            slot: Some(slot),
            revision: None,
            kind: TroubleKind::Blocked,
            message: "nothing was written".into(),
        });
    }

    /// Slots that run with a dead value.
    pub(super) fn stale(&self) -> Vec<Slot> {
        let newest = &self.observed.newest;
        let runs = |release: &Release| release.status == ReleaseStatus::Deployed && !release.idle;
        let stale = |facts: &SlotFacts| {
            let carried = |path| facts.state.secrets.get(path).copied().unwrap_or(u64::MAX);
            newest.iter().any(|(path, version)| carried(path) < *version)
        };
        let running = self.observed.slots.iter().filter(|(_, facts)| facts.state.release.as_ref().is_some_and(runs));
        running.filter(|(_, facts)| stale(facts)).map(|(slot, _)| *slot).collect()
    }

    pub(super) fn want(&mut self, id: &str) {
        self.observed.wanted = Wanted::Revision { id: id.into() };
    }

    pub(super) fn ask(&mut self, verb: Verb, revision: Option<String>) {
        self.requests += 1;
        let id = self.requests.to_string();
        self.observed.request =
            Some(RequestFacts::Asked(Request { id, verb, revision, by: "me".into(), reason: String::new() }));
    }

    pub(super) fn answer(&self) -> &RequestStatus {
        self.observed.answered.as_ref().expect("an answer")
    }

    pub(super) fn tick(&mut self, seconds: u64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(i64::try_from(seconds).unwrap())).unwrap();
        self.settle();
    }

    /// Somebody deletes the Deployment of a slot.
    pub(super) fn lose(&mut self, slot: Slot) {
        if let Some(facts) = self.observed.slots.get_mut(&slot)
            && facts.state.release.as_ref().is_some_and(|release| release.status == ReleaseStatus::Deployed)
        {
            facts.state.drift = vec!["Deployment/web".into()];
        }
        self.settle();
    }

    /// Rounds until nothing is to be done any more, also much later.
    pub(super) fn converge(&mut self) {
        for _ in 0..300 {
            let planned = self.round(usize::MAX);
            if planned.actions.is_empty() {
                let before = self.now;
                self.tick(planned.requeue.as_secs().max(1));
                if self.plan().actions.is_empty() {
                    self.tick(4000);
                    if self.plan().actions.is_empty() {
                        return;
                    }
                    self.now = before.max(self.now);
                }
            }
        }
        panic!("no end: {:#?}", self.writes.iter().rev().take(12).collect::<Vec<_>>());
    }

    fn kept(&mut self, id: &str) -> &mut Kept {
        self.observed.revisions.iter_mut().find(|kept| kept.id == id).expect("only kept revisions are marked")
    }

    fn release_of(&self, slot: Slot) -> Option<&Release> {
        self.observed.slots.get(&slot)?.state.release.as_ref()
    }

    fn apply(&mut self, action: &Action) {
        self.writes.push(serde_json::to_string(action).unwrap());
        match action {
            Action::AddFinalizer => self.observed.app.finalizer = true,
            Action::RemoveFinalizer => self.observed.app.finalizer = false,
            Action::Keep { revision } => {
                let kept = Kept {
                    id: revision.clone(),
                    created: self.now,
                    chart: String::new(),
                    secrets: vec![],
                    source: String::new(),
                    reason: String::new(),
                    marks: Marks::default(),
                    gone: None,
                };
                assert!(self.observed.revisions.iter().all(|kept| kept.id != *revision));
                self.observed.revisions.push(kept);
            }
            Action::Forget { revision } => self.observed.revisions.retain(|kept| kept.id != *revision),
            Action::Mark { revision, marks, .. } => self.kept(revision).marks = marks.clone(),
            Action::Deploy { slot, revision, mode, .. } => self.deploy(*slot, revision, *mode == Mode::Idle),
            Action::Repair { slot, .. } => self.observed.slots.get_mut(slot).unwrap().state.drift.clear(),
            Action::Remove { slot, .. } => drop(self.observed.slots.remove(slot)),
            Action::Shift { split, version, force, .. } => self.shift(split, version.as_deref(), *force),
            Action::ReleaseRoute => self.observed.route.state = Default::default(),
            Action::CheckGate { gate, revision, failures, .. } => {
                let rejected = self.rejected.contains(revision);
                self.observed.gates.retain(|facts| facts.gate != *gate);
                let (verdict, failures) = if rejected { (Verdict::Failed, failures + 1) } else { (Verdict::Passed, 0) };
                self.observed.gates.push(GateFacts {
                    gate: gate.clone(),
                    revision: revision.clone(),
                    at: self.now,
                    failures,
                    verdict,
                    detail: "GET / answered".into(),
                });
            }
        }
        self.settle();
    }

    fn deploy(&mut self, slot: Slot, revision: &str, idle: bool) {
        let number = self.release_of(slot).map_or(1, |release| release.number + 1);
        let failed = self.unrenderable.contains(revision);
        let status = if failed { ReleaseStatus::Failed } else { ReleaseStatus::Deployed };
        let release = Release {
            number,
            revision: Some(revision.into()),
            idle,
            status,
            description: "said helm".into(),
            at: Some(self.now),
        };
        let name = slot.release("web");
        let service = ServiceInfo {
            name,
            ports: vec![(Some("http".into()), 80, json!(8080))],
            selector: BTreeMap::from([("app".into(), "web".into())]),
        };
        let secrets = self.observed.newest.clone();
        let state = SlotState { release: Some(release), services: vec![service], secrets, ..SlotState::default() };
        self.observed.slots.insert(slot, SlotFacts { state, endpoints: 0 });
    }

    fn shift(&mut self, split: &TrafficSplit, version: Option<&str>, force: bool) {
        let state = &mut self.observed.route.state;
        state.edited_by.take_if(|_| force);
        assert_eq!(state.version.as_deref(), version, "planned from another version");
        let all = self.observed.route.capabilities.unwrap().weights;
        let weights: BTreeMap<_, _> =
            split.backends.iter().filter(|b| all || b.weight > 0).map(|b| (b.name.clone(), b.weight)).collect();
        let rank = |weights: &BTreeMap<String, u8>| {
            weights.iter().filter(|(_, w)| **w > 0).map(|(n, w)| (n.clone(), *w)).collect::<Vec<_>>()
        };
        if rank(&state.weights) != rank(&weights) {
            state.shifted_at = Some(self.now);
        }
        state.exists = true;
        state.weights = weights;
        state.active = Some(split.active.clone());
        state.version = Some(version.map_or(1, |version| version.parse::<u32>().unwrap() + 1).to_string());
    }

    /// What follows by itself: pods become ready 3 s after a deployment, routes are in force 2 s after a shift.
    fn settle(&mut self) {
        let now = self.now;
        let after = |at: Option<Timestamp>, seconds: i64| {
            at.is_none_or(|at| now.duration_since(at) >= SignedDuration::from_secs(seconds))
        };
        for facts in self.observed.slots.values_mut() {
            let Some(release) = &facts.state.release else { continue };
            let sick = release.revision.as_ref().is_some_and(|revision| self.sick.contains(revision)) && !release.idle;
            let running = release.status == ReleaseStatus::Deployed && !release.idle && facts.state.drift.is_empty();
            let ready = running && !sick && after(release.at, 3);
            facts.endpoints = if ready { 2 } else { 0 };
            facts.state.failed = if sick { vec!["Pod web: ImagePullBackOff".into()] } else { vec![] };
            facts.state.waiting = if ready || release.idle { vec![] } else { vec!["Deployment web: 0 of 2".into()] };
        }
        let route = &mut self.observed.route;
        let confirmed = after(route.state.shifted_at, 2);
        route.confirmation = route.state.exists.then(|| {
            if confirmed {
                TrafficConfirmation::Unconfirmed("API only".into())
            } else {
                TrafficConfirmation::Pending("propagation".into())
            }
        });
    }

    /// The invariants of a rollout, for one write planned from `before`.
    fn check(&self, before: &Observed, action: &Action) {
        let route = &before.route.state;
        let weight =
            |slot: &Slot| slot.colour().and_then(|colour| route.weights.get(colour.as_str()).copied()).unwrap_or(0);
        let active = route.active.as_deref().and_then(|active| active.split_once('@'));
        let draining =
            route.shifted_at.is_some_and(|at| self.now.duration_since(at) < SignedDuration::try_from(DRAIN).unwrap());
        let revision =
            |slot: &Slot| before.slots.get(slot).and_then(|facts| facts.state.release.as_ref()?.revision.clone());
        match action {
            Action::Deploy { slot, revision: new, .. } if *slot != Slot::App => {
                let own = revision(slot).as_ref() == Some(new)
                    || active
                        .is_some_and(|(colour, id)| slot.colour().is_some_and(|c| c.as_str() == colour) && id == new);
                let busy = weight(slot) > 0 || (draining && route.exists && revision(slot).is_some());
                assert!(!busy || own, "a busy colour is overwritten: {action:?}");
            }
            Action::Remove { slot, .. } => assert!(weight(slot) == 0 && !draining, "a busy colour is removed"),
            Action::Shift { split, force, .. } => {
                let sum: u32 = split.backends.iter().map(|backend| u32::from(backend.weight)).sum();
                assert_eq!(sum, 100, "weights sum to 100");
                let asked = before.revisions.iter().find_map(|kept| kept.marks.take_back.as_ref());
                assert_eq!(route.edited_by.is_some(), *force, "force is for foreign edits, and for nothing else");
                assert!(!force || asked == route.edited_by.as_ref(), "a foreign edit is overwritten unasked");
                let mut same = true;
                for backend in &split.backends {
                    let old = route.weights.get(&backend.name).copied().unwrap_or(0);
                    same &= old == backend.weight;
                    let slot = if backend.name == "blue" { Slot::Blue } else { Slot::Green };
                    if backend.weight > old {
                        assert!(before.slots[&slot].endpoints > 0, "weight rises without endpoints: {action:?}");
                        let held = revision(&slot).is_some_and(|id| {
                            before.revisions.iter().any(|kept| kept.id == id && kept.marks.held.is_some())
                        });
                        let to = split.active.split_once('@').unwrap().0;
                        assert!(!held || to == backend.name, "an aborted colour is raised: {action:?}");
                    }
                }
                let all_or_nothing =
                    !before.route.capabilities.unwrap().weights && split.backends.iter().any(|b| b.weight == 100);
                for (name, old) in &route.weights {
                    let slot = if name == "blue" { Slot::Blue } else { Slot::Green };
                    let stays = split.backends.iter().any(|backend| backend.name == *name);
                    let gone = revision(&slot).is_none();
                    assert!(stays || gone || all_or_nothing || (*old == 0 && !draining), "a backend leaves too early");
                }
                if route.exists && route.active.is_some() && route.active.as_deref() != Some(&split.active) {
                    assert!(same, "active changes with the weights: {action:?}");
                    assert!(
                        !matches!(before.route.confirmation, Some(TrafficConfirmation::Pending(_))),
                        "active changes unconfirmed"
                    );
                    let to = split.active.split_once('@').unwrap().0;
                    assert_eq!(route.weights.get(to), Some(&100), "active changes before 100 %");
                }
            }
            _ => {}
        }
    }
}
