//! The observation, asked the way that decisions ask it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::observed::{Kept, Observed, Slot, SlotFacts};
use super::spec::{Spec, Strategy};
use super::target::{self, Target};
use super::{Ready, Report};
use crate::deployer::{Colour, Release, ReleaseStatus};

/// Spec, observation and time, with what follows from them at once.
pub(super) struct View<'a> {
    pub(super) spec: &'a Spec,
    pub(super) observed: &'a Observed,
    pub(super) now: Timestamp,
    /// What serves: the colour that an abort returns to.
    pub(super) active: Option<(Slot, String)>,
    pub(super) target: Target,
    empty: SlotFacts,
}

impl<'a> View<'a> {
    pub(super) fn new(spec: &'a Spec, observed: &'a Observed, now: Timestamp) -> Self {
        let active = match spec.strategy {
            Strategy::Rolling => newest_activated(observed).map(|kept| (Slot::App, kept.id.clone())),
            Strategy::BlueGreen(_) => active_colour(observed),
        };
        let target = target::choose(observed, active.as_ref().map(|(_, revision)| revision.as_str()));
        Self { spec, observed, now, active, target, empty: SlotFacts::default() }
    }

    pub(super) fn kept(&self, revision: &str) -> Option<&'a Kept> {
        kept(self.observed, revision)
    }

    pub(super) fn slot(&self, slot: impl Into<Slot>) -> &SlotFacts {
        self.observed.slots.get(&slot.into()).unwrap_or(&self.empty)
    }

    pub(super) fn release(&self, slot: impl Into<Slot>) -> Option<&Release> {
        self.slot(slot).state.release.as_ref()
    }

    /// The slot's newest release is this revision, whatever its status.
    pub(super) fn holds(&self, slot: impl Into<Slot>, revision: &str) -> bool {
        self.release(slot).is_some_and(|release| release.revision.as_deref() == Some(revision))
    }

    pub(super) fn weight(&self, colour: Colour) -> u8 {
        self.observed.route.state.weights.get(colour.as_str()).copied().unwrap_or(0)
    }

    pub(super) fn in_route(&self, colour: Colour) -> bool {
        self.observed.route.state.weights.contains_key(colour.as_str())
    }

    pub(super) fn endpoints(&self, colour: Colour) -> u32 {
        self.slot(colour).endpoints
    }

    /// How long a colour without weight may still answer requests; none: it does not.
    pub(super) fn draining(&self, colour: Colour) -> Option<Duration> {
        let state = &self.observed.route.state;
        if !state.exists || self.weight(colour) > 0 || self.release(colour).is_none() {
            return None;
        }
        let left = left(self.now, state.shifted_at?, super::DRAIN);
        (!left.is_zero()).then_some(left)
    }

    /// When a slot's present content was put there, or was last asked to be tried again.
    pub(super) fn since(&self, slot: Slot, revision: &str) -> Option<Timestamp> {
        let retried = self.kept(revision).and_then(|kept| kept.marks.retried_at);
        self.release(slot).and_then(|release| release.at).max(retried)
    }

    /// How long to wait before the engine is asked again for what it failed to do a moment ago.
    pub(super) fn pause(&self, slot: impl Into<Slot>, revision: &str, idle: bool) -> Option<Duration> {
        let slot = slot.into();
        let release = self.release(slot).filter(|_| self.holds(slot, revision))?;
        let failed = release.status == ReleaseStatus::Failed && release.idle == idle;
        let left = left(self.now, release.at.filter(|_| failed)?, super::REDEPLOY);
        (!left.is_zero()).then_some(left)
    }

    /// The newest revision that served well before `active`.
    pub(super) fn last_good(&self, active: &str) -> Option<&'a Kept> {
        let good = |kept: &&Kept| {
            kept.id != active && kept.marks.is_good() && kept.marks.activated_at.is_some() && kept.gone.is_none()
        };
        self.observed.revisions.iter().filter(good).max_by_key(|kept| (kept.marks.activated_at, kept.id.as_str()))
    }

    /// The time at which a revision is marked as active: later than every other one.
    pub(super) fn activation(&self, revision: &str) -> Option<Timestamp> {
        let others = self
            .observed
            .revisions
            .iter()
            .filter(|kept| kept.id != revision)
            .filter_map(|kept| kept.marks.activated_at)
            .max();
        let own = self.kept(revision)?.marks.activated_at;
        if own.is_some() && own > others {
            return None;
        }
        let after = others.and_then(|other| other.checked_add(SignedDuration::from_secs(1)).ok());
        Some(after.map_or(self.now, |after| self.now.max(after)))
    }

    pub(super) fn report(&self) -> Report {
        let mut report = Report {
            active: self.active.as_ref().map(|(slot, revision)| (slot.colour(), revision.clone())),
            target: self.target.revision.clone(),
            failed: self.target.failed.clone(),
            rolled_back: self.target.rolled_back.clone(),
            ready: self.ready(),
            ..Report::default()
        };
        report.notes.extend(self.cut_off());
        if let (Some((slot, active)), Strategy::BlueGreen(strategy)) = (&self.active, &self.spec.strategy) {
            report.warm = slot.colour().and_then(|colour| self.warm(colour.other(), active));
            let weights = self.observed.route.capabilities.is_none_or(|capabilities| capabilities.weights);
            if !weights && strategy.steps.len() > 1 {
                report.notes.push("StepsReduced: this route has no weights, so the traffic moves in one step".into());
            }
        }
        report
    }

    /// Pods that can not start with a value that took the place of a dead one. The ones before may still answer.
    fn cut_off(&self) -> impl Iterator<Item = String> {
        let newest = &self.observed.newest;
        let failing =
            self.observed.slots.iter().filter_map(|(slot, facts)| Some((slot, facts, facts.state.failed.first()?)));
        failing.filter_map(|(slot, facts, problem)| {
            let has = |path: &&String| facts.state.secrets.contains_key(*path);
            let carried: Vec<_> = newest.keys().filter(has).map(|path| format!("{path}@{}", newest[path])).collect();
            let release = slot.release(&self.observed.app.name);
            let words = format!(
                "CutFailing: {release} does not start with {}: {problem}; put a value that works",
                carried.join(", ")
            );
            (!carried.is_empty()).then_some(words)
        })
    }

    fn warm(&self, idle: Colour, active: &str) -> Option<String> {
        let release =
            self.release(idle).filter(|release| !release.idle && release.status == ReleaseStatus::Deployed)?;
        let revision = self.kept(release.revision.as_deref()?)?;
        let good = revision.id != active && revision.marks.is_good() && revision.marks.activated_at.is_some();
        (good && self.endpoints(idle) > 0)
            .then(|| format!("revision {} runs in {idle}: a rollback takes seconds", revision.id))
    }

    fn ready(&self) -> Ready {
        let say = |ready: bool, reason: &str, message: String| Ready { ready, reason: reason.into(), message };
        let Some((slot, revision)) = &self.active else {
            return say(false, "NothingServes", "no revision has taken over yet".into());
        };
        let facts = self.slot(*slot);
        match slot.colour() {
            Some(colour) if facts.endpoints == 0 => {
                say(false, "NoEndpoints", format!("{colour} serves revision {revision}, but has no ready endpoints"))
            }
            Some(colour) => {
                say(true, "Serving", format!("{colour} serves revision {revision} with {} endpoints", facts.endpoints))
            }
            None => match facts.state.failed.iter().chain(&facts.state.waiting).next() {
                Some(problem) => say(false, "NotReady", problem.clone()),
                None => say(true, "Serving", format!("revision {revision} serves")),
            },
        }
    }
}

/// What is left of `length` after `from`.
pub(super) fn left(now: Timestamp, from: Timestamp, length: Duration) -> Duration {
    let passed = Duration::try_from(now.duration_since(from)).unwrap_or_default();
    length.saturating_sub(passed)
}

pub(super) fn kept<'a>(observed: &'a Observed, revision: &str) -> Option<&'a Kept> {
    observed.revisions.iter().find(|kept| kept.id == revision)
}

fn newest_activated(observed: &Observed) -> Option<&Kept> {
    observed
        .revisions
        .iter()
        .filter(|kept| kept.marks.activated_at.is_some())
        .max_by_key(|kept| (kept.marks.activated_at, kept.id.as_str()))
}

/// From the route; if somebody took that away, the colour that holds the revision which was last active.
fn active_colour(observed: &Observed) -> Option<(Slot, String)> {
    let state = &observed.route.state;
    let named = state.active.as_deref().and_then(|text| text.split_once('@'));
    if let Some((colour, revision)) = named
        && let Some(colour) = Colour::parse(colour)
    {
        return Some((colour.into(), revision.to_owned()));
    }
    let revision = newest_activated(observed)?;
    let holds = |slot: &Slot| {
        let release = observed.slots.get(slot).and_then(|facts| facts.state.release.as_ref());
        release.is_some_and(|release| release.revision.as_ref() == Some(&revision.id))
    };
    let slot = [Slot::Blue, Slot::Green].into_iter().find(holds)?;
    Some((slot, revision.id.clone()))
}
