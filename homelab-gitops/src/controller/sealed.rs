//! Sealed files of what is in force go to whoever shows their secrets, before the objects that may want these are applied.

use std::time::Duration;

use homelab_core::class::{Backoff, Class};
use jiff::Timestamp;

use super::Shared;
use super::memory::{Memory, Shown, after};
use crate::Error;
use crate::spec::Settings;

/// Time until it is tried again when that alone may help.
const PASSING: Duration = Duration::from_secs(5);

/// Shows the sealed files of what is in force, if they are not shown yet.
pub(super) async fn show(shared: &Shared, settings: &Settings, memory: &mut Memory, now: Timestamp) {
    let (Some(sealed), Some(in_force)) = (&shared.context.sealed, &memory.in_force) else { return };
    let loaded = &in_force.loaded;
    let waits = memory.shown.as_ref().filter(|shown| shown.commit == loaded.commit);
    if waits.is_some_and(|shown| shown.failed.as_ref().is_none_or(|(_, retry)| *retry > now)) {
        return;
    }
    let result = sealed.show(&settings.owner, &settings.account, &loaded.commit, &loaded.sealed).await;
    let retry = |error: &Error| {
        // A policy may come with this very commit.
        let soon = error.class().is_passing() || error.class() == Class::Denied;
        after(now, if soon { PASSING } else { settings.interval.min(Backoff::RECONCILE.cap) })
    };
    let failed = result.err().map(|error| {
        let at = retry(&error);
        (error, at)
    });
    memory.shown = Some(Shown { commit: loaded.commit.clone(), failed });
}

impl Memory {
    /// Why the secrets of this commit are not to be had. Who has none misses nothing while there is no store.
    pub(super) fn sealed_trouble(&self) -> Option<&Error> {
        let (error, _) = self.shown.as_ref()?.failed.as_ref()?;
        let has_none = self.in_force.as_ref().is_none_or(|in_force| in_force.loaded.sealed.is_empty());
        (!has_none || !error.class().is_passing()).then_some(error)
    }
}
