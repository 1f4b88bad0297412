//! A commit: all its objects, then the head that names them.

use std::sync::{Arc, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use super::super::{BackendError, Batch, Head};
use super::index::{HeadText, Planned};
use super::objects::{LARGEST, Objects, Written};
use super::{AT_ONCE, Inner, READS};

impl Inner {
    fn check_size(&self, batch: &Batch) -> Result<(), BackendError> {
        for (key, record) in &batch.writes {
            let size = record.as_ref().map_or(0, Vec::len);
            if size > LARGEST {
                let place = format!("the record {key} in {}", self.objects.place(""));
                let cause =
                    format!("has {size} bytes, and an object of the cluster may hold {LARGEST}; nothing was written");
                return Err(BackendError::Failed { place, cause });
            }
        }
        Ok(())
    }

    pub(super) async fn commit(self: Arc<Self>, on: Head, batch: Batch) -> Result<Head, BackendError> {
        self.check_size(&batch)?;
        let _turn = self.turn.lock().await;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).at.is_some();
        let mut view = self.view();
        if !known || view.head() < on {
            view = self.reread().await?;
        }
        if view.head() != on {
            return Err(BackendError::Moved { now: view.head() });
        }
        let attempt = self.attempt()?;
        let planned = view.commit(&batch, &attempt).map_err(|why| self.unreadable("", &why))?;
        let made = self.make(&planned, &attempt).await;
        let objects = self.objects.clone();
        let fresh: Vec<String> = planned.fresh.iter().map(|fresh| fresh.object.name.clone()).collect();
        match made {
            Ok((version, began)) => {
                self.take_up(planned, version, began, batch);
                Ok(on.next())
            }
            Err(Stop::Refused(error)) => {
                tokio::spawn(async move { clear(&objects, fresh).await });
                Err(error)
            }
            // Whoever commits next decides about it; what is left is collected then.
            Err(Stop::Unknown(error)) => Err(error),
        }
    }

    /// Makes the objects, then the head. Gives the version of the head.
    async fn make(&self, planned: &Planned, attempt: &str) -> Result<(Option<String>, Instant), Stop> {
        let commit = planned.next.text.head;
        let content = planned.next.text.write().map_err(|why| Stop::Refused(self.unreadable("", &why)))?;
        if content.len() > LARGEST {
            let cause =
                format!("the index would have {} bytes, {LARGEST} are possible; nothing was written", content.len());
            return Err(Stop::Refused(BackendError::Failed { place: self.objects.place(""), cause }));
        }
        let mut making = Vec::new();
        for fresh in &planned.fresh {
            making.push(self.objects.create(fresh, commit));
        }
        stream::iter(making).buffer_unordered(AT_ONCE).try_collect::<()>().await.map_err(Stop::Refused)?;
        let mut on = planned.next.version.clone();
        for _ in 0..READS {
            let began = Instant::now();
            match self.objects.write_head(content.clone(), on).await {
                Written::Done(version) => return Ok((Some(version), began)),
                Written::Moved => {}
                Written::Refused(error) => return Err(Stop::Refused(error)),
                Written::Unknown(error) => return Err(Stop::Unknown(error)),
            }
            // Somebody was faster; or it was an earlier try of ours, which nobody told us of.
            let began = Instant::now();
            let (now, version) = self.reread_head().await.map_err(Stop::Unknown)?;
            match now.made(Head(commit), attempt) {
                Some(true) => return Ok((version.filter(|_| now.head == commit), began)),
                Some(false) => return Err(Stop::Refused(BackendError::Moved { now: Head(now.head) })),
                // Only its metadata changed.
                None if now.head < commit => on = version,
                None => {
                    let cause = format!("it is not known whether commit {commit} is this one's: look again");
                    return Err(Stop::Unknown(BackendError::Failed { place: self.objects.place(""), cause }));
                }
            }
        }
        let cause = "somebody changes it all the time: nothing was written".into();
        Err(Stop::Refused(BackendError::Failed { place: self.objects.place(""), cause }))
    }

    async fn reread_head(&self) -> Result<(HeadText, Option<String>), BackendError> {
        match self.objects.head().await? {
            Some((content, version)) => {
                Ok((HeadText::read(&content).map_err(|why| self.unreadable("", &why))?, version))
            }
            None => Err(self.missing("", "it")),
        }
    }

    /// What follows from a commit that was made. Needs the turn.
    fn take_up(&self, planned: Planned, version: Option<String>, began: Instant, batch: Batch) {
        let Planned { fresh, mut next, dead } = planned;
        // None: others have committed on top of it. No object has this version, so the next look reads the head anew.
        next.version = Some(version.unwrap_or_default());
        {
            let mut cache = self.cache();
            for name in &dead {
                cache.forget(name);
            }
            for fresh in fresh {
                cache.keep(&fresh.object.name, fresh.content.into());
            }
        }
        self.publish(next, began, Some(batch.writes.into_iter().map(|(key, _)| key).collect()));
        let objects = self.objects.clone();
        tokio::spawn(async move { clear(&objects, dead).await });
    }

    fn attempt(&self) -> Result<String, BackendError> {
        let mut bytes = [0; 8];
        let drawn = self.host.random(&mut bytes);
        drawn.map_err(|error| BackendError::Failed { place: self.objects.place(""), cause: error.to_string() })?;
        Ok(crate::hex::encode(&bytes))
    }
}

/// Why a commit was not made.
enum Stop {
    /// Nothing of it is or will be there.
    Refused(BackendError),
    /// Its head may have been written.
    Unknown(BackendError),
}

/// Takes objects away that nobody needs. Those that stay are collected later.
async fn clear(objects: &Objects, names: Vec<String>) {
    let mut deleting = Vec::new();
    for name in &names {
        deleting.push(objects.delete(name));
    }
    let deleted: Vec<_> = stream::iter(deleting).buffer_unordered(AT_ONCE).collect().await;
    let failed: Vec<_> = deleted.into_iter().filter_map(Result::err).collect();
    if let Some(error) = failed.first() {
        tracing::warn!(%error, left = failed.len(), "objects that are not needed any more stay for now");
    }
}
