//! For tests: the contract that every [`Backend`] keeps, and a host whose clock stands where it is put.

mod audit;
mod backup_target;
mod mount;
mod versions;
mod witness;

pub use audit::audit_contract;
pub use backup_target::backup_target_contract;
pub use mount::sealed_mount_contract;
pub use versions::{OwnNamespace, open_store, versions_contract};
pub use witness::{MemoryWitness, witness_contract};

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::Error;
use crate::backend::{Backend, BackendError, Batch, Head, Host};

/// A clock that is set by hand, and bytes that never repeat but are the same in each run.
#[derive(Debug)]
pub struct FixedHost {
    second: AtomicI64,
    drawn: AtomicU64,
}

impl Default for FixedHost {
    fn default() -> Self {
        Self { second: AtomicI64::new(1_800_000_000), drawn: AtomicU64::new(0) }
    }
}

impl FixedHost {
    /// Lets time pass.
    pub fn advance(&self, seconds: i64) {
        self.second.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Host for FixedHost {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.second.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }

    fn random(&self, buffer: &mut [u8]) -> Result<(), Error> {
        for chunk in buffer.chunks_mut(8) {
            // splitmix64
            let mut z = self.drawn.fetch_add(1, Ordering::SeqCst).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// Everything that a backend promises. `make` gives an empty one each time. Panics where a promise is broken.
pub async fn contract<B: Backend>(make: impl Fn() -> Arc<B>) {
    batches_are_whole(&*make()).await;
    a_stale_head_changes_nothing(&*make()).await;
    scans_are_ordered_and_bounded(&*make()).await;
    changes_tell_of_each_commit(&*make()).await;
    writers_do_not_lose_each_others_work(make()).await;
}

fn batch(writes: &[(&str, Option<&[u8]>)]) -> Batch {
    Batch { writes: writes.iter().map(|(key, record)| ((*key).into(), record.map(Into::into))).collect() }
}

async fn batches_are_whole(backend: &dyn Backend) {
    assert_eq!(backend.head().await.expect("head"), Head(0), "an empty backend stands at 0");
    assert_eq!(backend.get("a").await.expect("get"), None);
    let large = vec![0xff; 700_000];
    let head = backend.commit(Head(0), batch(&[("a", Some(b"\x00\xff")), ("b", Some(&large)), ("c", Some(b""))])).await;
    assert_eq!(head.expect("commit"), Head(1));
    assert_eq!(backend.get("a").await.expect("get").as_deref(), Some(&b"\x00\xff"[..]));
    assert_eq!(backend.get("b").await.expect("get"), Some(large));
    assert_eq!(backend.get("c").await.expect("get"), Some(Vec::new()), "empty is not missing");
    backend.commit(Head(1), batch(&[("a", None), ("b", Some(b"2")), ("missing", None)])).await.expect("commit");
    assert_eq!(backend.get("a").await.expect("get"), None);
    assert_eq!(backend.get("b").await.expect("get").as_deref(), Some(&b"2"[..]));
    assert_eq!(backend.head().await.expect("head"), Head(2));
}

async fn a_stale_head_changes_nothing(backend: &dyn Backend) {
    backend.commit(Head(0), batch(&[("a", Some(b"1"))])).await.expect("commit");
    for stale in [Head(0), Head(2)] {
        let refused = backend.commit(stale, batch(&[("a", Some(b"2")), ("b", Some(b"2"))])).await;
        assert!(matches!(refused, Err(BackendError::Moved { now: Head(1) })), "{refused:?}");
    }
    assert_eq!(backend.get("a").await.expect("get").as_deref(), Some(&b"1"[..]));
    assert_eq!(backend.get("b").await.expect("get"), None);
}

async fn scans_are_ordered_and_bounded(backend: &dyn Backend) {
    let keys = ["a", "k/", "k/1", "k/10", "k/2", "k/é", "k0", "l"];
    let all: Vec<_> = keys.iter().rev().map(|key| (*key, Some(key.as_bytes()))).collect();
    backend.commit(Head(0), batch(&all)).await.expect("commit");
    let scan = async |prefix: &str, after: &str, limit| {
        let found = backend.scan(prefix, after, limit).await.expect("scan");
        assert!(found.iter().all(|(key, record)| key.as_bytes() == record));
        found.into_iter().map(|(key, _)| key).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(scan("k/", "", 10).await, "k/ k/1 k/10 k/2 k/é");
    assert_eq!(scan("k/", "k/1", 2).await, "k/10 k/2");
    assert_eq!(scan("k/", "k/15", 10).await, "k/2 k/é", "after need not exist");
    assert_eq!(scan("k/", "k/é", 10).await, "");
    assert_eq!(scan("", "", 100).await, "a k/ k/1 k/10 k/2 k/é k0 l");
    assert_eq!(scan("x", "", 10).await, "");
    assert_eq!(scan("k/", "", 0).await, "");
}

async fn changes_tell_of_each_commit(backend: &dyn Backend) {
    let mut changes = backend.changes();
    backend.commit(Head(0), batch(&[("a", Some(b"1")), ("b", None)])).await.expect("commit");
    let _ = backend.commit(Head(0), batch(&[("refused", Some(b"1"))])).await;
    backend.commit(Head(1), batch(&[("c", Some(b"1"))])).await.expect("commit");
    for (head, keys) in [(Head(1), vec!["a", "b"]), (Head(2), vec!["c"])] {
        let change = changes.recv().await.expect("a change");
        assert_eq!((change.head, change.keys.to_vec()), (head, keys.into_iter().map(String::from).collect()));
    }
}

async fn writers_do_not_lose_each_others_work<B: Backend>(backend: Arc<B>) {
    const WRITERS: usize = 4;
    const EACH: usize = 10;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (backend, acknowledged) = (backend.clone(), acknowledged.clone());
            tokio::spawn(async move {
                for n in 0..EACH {
                    let key = format!("w/{writer}/{n}");
                    while backend
                        .commit(backend.head().await.expect("head"), batch(&[(&key, Some(b"x"))]))
                        .await
                        .is_err()
                    {
                        tokio::task::yield_now().await;
                    }
                    acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(key);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a writer");
    }
    assert_eq!(backend.head().await.expect("head"), Head((WRITERS * EACH) as u64), "one head a commit");
    assert_eq!(backend.scan("w/", "", 1000).await.expect("scan").len(), WRITERS * EACH);
}
