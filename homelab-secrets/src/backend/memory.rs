//! Records in memory: for tests and for `--dev`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{Backend, BackendError, Batch, CHANGES_KEPT, Change, Head};

/// Forgets everything when dropped.
#[derive(Debug)]
pub struct Memory {
    records: Mutex<(Head, BTreeMap<String, Vec<u8>>)>,
    changes: broadcast::Sender<Change>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { records: Mutex::default(), changes: broadcast::channel(CHANGES_KEPT).0 }
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, (Head, BTreeMap<String, Vec<u8>>)> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for Memory {
    async fn head(&self) -> Result<Head, BackendError> {
        Ok(self.lock().0)
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.lock().1.get(key).cloned())
    }

    async fn commit(&self, on: Head, batch: Batch) -> Result<Head, BackendError> {
        let mut records = self.lock();
        if records.0 != on {
            return Err(BackendError::Moved { now: records.0 });
        }
        records.0 = on.next();
        let keys = batch.writes.iter().map(|(key, _)| key.clone()).collect();
        for (key, record) in batch.writes {
            match record {
                Some(record) => drop(records.1.insert(key, record)),
                None => drop(records.1.remove(&key)),
            }
        }
        // Under the lock, so that changes come in the order of their heads. Nobody listening is fine.
        let _ = self.changes.send(Change { head: records.0, keys });
        Ok(records.0)
    }

    async fn scan(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>, BackendError> {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let records = self.lock();
        let found = records.1.range::<str, _>((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.take(limit).map(|(key, record)| (key.clone(), record.clone())).collect())
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        crate::testing::contract(|| Arc::new(Memory::default())).await;
    }
}
