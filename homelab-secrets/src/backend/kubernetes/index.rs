//! Which object holds which record: decided here, without IO.
//!
//! Objects of records and pages never change once they are made; only the head does. It names the pages (parts of the
//! index, in order of keys) and holds what has changed since they were written. So one write of the head shows a whole
//! commit, and none of it before.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::{Batch, Head};

/// Version of the head and of the pages that this program writes.
const FORMAT: u32 = 1;
/// Records up to this size lie in the index itself, in bytes: an object for each would cost more than it holds.
const INLINE: usize = 256;
/// Changes that the head holds before they move to pages, in bytes of its text.
const JOURNAL: usize = 16 * 1024;
/// A page is cut when it grows beyond this, in bytes of its text.
const PAGE: usize = 64 * 1024;
/// Commits that the head remembers: who wonders whether one of theirs was made finds it here.
const RECENT: usize = 64;

/// Where a record lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Entry {
    /// Here, as base64.
    Inline(String),
    /// In an object.
    Object(Object),
}

/// An object that never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    /// What its name ends with.
    pub(super) name: String,
    /// Digest of its content.
    pub(super) sum: String,
}

/// A part of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PageRef {
    /// Its first key.
    from: String,
    /// Where it lies.
    pub(super) object: Object,
}

/// What the head object holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeadText {
    pub(super) head: u64,
    /// Number and attempt of the newest commits, oldest first.
    pub(super) recent: Vec<(u64, String)>,
    pub(super) pages: Vec<PageRef>,
    /// What goes before the pages; `None`: the record is gone.
    journal: BTreeMap<String, Option<Entry>>,
}

#[derive(Serialize, Deserialize)]
struct Framed<T> {
    format: u32,
    content: T,
}

/// Entries of a page.
pub(super) type Page = BTreeMap<String, Entry>;

/// The whole index at one commit.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) text: HeadText,
    /// Of the head object, as the API server gives it; none while there is no such object.
    pub(super) version: Option<String>,
    /// In the order of the references.
    pub(super) pages: Vec<Arc<Page>>,
}

/// An object to make.
pub(super) struct Fresh {
    pub(super) object: Object,
    pub(super) content: Vec<u8>,
}

/// A commit, before it is made.
pub(super) struct Planned {
    /// All of them have to be there before the head is written.
    pub(super) fresh: Vec<Fresh>,
    /// The index with it; its `version` is that of the head that it may replace.
    pub(super) next: View,
    /// Objects that nobody needs after it, by what their names end with.
    pub(super) dead: Vec<String>,
}

/// Why a text of the index can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it has format {0}, which this program does not know: a newer homelab wrote it, use that one")]
    Newer(u32),
    #[error("its content is not readable: put it back from a backup")]
    Broken,
}

/// Checksum of an object's content, which finds edits by hand. What is sealed proves itself.
pub(super) fn sum(content: &[u8]) -> String {
    crate::hex::encode(&Sha256::digest(content)[..16])
}

fn text<T: Serialize>(content: T) -> Result<Vec<u8>, Unreadable> {
    serde_json::to_vec(&Framed { format: FORMAT, content }).map_err(|_| Unreadable::Broken)
}

fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Unreadable> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    match serde_json::from_slice(text) {
        Ok(Format { format: FORMAT }) => {}
        Ok(Format { format }) => return Err(Unreadable::Newer(format)),
        Err(_) => return Err(Unreadable::Broken),
    }
    let framed: Framed<T> = serde_json::from_slice(text).map_err(|_| Unreadable::Broken)?;
    Ok(framed.content)
}

/// Reads a page.
pub(super) fn read_page(content: &[u8]) -> Result<Page, Unreadable> {
    read(content)
}

impl HeadText {
    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(content: &[u8]) -> Result<Self, Unreadable> {
        read(content)
    }

    /// As the object holds it.
    pub(super) fn write(&self) -> Result<Vec<u8>, Unreadable> {
        text(self)
    }

    /// Whether the commit that made `head` was this attempt; `None`: it is too long ago.
    pub(super) fn made(&self, head: Head, attempt: &str) -> Option<bool> {
        self.recent.iter().find(|(number, _)| *number == head.0).map(|(_, made)| made == attempt)
    }
}

impl Entry {
    /// The record, if it lies here.
    pub(super) fn inline(text: &str) -> Result<Vec<u8>, Unreadable> {
        BASE64.decode(text).map_err(|_| Unreadable::Broken)
    }

    fn size(&self) -> usize {
        match self {
            Self::Inline(text) => text.len() + 16,
            Self::Object(object) => object.name.len() + object.sum.len() + 40,
        }
    }
}

fn size(key: &str, entry: Option<&Entry>) -> usize {
    key.len() + 8 + entry.map_or(4, Entry::size)
}

impl View {
    /// Commits so far.
    pub(super) fn head(&self) -> Head {
        Head(self.text.head)
    }

    /// Where the record at `key` lies.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match self.text.journal.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.paged(key),
        }
    }

    fn paged(&self, key: &str) -> Option<&Entry> {
        self.pages.get(self.page_of(key)?)?.get(key)
    }

    fn page_of(&self, key: &str) -> Option<usize> {
        self.text.pages.partition_point(|page| page.from.as_str() <= key).checked_sub(1)
    }

    /// At most `limit` keys that start with `prefix` and are greater than `after`, in order, with their entries.
    pub(super) fn range(&self, prefix: &str, after: &str, limit: usize) -> Vec<(&str, &Entry)> {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let range = (from, Bound::Unbounded);
        let first = self.page_of(after.max(prefix)).unwrap_or(0);
        let mut paged =
            self.pages[first.min(self.pages.len())..].iter().flat_map(|p| p.range::<str, _>(range)).peekable();
        let mut changed = self.text.journal.range::<str, _>(range).peekable();
        let mut found = Vec::new();
        while found.len() < limit {
            let takes_change = match (paged.peek(), changed.peek()) {
                (Some((old, _)), Some((new, _))) => new <= old,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (None, None) => break,
            };
            let next = if takes_change {
                changed.next().map(|(k, e)| (k, e.as_ref()))
            } else {
                paged.next().map(|(k, e)| (k, Some(e)))
            };
            let Some((key, entry)) = next else { break };
            if !key.starts_with(prefix) {
                break;
            }
            if takes_change && paged.peek().is_some_and(|(old, _)| *old == key) {
                paged.next();
            }
            found.extend(entry.map(|entry| (key.as_str(), entry)));
        }
        found
    }

    /// Names of all objects in use, by what they end with.
    pub(super) fn objects(&self) -> BTreeSet<&str> {
        let entries = self.text.journal.values().flatten();
        let paged =
            self.pages.iter().flat_map(|page| page.iter()).filter(|(key, _)| !self.text.journal.contains_key(*key));
        let records = entries.chain(paged.map(|(_, entry)| entry)).filter_map(|entry| match entry {
            Entry::Object(object) => Some(object.name.as_str()),
            Entry::Inline(_) => None,
        });
        records.chain(self.text.pages.iter().map(|page| page.object.name.as_str())).collect()
    }

    /// Keys whose records are others than in `before`, in order.
    pub(super) fn changed_since(&self, before: &Self) -> Vec<String> {
        let kept = |one: &PageRef, all: &[PageRef]| all.iter().any(|other| other.object == one.object);
        let moved = |view: &'_ Self, other: &Self| -> Vec<usize> {
            (0..view.pages.len()).filter(|n| !kept(&view.text.pages[*n], &other.text.pages)).collect()
        };
        let mut keys: BTreeSet<&String> = before.text.journal.keys().chain(self.text.journal.keys()).collect();
        keys.extend(moved(self, before).into_iter().flat_map(|n| self.pages[n].keys()));
        keys.extend(moved(before, self).into_iter().flat_map(|n| before.pages[n].keys()));
        keys.into_iter().filter(|key| self.entry(key) != before.entry(key)).cloned().collect()
    }

    /// The commit of `batch` on this view. `attempt` is random: no two attempts ever make an object of the same name.
    pub(super) fn commit(&self, batch: &Batch, attempt: &str) -> Result<Planned, Unreadable> {
        let mut plan = Plan { attempt, fresh: Vec::new() };
        let mut next = self.clone();
        // The last write of a key counts.
        let writes: BTreeMap<&String, &Option<Vec<u8>>> =
            batch.writes.iter().map(|(key, record)| (key, record)).collect();
        for (key, record) in writes {
            let entry = record.as_deref().map(|record| plan.entry(record));
            if entry.is_none() && self.paged(key).is_none() {
                next.text.journal.remove(key);
            } else {
                next.text.journal.insert(key.clone(), entry);
            }
        }
        if next.text.journal.iter().map(|(key, entry)| size(key, entry.as_ref())).sum::<usize>() > JOURNAL {
            next.settle(&mut plan)?;
        }
        next.text.head = self.head().next().0;
        next.text.recent.push((next.text.head, attempt.to_owned()));
        let over = next.text.recent.len().saturating_sub(RECENT);
        next.text.recent.drain(..over);
        let used = next.objects();
        let dead = self.objects().into_iter().filter(|name| !used.contains(name)).map(ToOwned::to_owned).collect();
        Ok(Planned { dead, fresh: plan.fresh, next })
    }

    /// Moves the journal to pages. Pages that nothing changed in stay as they are.
    fn settle(&mut self, plan: &mut Plan<'_>) -> Result<(), Unreadable> {
        let mut changes: BTreeMap<usize, Vec<(String, Option<Entry>)>> = BTreeMap::new();
        for (key, entry) in std::mem::take(&mut self.text.journal) {
            changes.entry(self.page_of(&key).unwrap_or(0)).or_default().push((key, entry));
        }
        let old = std::mem::take(&mut self.pages).into_iter().zip(std::mem::take(&mut self.text.pages));
        let mut old: Vec<Option<(Arc<Page>, PageRef)>> = old.map(Some).collect();
        if old.is_empty() {
            old.push(None);
        }
        for (n, old) in old.into_iter().enumerate() {
            let page = match (changes.remove(&n), old) {
                (None, Some((page, reference))) => {
                    self.pages.push(page);
                    self.text.pages.push(reference);
                    continue;
                }
                (changed, old) => {
                    let mut page = old.map(|(page, _)| (*page).clone()).unwrap_or_default();
                    for (key, entry) in changed.unwrap_or_default() {
                        match entry {
                            Some(entry) => drop(page.insert(key, entry)),
                            None => drop(page.remove(&key)),
                        }
                    }
                    page
                }
            };
            for part in cut(page) {
                let Some(from) = part.keys().next().cloned() else { continue };
                self.text.pages.push(PageRef { from, object: plan.object(text(&part)?) });
                self.pages.push(Arc::new(part));
            }
        }
        Ok(())
    }
}

/// Cuts a page that has grown too large into halves of it.
fn cut(page: Page) -> Vec<Page> {
    let whole: usize = page.iter().map(|(key, entry)| size(key, Some(entry))).sum();
    if whole <= PAGE {
        return vec![page];
    }
    let (mut parts, mut held) = (vec![Page::new()], 0);
    for (key, entry) in page {
        let more = size(&key, Some(&entry));
        if held + more > PAGE / 2 {
            parts.push(Page::new());
            held = 0;
        }
        held += more;
        if let Some(last) = parts.last_mut() {
            last.insert(key, entry);
        }
    }
    parts
}

struct Plan<'a> {
    attempt: &'a str,
    fresh: Vec<Fresh>,
}

impl Plan<'_> {
    fn entry(&mut self, record: &[u8]) -> Entry {
        if record.len() <= INLINE {
            return Entry::Inline(BASE64.encode(record));
        }
        Entry::Object(self.object(record.to_vec()))
    }

    fn object(&mut self, content: Vec<u8>) -> Object {
        let object = Object { name: format!("{}-{}", self.attempt, self.fresh.len()), sum: sum(&content) };
        self.fresh.push(Fresh { object: object.clone(), content });
        object
    }
}

#[cfg(test)]
mod tests;
