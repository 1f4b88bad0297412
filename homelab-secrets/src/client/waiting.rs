//! One request that watches for all who wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homelab_core::class::Backoff;
use reqwest::Method;
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use super::link::Link;
use crate::Error;
use crate::versions::{Known, Moved};

/// Seconds after which the server answers that nothing has changed.
const WAIT: u64 = 25;
/// Those that come together are asked for together.
const SETTLE: Duration = Duration::from_millis(50);
const AWAY: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(15) };

/// Who waits for what.
#[derive(Default)]
pub(super) struct Waiting {
    all: Mutex<Waiters>,
    /// Somebody has come.
    came: Notify,
}

#[derive(Default)]
struct Waiters {
    next: u64,
    by_number: BTreeMap<u64, Waiter>,
}

struct Waiter {
    known: Vec<Known>,
    tell: oneshot::Sender<Result<(), Error>>,
}

/// Goes away with whoever waited.
struct Place<'a> {
    number: u64,
    waiting: &'a Waiting,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.lock().by_number.remove(&self.number);
    }
}

impl Waiting {
    /// Cancel-safe.
    pub(super) async fn wait(&self, known: &[Known]) -> Result<(), Error> {
        let (tell, told) = oneshot::channel();
        let number = {
            let mut all = self.lock();
            let number = all.next;
            all.next += 1;
            all.by_number.insert(number, Waiter { known: known.to_vec(), tell });
            number
        };
        let _place = Place { number, waiting: self };
        self.came.notify_one();
        told.await.unwrap_or_else(|_| Err(Error::Backend("the secret server is no longer watched".into())))
    }

    /// Everything that is waited for.
    fn known(&self) -> BTreeSet<Known> {
        self.lock().by_number.values().flat_map(|waiter| waiter.known.iter().cloned()).collect()
    }

    fn tell(&self, moved: &Moved) {
        let mut all = self.lock();
        let told: Vec<_> =
            all.by_number.iter().filter_map(|(number, waiter)| Some((*number, moved.about(&waiter.known)?))).collect();
        for (number, what) in told {
            if let Some(waiter) = all.by_number.remove(&number) {
                // Whoever has gone in the meantime needs no answer.
                let _ = waiter.tell.send(what);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches for all who wait, for ever.
pub(super) async fn watch(link: Arc<Link>, waiting: Arc<Waiting>) {
    let mut failures = 0;
    loop {
        let known = waiting.known();
        if known.is_empty() {
            waiting.came.notified().await;
            tokio::time::sleep(SETTLE).await;
            continue;
        }
        let answer = tokio::select! {
            answer = ask(&link, &known) => answer,
            () = news(&waiting, &known) => continue,
        };
        match answer {
            Ok(moved) => {
                failures = 0;
                waiting.tell(&moved);
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%error, "changes of secrets can not be watched; trying again");
                }
                tokio::time::sleep(AWAY.delay(failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

async fn ask(link: &Link, known: &BTreeSet<Known>) -> Result<Moved, Error> {
    let url = link.url(["watch"])?;
    link.ask(Method::POST, url, Some(&json!({ "known": known, "wait": WAIT }))).await
}

/// Ends when somebody waits for what is not asked about yet.
async fn news(waiting: &Waiting, asked: &BTreeSet<Known>) {
    loop {
        waiting.came.notified().await;
        tokio::time::sleep(SETTLE).await;
        if !waiting.known().is_subset(asked) {
            return;
        }
    }
}
