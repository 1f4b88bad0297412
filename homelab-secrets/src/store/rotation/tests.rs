use homelab_core::class::Class;
use zeroize::Zeroizing;

use super::super::tests::{Fixture, by, data, fixture, open, path};
use super::super::{Folder, MountChange};
use super::*;
use crate::backend::{Backend as _, Batch, Host as _};
use crate::keys::{RecoveryKey, SlotKey};
use crate::seal::front;

fn words(text: &str) -> Unlock {
    Unlock::Passphrase(Zeroizing::new(text.into()))
}

async fn reopen(f: &Fixture, unlock: Unlock) -> Result<SecretStore, Error> {
    SecretStore::open_or_init(f.backend.clone(), unlock, f.host.clone()).await
}

/// Ids of the keys that the stored records are sealed with.
async fn keys_in_use(f: &Fixture) -> Vec<KeyId> {
    let mut ids = Vec::new();
    for (key, sealed) in f.backend.scan("", "", usize::MAX).await.unwrap() {
        if let Some((form, ..)) = record::place_of(&key) {
            ids.push(front(form, &sealed).unwrap().key);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// One of each sort of record, in two mounts.
async fn fill(f: &Fixture) {
    f.store.add_mount("team", "").await.unwrap();
    for n in 0..60 {
        let at = path(&format!("{}/deep/{n}", if n % 2 == 0 { "kv" } else { "team" }));
        f.store.put(&at, data(&format!(r#"{{"n":{n}}}"#)), by("t")).await.unwrap();
    }
    f.store.put_document("role", "a/b", &"content".to_owned()).await.unwrap();
    f.store.pin("app@1", &[("kv/deep/0".into(), 1)]).await.unwrap();
}

async fn all_is_there(store: &SecretStore) {
    for n in 0..60 {
        let at = path(&format!("{}/deep/{n}", if n % 2 == 0 { "kv" } else { "team" }));
        assert_eq!(store.get(&at, Some(1)).await.unwrap().data, data(&format!(r#"{{"n":{n}}}"#)));
    }
    assert_eq!(store.document::<String>("role", "a/b").await.unwrap().as_deref(), Some("content"));
    assert_eq!(store.history(&path("kv/deep/0")).await.unwrap().unwrap().pins.len(), 1);
    assert_eq!(store.list(&Folder::parse("team/deep").unwrap()).await.unwrap().len(), 30);
}

#[tokio::test]
async fn slots_are_added_replaced_and_removed_while_the_store_is_open() {
    let f = fixture().await;
    fill(&f).await;
    let first = f.store.opened().unwrap().table.slots[0].id();
    insta::assert_snapshot!(
        f.store.remove_slot(first).await.unwrap_err().to_string().replace(&first.to_string(), "ID"),
        @"slot ID is the last one: add another one first"
    );
    let added = f.store.add_slot(words("right words")).await.unwrap();
    all_is_there(&reopen(&f, words("right words")).await.unwrap()).await;
    let replaced = f.store.replace_slot(added, words("other words")).await.unwrap();
    assert!(replaced != added && reopen(&f, words("right words")).await.is_err());
    f.store.remove_slot(first).await.unwrap();
    assert!(open(&f.backend, &f.host, &f.key).await.is_err(), "the first key file opens nothing any more");
    all_is_there(&reopen(&f, words("other words")).await.unwrap()).await;
    assert_eq!(f.store.replace_slot(first, words("no matter")).await.unwrap_err().class(), Class::NotFound);
    let only = f.store.replace_slot(replaced, words("last words")).await.unwrap();
    assert_eq!(f.store.opened().unwrap().table.slots.iter().map(Slot::id).collect::<Vec<_>>(), [only]);
}

#[tokio::test]
async fn a_rotation_seals_everything_anew_and_then_drops_the_old_key() {
    let f = fixture().await;
    fill(&f).await;
    let digest = f.store.digest(&path("kv/deep/0"), 1).await.unwrap();
    let old = f.store.opened().unwrap().keys.active();
    f.store
        .change_keys(|table, ring, store| table.add_epoch(ring, &|buffer| store.0.host.random(buffer)))
        .await
        .unwrap();
    f.store.put(&path("kv/new"), data("{}"), by("t")).await.unwrap();
    let new = f.store.opened().unwrap().keys.active();
    assert_eq!(keys_in_use(&f).await.len(), 2, "both are in use");
    all_is_there(&f.store).await;

    f.store.reseal().await.unwrap();
    assert_eq!(keys_in_use(&f).await, [new]);
    let open_now = f.store.opened().unwrap();
    assert_eq!(open_now.table.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [2]);
    assert!(open_now.keys.key(old, crate::seal::Form::State).is_none() && f.store.resealing().is_none());
    all_is_there(&f.store).await;
    all_is_there(&open(&f.backend, &f.host, &f.key).await.unwrap()).await;
    assert_eq!(f.store.digest(&path("kv/deep/0"), 1).await.unwrap(), digest, "digests stay");
    f.store.tune_mount("team", MountChange::default()).await.unwrap();
}

#[tokio::test]
async fn a_rotation_goes_on_by_itself_after_it_was_cut_off() {
    let f = fixture().await;
    fill(&f).await;
    f.store
        .change_keys(|table, ring, store| table.add_epoch(ring, &|buffer| store.0.host.random(buffer)))
        .await
        .unwrap();
    let again = open(&f.backend, &f.host, &f.key).await.unwrap();
    while again.opened().unwrap().table.epochs.len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(keys_in_use(&f).await, [again.opened().unwrap().keys.active()]);
    all_is_there(&again).await;
    all_is_there(&f.store).await;
}

#[tokio::test]
async fn readers_and_writers_are_not_disturbed_by_rotations() {
    let f = fixture().await;
    fill(&f).await;
    let other = open(&f.backend, &f.host, &f.key).await.unwrap();
    let rotate = async {
        for _ in 0..5 {
            f.store.rotate().await.unwrap();
            f.store.reseal().await.unwrap();
        }
    };
    let work = async |store: &SecretStore, name: &str| {
        for n in 0..100 {
            let version = store.put(&path(name), data(&format!(r#"{{"n":{n}}}"#)), by("t")).await.unwrap().0;
            assert_eq!(store.get(&path(name), Some(version)).await.unwrap().version, version);
            store.get(&path(&format!("kv/deep/{}", n % 30 * 2)), None).await.unwrap();
            store.documents::<String>("role").await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(rotate, work(&f.store, "kv/mine"), work(&other, "kv/theirs"));
    f.store.reseal().await.unwrap();
    all_is_there(&f.store).await;
    all_is_there(&other).await;
    assert_eq!(keys_in_use(&f).await.len(), 1);
}

#[tokio::test]
async fn a_record_that_does_not_open_keeps_the_old_key() {
    let f = fixture().await;
    fill(&f).await;
    let key = record::state_key(&f.store.mounts()[0].id, "deep/0");
    let good = f.backend.get(&key).await.unwrap().unwrap();
    let overwrite = async |record: Vec<u8>| {
        let mut batch = Batch::default();
        batch.put(key.clone(), record);
        f.backend.commit(f.backend.head().await.unwrap(), batch).await.unwrap();
    };
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    overwrite(bad).await;
    f.store
        .change_keys(|table, ring, store| table.add_epoch(ring, &|buffer| store.0.host.random(buffer)))
        .await
        .unwrap();
    f.store.reseal().await.unwrap();
    let progress = f.store.resealing().unwrap();
    assert_eq!((progress.epoch, progress.stuck, progress.done + 1), (2, 1, progress.total));
    assert_eq!(f.store.opened().unwrap().table.epochs.len(), 2);
    overwrite(good).await;
    f.store.reseal().await.unwrap();
    assert_eq!((f.store.opened().unwrap().table.epochs.len(), f.store.resealing()), (1, None));
    all_is_there(&f.store).await;
}

#[tokio::test]
async fn a_new_root_needs_the_key_of_every_slot() {
    let f = fixture().await;
    fill(&f).await;
    let recovery = RecoveryKey::generate(&|buffer| f.host.random(buffer)).unwrap();
    let text = recovery.to_text().unwrap();
    let recovery = || Unlock::Recovery(RecoveryKey::from_text(&text).unwrap());
    let file = || Unlock::KeyFile(SlotKey::from_file(&f.key).unwrap());
    let id = f.store.add_slot(recovery()).await.unwrap();
    let before = f.store.opened().unwrap();
    insta::assert_snapshot!(
        f.store.rotate_root(vec![file()]).await.unwrap_err().to_string().replace(&id.to_string(), "ID"),
        @"slot ID (recovery key) would open nothing any more: give its key, too, or remove it first"
    );
    assert_eq!(f.store.rotate_root(vec![file(), recovery(), file()]).await.unwrap_err().class(), Class::Invalid);
    let other = open(&f.backend, &f.host, &f.key).await.unwrap();
    f.store.rotate_root(vec![recovery(), file()]).await.unwrap();
    assert!(f.store.opened().unwrap().table.reopen(&before.keys).is_err(), "the old root opens nothing");
    all_is_there(&f.store).await;
    f.store.put(&path("kv/x"), data("{}"), by("t")).await.unwrap();
    for unlock in [file(), recovery()] {
        all_is_there(&reopen(&f, unlock).await.unwrap()).await;
    }
    // Another process has the old root only: it asks to be opened again, and does not write on.
    assert!(matches!(other.put(&path("kv/y"), data("{}"), by("t")).await, Err(Error::Sealed)));
}
