//! Backups of the store, by a schedule: each place by itself, so that one that is gone holds up none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use homelab_secrets::backup::{BackupTarget, Board, Scheduled};
use homelab_secrets::store::{Kept, SecretStore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::jiff_now;
use super::metrics::Metrics;
use crate::adapters::backups::{is_remote, place};
use crate::args::BackupFlags;

/// After a failure it is tried again so soon.
const AGAIN: Duration = Duration::from_secs(300);
/// Longest time between two looks: clocks are set, and backups are deleted.
const LOOK: Duration = Duration::from_secs(3600);

/// One place.
struct Place {
    target: Box<dyn BackupTarget>,
    same_disk: bool,
}

/// What is backed up, and who is told.
#[derive(Clone)]
pub(super) struct Backups {
    pub(super) store: SecretStore,
    pub(super) board: Board,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: CancellationToken,
}

impl Backups {
    /// Starts one task for each place; what is wrong with a place is said at the start.
    pub(super) fn start(self, flags: &BackupFlags, data: &Path, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
        for text in &flags.backup_to {
            let place = Place { target: place(text, &std::env::temp_dir())?, same_disk: is_same_disk(text, data) };
            if place.same_disk {
                tracing::warn!("backups to {text} are on the disk of the store: when it goes, both go");
            }
            self.note(&place, Ok(None));
            let (this, how) = (self.clone(), (flags.backup_every, usize::from(flags.backup_keep)));
            tasks.spawn(async move {
                this.keep(place, how).await;
                Ok(())
            });
        }
        Ok(())
    }

    async fn keep(self, place: Place, how: (Duration, usize)) {
        loop {
            let kept = self.store.keep_backup(&*place.target, how, env!("CARGO_PKG_VERSION")).await;
            let next = match &kept {
                Ok(Kept::In(time)) => (*time).min(LOOK),
                Ok(_) => how.0.min(LOOK),
                Err(_) => AGAIN.min(how.0),
            };
            match &kept {
                Ok(Kept::New(name, gone)) => {
                    tracing::info!(to = %place.target, %name, gone, "kept a backup of the store")
                }
                Ok(_) => {}
                Err(error) => tracing::error!(to = %place.target, %error, "no backup of the store was kept"),
            }
            self.note(&place, kept.map(Some).map_err(|error| error.to_string()));
            if self.stop.run_until_cancelled(tokio::time::sleep(next)).await.is_none() {
                return;
            }
        }
    }

    fn note(&self, place: &Place, kept: Result<Option<Kept>, String>) {
        let to = place.target.to_string();
        let before = self.board.all().into_iter().find(|scheduled| scheduled.to == to).and_then(|known| known.last);
        let last = match &kept {
            Ok(Some(_)) => Some(jiff_now()),
            _ => before,
        };
        if kept != Ok(None) {
            self.metrics.backup(&to, kept.is_ok().then(jiff_now));
        }
        self.board.note(Scheduled { to, last, error: kept.err(), same_disk: place.same_disk });
    }
}

/// By the device that a directory is on. A place that can not be looked at is another one.
fn is_same_disk(text: &str, data: &Path) -> bool {
    let device = |path: &Path| rustix::fs::stat(path).ok().map(|found| found.st_dev);
    !is_remote(text) && device(Path::new(text)).is_some_and(|there| device(data) == Some(there))
}
