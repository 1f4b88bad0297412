use std::sync::Mutex;

use homelab_core::class::Class;

use super::super::Vault;
use super::super::tests::{by, data, path};
use super::*;
use crate::backend::memory::Memory;
use crate::backend::{Backend as _, Batch, Head};
use crate::keys::{SlotKey, Unlock};
use crate::testing::{FixedHost, MemoryWitness};

fn watched(witness: &Arc<MemoryWitness>, strict: bool) -> Option<Watched> {
    Some(Watched { witness: witness.clone(), strict, every: Duration::from_millis(1) })
}

fn unlock() -> Unlock {
    let text = format!("homelab-key/1 {} {}", "11".repeat(16), "QUFB".repeat(21) + "QQ==");
    Unlock::KeyFile(SlotKey::from_file(&text).unwrap())
}

fn vault(backend: &Arc<Memory>, watched: Option<Watched>) -> Vault {
    Vault::watched(backend.clone(), Arc::new(FixedHost::default()), watched)
}

/// All records of one store in another one, as a restored backup is.
async fn restored(from: &Memory) -> Arc<Memory> {
    let (copy, mut batch) = (Arc::new(Memory::default()), Batch::default());
    for (key, record) in from.scan("", "", usize::MAX).await.unwrap() {
        batch.put(key, record);
    }
    copy.commit(Head(0), batch).await.unwrap();
    copy
}

async fn copied(witness: &MemoryWitness, sequence: u64) {
    let wait = async {
        while witness.read().await.unwrap().is_none_or(|copy| copy.head.sequence < sequence) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

fn at(store: &SecretStore) -> u64 {
    store.opened().unwrap().head.sequence
}

#[tokio::test]
async fn a_store_that_was_put_back_serves_reads_until_it_is_accepted() {
    let (backend, witness) = (Arc::new(Memory::default()), Arc::new(MemoryWitness::default()));
    let store = vault(&backend, watched(&witness, false)).initialize(vec![unlock()]).await.unwrap();
    store.put(&path("kv/a"), data(r#"{"v":"old"}"#), by("t")).await.unwrap();
    let backup = restored(&backend).await;
    for _ in 0..3 {
        store.put(&path("kv/a"), data(r#"{"v":"new"}"#), by("t")).await.unwrap();
    }
    let newest = at(&store);
    copied(&witness, newest).await;
    let again = vault(&backend, watched(&witness, false));
    again.unseal(unlock()).await.unwrap();
    assert_eq!(again.handle().witnessed(), Witnessed::Compared(Standing::Fresh));

    let vault_of_backup = vault(&backup, watched(&witness, false));
    vault_of_backup.unseal(unlock()).await.unwrap();
    let old = vault_of_backup.store().unwrap();
    assert_eq!(old.get(&path("kv/a"), None).await.unwrap().version, 1, "reads go on");
    let refused = old.put(&path("kv/a"), data("{}"), by("t")).await.unwrap_err();
    assert_eq!(refused.class(), Class::Retry);
    insta::assert_snapshot!(refused.to_string().replace(&newest.to_string(), "N"), @"the store takes no writes: the store stands at 2, the copy of its head at N: it was put back to an earlier state. See where it comes from, then say `homelab secrets accept-rollback`");
    let status = vault_of_backup.status().await.unwrap();
    assert_eq!(status.witnessed, Witnessed::Compared(Standing::RolledBack { store: 2, copy: newest }));
    assert_eq!(witness.read().await.unwrap().unwrap().head.sequence, newest, "the copy stays");

    old.accept_rollback("ann").await.unwrap();
    old.put(&path("kv/a"), data("{}"), by("t")).await.unwrap();
    assert!(at(&old) > newest + 1, "past what the copy said");
    copied(&witness, at(&old)).await;
    assert_eq!(old.accept_rollback("ann").await.unwrap_err().class(), Class::Conflict);
    let kept: Vec<(String, serde_json::Value)> = old.documents("accepted-rollback").await.unwrap();
    assert_eq!((kept.len(), &kept[0].1["by"]), (1, &serde_json::json!("ann")));

    let first_again = vault(&backend, watched(&witness, false));
    first_again.unseal(unlock()).await.unwrap();
    let known = first_again.handle().witnessed();
    assert!(
        matches!(known, Witnessed::Compared(Standing::RolledBack { .. })),
        "now the other one is behind: {known:?}"
    );
}

#[tokio::test]
async fn a_strict_store_stays_sealed() {
    let (backend, witness) = (Arc::new(Memory::default()), Arc::new(MemoryWitness::default()));
    let store = vault(&backend, watched(&witness, true)).initialize(vec![unlock()]).await.unwrap();
    let backup = restored(&backend).await;
    store.put(&path("kv/a"), data("{}"), by("t")).await.unwrap();
    copied(&witness, at(&store)).await;
    let strict = vault(&backup, watched(&witness, true));
    assert!(matches!(strict.unseal(unlock()).await, Err(Error::RolledBack(_))));
    let status = strict.status().await.unwrap();
    assert!(status.sealed && matches!(status.witnessed, Witnessed::Compared(Standing::RolledBack { .. })));
    let fresh = vault(&backend, watched(&witness, true));
    fresh.unseal(unlock()).await.unwrap();
}

#[tokio::test]
async fn another_store_in_the_place_of_the_first_is_noticed() {
    let witness = Arc::new(MemoryWitness::default());
    let first = vault(&Arc::default(), watched(&witness, false)).initialize(vec![unlock()]).await.unwrap();
    copied(&witness, at(&first)).await;
    let host = FixedHost::default();
    // Other random numbers than the first store's.
    crate::backend::Host::random(&host, &mut [0; 4096]).unwrap();
    let second = Vault::watched(Arc::new(Memory::default()), Arc::new(host), watched(&witness, false));
    second.initialize(vec![unlock()]).await.unwrap();
    let store = second.handle();
    assert!(matches!(store.witnessed(), Witnessed::Compared(Standing::OtherStore { .. })));
    assert!(matches!(store.put(&path("kv/a"), data("{}"), by("t")).await, Err(Error::RolledBack(_))));
    store.accept_rollback("ann").await.unwrap();
    store.put(&path("kv/a"), data("{}"), by("t")).await.unwrap();
    copied(&witness, at(&store)).await;
}

/// A witness that does not answer until it is told to.
#[derive(Default)]
struct Away {
    back: AtomicBool,
    copies: Mutex<Vec<HeadCopy>>,
}

#[async_trait]
impl HeadWitness for Away {
    async fn read(&self) -> Result<Option<HeadCopy>, Error> {
        if self.back.load(Ordering::SeqCst) { Ok(None) } else { Err(Error::Backend("the witness is away".into())) }
    }

    async fn write(&self, copy: &HeadCopy) -> Result<(), Error> {
        self.copies.lock().unwrap().push(copy.clone());
        Ok(())
    }
}

#[tokio::test]
async fn writes_wait_for_a_witness_that_is_away() {
    let away = Arc::new(Away::default());
    let watch = Watched { witness: away.clone(), strict: false, every: Duration::from_millis(1) };
    let vault = vault(&Arc::default(), Some(watch));
    let store = vault.initialize(vec![unlock()]).await.unwrap();
    let refused = store.put(&path("kv/a"), data("{}"), by("t")).await.unwrap_err();
    insta::assert_snapshot!(refused, @"the store takes no writes until the copy of its head can be read: the witness is away");
    assert!(away.copies.lock().unwrap().is_empty(), "nothing is copied over what was not read");
    away.back.store(true, Ordering::SeqCst);
    let written = async {
        while store.put(&path("kv/a"), data("{}"), by("t")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written).await.unwrap();
}

#[tokio::test]
async fn many_writes_make_few_copies() {
    let away = Arc::new(Away { back: AtomicBool::new(true), ..Away::default() });
    let watch = Watched { witness: away.clone(), strict: false, every: Duration::from_secs(3600) };
    let store = vault(&Arc::default(), Some(watch)).initialize(vec![unlock()]).await.unwrap();
    for _ in 0..50 {
        store.put(&path("kv/a"), data("{}"), by("t")).await.unwrap();
    }
    assert!(away.copies.lock().unwrap().len() <= 1);
}

#[tokio::test]
async fn a_store_from_before_there_were_heads_gets_one() {
    let backend = Arc::new(Memory::default());
    let store = vault(&backend, None).initialize(vec![unlock()]).await.unwrap();
    let mut batch = Batch::default();
    batch.delete("head");
    backend.commit(backend.head().await.unwrap(), batch).await.unwrap();
    drop(store);
    let again = vault(&backend, None);
    again.unseal(unlock()).await.unwrap();
    again.handle().put(&path("kv/a"), data("{}"), by("t")).await.unwrap();
    assert!(backend.get("head").await.unwrap().is_some());
}
