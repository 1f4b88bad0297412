//! Writing: read, apply the rules, seal, commit; start over if somebody was faster.
//!
//! Writes of one process form groups: those that come while a commit is made durable wait and are then committed
//! together, each on top of the one before it. Each is refused or answered for itself, and only once the commit that
//! holds it is durable. A group is worked on in a task of its own, so nobody who goes away cuts off another one's write.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{Open, SecretStore, record};
use crate::Error;
use crate::backend::{Backend, BackendError, Batch, Head};
use crate::seal::{Form, Nonce, Place};

/// How often a group starts over before it gives up.
const ATTEMPTS: usize = 16;
/// Writes in one commit at most.
const GROUP: usize = 64;

/// A write.
#[async_trait]
pub(super) trait Job: Send + 'static {
    /// What its caller gets.
    type Output: Send;

    /// Adds what it wants to the draft. Is called again, on a newer draft, when another process committed in between.
    /// What an `Err` leaves in the draft is dropped.
    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) -> Result<Self::Output, Error>;
}

/// What will be committed, on the head, keys and mounts as they were found.
pub(super) struct Draft {
    pub(super) head: Head,
    pub(super) open: Open,
    accepted: Writes,
    /// Of the job that is at work.
    pending: Writes,
}

type Writes = BTreeMap<String, Option<Vec<u8>>>;

impl Draft {
    /// The record at `key` as the writes before this one leave it.
    pub(super) async fn get(&self, backend: &dyn Backend, key: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.pending.get(key).or_else(|| self.accepted.get(key)) {
            Some(written) => Ok(written.clone()),
            None => Ok(backend.get(key).await?),
        }
    }

    pub(super) fn put(&mut self, key: impl Into<String>, record: Vec<u8>) {
        self.pending.insert(key.into(), Some(record));
    }

    pub(super) fn delete(&mut self, key: impl Into<String>) {
        self.pending.insert(key.into(), None);
    }
}

/// A job with the way to its caller.
#[async_trait]
trait Waiting: Send {
    /// Whether there is something to commit; an error is kept for the caller.
    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft);
    /// Tells the caller. `committed` is why there was no commit, if there was none.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Entry<J: Job> {
    job: J,
    result: Option<Result<J::Output, Error>>,
    caller: oneshot::Sender<Result<J::Output, Error>>,
}

#[async_trait]
impl<J: Job> Waiting for Entry<J> {
    async fn draft(&mut self, store: &SecretStore, draft: &mut Draft) {
        let open = draft.open.clone();
        let result = self.job.draft(store, draft).await;
        let mut pending = std::mem::take(&mut draft.pending);
        if result.is_ok() {
            draft.accepted.append(&mut pending);
        } else {
            draft.open = open;
        }
        self.result = Some(result);
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let result = match (self.result, committed) {
            // Refused by a rule: that does not hang on the commit.
            (Some(Err(refused)), _) => Err(refused),
            (_, Err(failed)) => Err(failed),
            (Some(Ok(output)), Ok(())) => Ok(output),
            (None, Ok(())) => Err(Error::Bug("a write was committed that nobody drafted".into())),
        };
        // A caller who went away is fine.
        let _ = self.caller.send(result);
    }
}

/// Writes that wait.
#[derive(Default)]
pub(super) struct Queue(Mutex<Line>);

#[derive(Default)]
struct Line {
    waiting: VecDeque<Box<dyn Waiting>>,
    at_work: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; `true`: nobody is at work on the queue, so the caller has to see to it.
    fn add(&self, one: Box<dyn Waiting>) -> bool {
        let mut line = self.lock();
        line.waiting.push_back(one);
        !std::mem::replace(&mut line.at_work, true)
    }

    fn group(&self) -> Vec<Box<dyn Waiting>> {
        let mut line = self.lock();
        let size = line.waiting.len().min(GROUP);
        line.waiting.drain(..size).collect()
    }

    /// Whether nothing waits any more; then nobody is at work from now on.
    fn done(&self) -> bool {
        let mut line = self.lock();
        line.at_work = !line.waiting.is_empty();
        !line.at_work
    }
}

/// Lets the next writer begin anew if the work ends in any other way than by an empty queue.
struct AtWork(Option<SecretStore>);

impl Drop for AtWork {
    fn drop(&mut self) {
        if let Some(store) = &self.0 {
            let mut line = store.0.queue.lock();
            line.at_work = false;
            // Their callers learn it by that.
            line.waiting.clear();
        }
    }
}

async fn work(store: SecretStore) {
    let mut at_work = AtWork(Some(store));
    while let Some(store) = &at_work.0 {
        let (group, committed) = store.commit_group(store.0.queue.group()).await;
        // Let go of the store before the last answer: whoever gets it may close the store and open its file again.
        if store.0.queue.done() {
            at_work.0 = None;
        }
        for one in group {
            one.answer(committed.clone());
        }
    }
}

impl SecretStore {
    /// Makes one write and waits until it is durable. When the caller goes away it happens as a whole or not at all.
    pub(super) async fn write<J: Job>(&self, job: J) -> Result<J::Output, Error> {
        let (caller, answer) = oneshot::channel();
        if self.0.queue.add(Box::new(Entry { job, result: None, caller })) {
            tokio::spawn(work(self.clone()));
        }
        answer.await.map_err(|_| Error::Bug("a write was cut off: see whether it has happened".into()))?
    }

    async fn commit_group(&self, mut group: Vec<Box<dyn Waiting>>) -> (Vec<Box<dyn Waiting>>, Result<(), Error>) {
        for _ in 0..ATTEMPTS {
            match self.try_group(&mut group).await {
                Ok(true) => return (group, Ok(())),
                Ok(false) => {}
                Err(error) => return (group, Err(error)),
            }
        }
        let error = Error::Conflict(format!("other writers were faster {ATTEMPTS} times: try again"));
        (group, Err(error))
    }

    /// `false`: another process committed in between.
    async fn try_group(&self, group: &mut [Box<dyn Waiting>]) -> Result<bool, Error> {
        self.0.watch.allow_writes()?;
        // Before anything that the writes rest on is read.
        let head = self.0.backend.head().await?;
        let open = self.open_at(head).await?;
        let mut draft = Draft { head, open, accepted: Writes::new(), pending: Writes::new() };
        for one in group {
            one.draft(self, &mut draft).await;
        }
        let Draft { mut open, accepted, .. } = draft;
        if accepted.is_empty() {
            return Ok(true);
        }
        open.head = self.0.watch.next(&open.head, self.nonce()?);
        let place = Place { mount: &record::SYSTEM, path: record::HEAD };
        let sealed = record::seal(&open.keys, Form::State, (place, head.next().0, self.nonce()?), &open.head)?;
        let mut batch = Batch { writes: accepted.into_iter().collect() };
        batch.put(record::HEAD, sealed);
        match self.0.backend.commit(head, batch).await {
            Ok(made) => {
                open.seen = made;
                self.0.watch.passed(&open.head, &open.keys)?;
                self.publish(open);
                Ok(true)
            }
            Err(BackendError::Moved { .. }) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    /// Seals a state. Its generation is the head that the commit makes, so it grows even when a path is made anew.
    pub(super) fn seal_state<T: serde::Serialize>(
        &self,
        draft: &Draft,
        place: Place<'_>,
        content: T,
    ) -> Result<Vec<u8>, Error> {
        let front = (place, draft.head.next().0, self.nonce()?);
        record::seal(&draft.open.keys, Form::State, front, content)
    }

    pub(super) fn nonce(&self) -> Result<Nonce, Error> {
        let mut nonce = Nonce::default();
        self.0.host.random(&mut nonce)?;
        Ok(nonce)
    }
}
