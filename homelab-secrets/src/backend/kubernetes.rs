//! Records in the cluster itself: sealed, as Secrets, in its etcd. Several processes at once, and no volume.
//!
//! A commit makes an object for each of its records and then writes the head object, if that still is the one that it
//! was planned on (`resourceVersion`). That one write shows all of it: an object that no head names is not there. What a
//! commit left that was cut off is taken away later; it is known by the number of the commit that it was made for, which
//! by then another one has.
//!
//! Each process keeps the index in memory, and records that it has read; a watch of the head's metadata tells it when
//! others have written. Reads rest on it while the head was looked at within the last [`FRESH`]; otherwise they look
//! first, and fail when the API server does not answer. Writes always ask.
//!
//! Kubernetes Secrets are bounded by 1 MiB each, and etcd by a few GiB: this is for a few thousand secrets.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use tokio::sync::{Mutex as AsyncMutex, broadcast};
use tokio::time::Instant;

mod commit;
mod follow;
mod index;
mod objects;

use super::{Backend, BackendError, Batch, CHANGES_KEPT, Change, Head, Host};
use index::{Entry, HeadText, Object, PageRef, Unreadable, View};
use objects::Objects;

/// How long a look at the head counts.
const FRESH: Duration = Duration::from_secs(15);
/// Requests at once.
const AT_ONCE: usize = 8;
/// Records kept in memory, in bytes.
const CACHE: usize = 16 * 1024 * 1024;
/// How often something that moved while it was read is read again.
const READS: usize = 8;

/// The store in the Secret `NAME` and those that it names. Clones share it.
#[derive(Clone)]
pub struct Kubernetes(Arc<Inner>);

struct Inner {
    objects: Objects,
    host: Arc<dyn Host>,
    known: RwLock<Known>,
    /// Who holds it may change `known`.
    turn: AsyncMutex<()>,
    cache: Mutex<Cache>,
    changes: broadcast::Sender<Change>,
}

#[derive(Default)]
struct Known {
    view: Arc<View>,
    /// When the API server last said that it is the newest; none: it was never read.
    at: Option<Instant>,
}

/// Contents of objects, by name. They never change, so they are never wrong.
#[derive(Default)]
struct Cache {
    bytes: usize,
    contents: HashMap<String, Arc<[u8]>>,
}

impl Cache {
    fn keep(&mut self, name: &str, content: Arc<[u8]>) {
        if self.bytes + content.len() > CACHE {
            *self = Self::default();
        }
        self.bytes += content.len();
        if let Some(before) = self.contents.insert(name.to_owned(), content) {
            self.bytes -= before.len();
        }
    }

    fn forget(&mut self, name: &str) {
        self.bytes -= self.contents.remove(name).map_or(0, |content| content.len());
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kubernetes({})", self.0.objects.place(""))
    }
}

impl Kubernetes {
    /// The store `name` in `namespace`, where `client` needs `get`, `list`, `watch`, `create`, `update` and `delete` on
    /// Secrets. Reads nothing yet. `host` gives random names. Follows what others write until the last clone is gone.
    ///
    /// Panics outside of a Tokio runtime.
    pub fn new(client: Client, namespace: &str, name: &str, host: Arc<dyn Host>) -> Self {
        let inner = Arc::new(Inner {
            objects: Objects::new(client, namespace, name),
            host,
            known: RwLock::default(),
            turn: AsyncMutex::default(),
            cache: Mutex::default(),
            changes: broadcast::channel(CHANGES_KEPT).0,
        });
        tokio::spawn(follow::follow(Arc::downgrade(&inner)));
        Self(inner)
    }

    /// Takes away what commits left that were cut off; says how many objects. Happens by itself, too: at the start and
    /// once an hour. Cancel-safe.
    pub async fn collect(&self) -> Result<usize, BackendError> {
        self.0.collect().await
    }
}

impl Inner {
    fn view(&self) -> Arc<View> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).view.clone()
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable(&self, name: &str, why: &Unreadable) -> BackendError {
        BackendError::Failed { place: self.objects.place(name), cause: why.to_string() }
    }

    /// The index, looked at not long ago.
    async fn current(&self) -> Result<Arc<View>, BackendError> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.at.is_some_and(|at| at.elapsed() < FRESH) {
                return Ok(known.view.clone());
            }
        }
        self.newest().await
    }

    /// The index as it is now.
    async fn newest(&self) -> Result<Arc<View>, BackendError> {
        let began = Instant::now();
        let version = self.objects.head_version().await?;
        {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.at.is_some() && known.view.version == version {
                known.at = known.at.max(Some(began));
                return Ok(known.view.clone());
            }
        }
        let _turn = self.turn.lock().await;
        let known = self.view();
        if version.is_some() && known.version == version { Ok(known) } else { self.reread().await }
    }

    /// Reads the head and what pages of it are not known. Needs the turn.
    async fn reread(&self) -> Result<Arc<View>, BackendError> {
        let before = self.view();
        for _ in 0..READS {
            let began = Instant::now();
            let (text, version) = match self.objects.head().await? {
                Some((content, version)) => {
                    (HeadText::read(&content).map_err(|why| self.unreadable("", &why))?, version)
                }
                None => {
                    self.check_empty(&before).await?;
                    (HeadText::default(), None)
                }
            };
            if text.head < before.text.head {
                let cause = format!(
                    "it went back from commit {} to {}: the cluster was restored from a backup, or somebody put it \
                     back; if that is meant, restart homelab",
                    before.text.head, text.head
                );
                return Err(BackendError::Failed { place: self.objects.place(""), cause });
            }
            if let Some(pages) = self.pages(&text, &before).await? {
                return Ok(self.publish(View { text, version, pages }, began, None));
            }
        }
        Err(self.missing("", "a part of its index"))
    }

    /// `None`: a page has gone, so the head must have moved.
    async fn pages(&self, text: &HeadText, before: &View) -> Result<Option<Vec<Arc<index::Page>>>, BackendError> {
        let page = async |reference: &PageRef| {
            let known = before.text.pages.iter().position(|page| page.object == reference.object);
            if let Some(page) = known.and_then(|at| before.pages.get(at)) {
                return Ok(Some(page.clone()));
            }
            let name = &reference.object.name;
            let Some(content) = self.objects.get(&reference.object).await? else { return Ok(None) };
            index::read_page(&content).map(|page| Some(Arc::new(page))).map_err(|why| self.unreadable(name, &why))
        };
        let mut pages = Vec::with_capacity(text.pages.len());
        for reference in &text.pages {
            let Some(page) = page(reference).await? else { return Ok(None) };
            pages.push(page);
        }
        Ok(Some(pages))
    }

    /// A store without a head is a new one only if nothing else of it is there.
    async fn check_empty(&self, before: &View) -> Result<(), BackendError> {
        let left = self.objects.list().await?;
        let left = left.iter().filter(|object| object.commit.is_some_and(|commit| commit > 1)).count();
        if before.text.head == 0 && left == 0 {
            return Ok(());
        }
        let cause = format!(
            "it is missing, and {left} other objects of the store are there: put it back from a backup of the cluster"
        );
        Err(BackendError::Failed { place: self.objects.place(""), cause })
    }

    fn missing(&self, name: &str, what: &str) -> BackendError {
        let cause = format!("{what} is missing: somebody deleted it; put it back from a backup of the cluster");
        BackendError::Failed { place: self.objects.place(name), cause }
    }

    /// Makes `view` the known one, and tells of what it changed: `keys`, or what is found by comparing. Needs the turn.
    fn publish(&self, view: View, at: Instant, keys: Option<Vec<String>>) -> Arc<View> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let view = Arc::new(view);
        let before = std::mem::replace(&mut *known, Known { view: view.clone(), at: Some(at) });
        if before.at.is_some() && before.view.text.head < view.text.head {
            let keys = keys.unwrap_or_else(|| view.changed_since(&before.view));
            // Under the lock, so that changes come in the order of their heads. Nobody listening is fine.
            let _ = self.changes.send(Change { head: view.head(), keys: keys.into() });
        }
        view
    }

    /// The record of an entry; `None`: its object has gone.
    async fn record(&self, entry: &Entry) -> Result<Option<Arc<[u8]>>, BackendError> {
        let object: &Object = match entry {
            Entry::Inline(text) => {
                return Entry::inline(text).map(|record| Some(record.into())).map_err(|why| self.unreadable("", &why));
            }
            Entry::Object(object) => object,
        };
        let kept = self.cache().contents.get(&object.name).cloned();
        if let Some(content) = kept {
            return Ok(Some(content));
        }
        let Some(content) = self.objects.get(object).await? else { return Ok(None) };
        let content: Arc<[u8]> = content.into();
        self.cache().keep(&object.name, content.clone());
        Ok(Some(content))
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let mut view = self.current().await?;
        for _ in 0..READS {
            let Some(entry) = view.entry(key) else { return Ok(None) };
            if let Some(record) = self.record(entry).await? {
                return Ok(Some(record.to_vec()));
            }
            // Gone: replaced in between, or deleted by somebody.
            let newest = self.newest().await?;
            if newest.entry(key) == Some(entry) {
                return Err(self.gone(entry, key));
            }
            view = newest;
        }
        Err(self.missing("", key))
    }

    fn gone(&self, entry: &Entry, key: &str) -> BackendError {
        let name = match entry {
            Entry::Object(object) => object.name.as_str(),
            Entry::Inline(_) => "",
        };
        self.missing(name, &format!("the record {key}"))
    }

    async fn scan(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>, BackendError> {
        let mut view = self.current().await?;
        for _ in 0..READS {
            let mut reads = Vec::new();
            for (key, entry) in view.range(prefix, after, limit) {
                reads.push(async move { Ok((key, entry, self.record(entry).await?)) });
            }
            let records: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
            let Some((key, entry, _)) = records.iter().find(|(_, _, record)| record.is_none()) else {
                let whole = records.into_iter().filter_map(|(key, _, record)| Some((key.to_owned(), record?.to_vec())));
                return Ok(whole.collect());
            };
            let newest = self.newest().await?;
            if newest.entry(key) == Some(*entry) {
                return Err(self.gone(entry, key));
            }
            view = newest;
        }
        Err(self.missing("", &format!("something below {prefix}")))
    }

    /// See [`Kubernetes::collect`].
    async fn collect(&self) -> Result<usize, BackendError> {
        // First the objects, then the head: what is not named by it and was made for a commit that it has passed will
        // never be named by any.
        let listed = self.objects.list().await?;
        let view = self.newest().await?;
        let used = view.objects();
        let passed = |commit: Option<u64>| commit.is_some_and(|commit| commit <= view.text.head);
        let dead = listed.iter().filter(|o| passed(o.commit) && !used.contains(o.name.as_str()));
        let mut deleting = Vec::new();
        for object in dead {
            deleting.push(self.objects.delete_listed(object));
        }
        let count = deleting.len();
        stream::iter(deleting).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(count)
    }
}

#[async_trait]
impl Backend for Kubernetes {
    async fn head(&self) -> Result<Head, BackendError> {
        Ok(self.0.newest().await?.head())
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.0.get(key).await
    }

    async fn commit(&self, on: Head, batch: Batch) -> Result<Head, BackendError> {
        // In a task of its own: when the caller goes away, what was begun is finished.
        let place = || self.0.objects.place("");
        let done = tokio::spawn(self.0.clone().commit(on, batch)).await;
        done.unwrap_or_else(|e| Err(BackendError::Failed { place: place(), cause: e.to_string() }))
    }

    async fn scan(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>, BackendError> {
        self.0.scan(prefix, after, limit).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }
}

#[cfg(feature = "server")]
#[cfg(test)]
mod tests;
