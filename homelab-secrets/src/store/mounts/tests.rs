use std::time::Duration;

use homelab_core::class::Class;

use super::super::tests::{by, data, fixture, open, path};
use super::super::{Changed, Folder, Put};
use super::*;
use crate::backend::{Backend as _, Batch};

#[tokio::test]
async fn mounts_come_change_and_go_while_the_store_is_open() {
    let f = fixture().await;
    let mut changes = f.store.changes();
    let team = f.store.add_mount("team", "for the team").await.unwrap();
    assert_eq!(changes.next().await, Some(Changed::Mounts));
    f.store.put(&path("team/a"), data(r#"{"v":1}"#), by("t")).await.unwrap();
    assert_eq!(changes.next().await, Some(Changed::Path("team/a".into())), "a mount that came after");
    let again = f.store.add_mount("team", "").await.unwrap_err();
    assert_eq!((again.class(), again.to_string()), (Class::Conflict, "there is a mount team already".into()));

    let change = MountChange { description: Some("ours".into()), max_versions: Some(1), ..Default::default() };
    f.store.tune_mount("team", change).await.unwrap();
    f.store.put(&path("team/a"), data(r#"{"v":2}"#), by("t")).await.unwrap();
    let reopened = open(&f.backend, &f.host, &f.key).await.unwrap();
    let found = &reopened.mounts()[1];
    assert_eq!((found.description.as_str(), found.settings.max_versions, &found.id), ("ours", 1, &team.id));
    let versions = reopened.history(&path("team/a")).await.unwrap().unwrap().versions;
    assert_eq!(versions.into_keys().collect::<Vec<_>>(), [2]);

    f.store.pin("app@1", &[("team/a".into(), 2)]).await.unwrap();
    f.store.put(&path("kv/a"), data("{}"), by("t")).await.unwrap();
    let hits = f.store.remove_mount("team").await.unwrap();
    assert_eq!(format!("{hits:?}"), r#"{"app@1": {2}}"#);
    assert_eq!(f.store.get(&path("team/a"), None).await.unwrap_err().class(), Class::NotFound);
    assert_eq!(f.store.put(&path("team/a"), data("{}"), Put::default()).await.unwrap_err().class(), Class::NotFound);
    for prefix in [record::state_key(&team.id, ""), record::versions_of(&team.id)] {
        assert!(f.backend.scan(&prefix, "", 10).await.unwrap().is_empty(), "{prefix}");
    }
    assert_eq!(f.store.list(&Folder::parse("kv").unwrap()).await.unwrap(), ["a"]);
    f.store.unpin("app@1").await.unwrap();
    assert_ne!(f.store.add_mount("team", "").await.unwrap().id, team.id, "a new one is another one");
    assert!(f.store.get(&path("team/a"), None).await.is_err());
}

#[tokio::test]
async fn another_process_sees_a_new_mount_with_its_next_write() {
    let f = fixture().await;
    let other = open(&f.backend, &f.host, &f.key).await.unwrap();
    f.store.add_mount("team", "").await.unwrap();
    other.put(&path("team/a"), data("{}"), by("t")).await.unwrap();
    f.store.remove_mount("team").await.unwrap();
    assert_eq!(other.put(&path("team/b"), data("{}"), by("t")).await.unwrap_err().class(), Class::NotFound);
}

#[tokio::test]
async fn a_removal_that_was_cut_off_is_finished_at_the_next_start() {
    let f = fixture().await;
    let team = f.store.add_mount("team", "").await.unwrap();
    for n in 0..(VERSIONS_AT_ONCE * 2) {
        f.store.put(&path(&format!("team/{n}")), data("{}"), by("t")).await.unwrap();
    }
    f.store
        .change_mounts(|mounts| {
            find(mounts, "team")?.going = true;
            Ok(())
        })
        .await
        .unwrap();
    f.store.write(Clear { id: team.id }).await.unwrap();
    assert!(!f.backend.scan(&record::versions_of(&team.id), "", 1).await.unwrap().is_empty(), "half done");
    let again = open(&f.backend, &f.host, &f.key).await.unwrap();
    assert!(f.backend.scan(&record::versions_of(&team.id), "", 1).await.unwrap().is_empty());
    assert!(again.opened().unwrap().mounts.iter().all(|mount| mount.name == KV_MOUNT));
}

#[tokio::test]
async fn names_and_settings_that_can_not_be_are_refused() {
    let f = fixture().await;
    for name in ["", "sys", "auth", "git", "a/b", ".", "..", ".a", "a b", "é", &"x".repeat(65)] {
        assert_eq!(f.store.add_mount(name, "").await.unwrap_err().class(), Class::Invalid, "{name:?}");
    }
    let negative = MountChange { delete_version_after: Some(SignedDuration::from_secs(-1)), ..Default::default() };
    assert_eq!(f.store.tune_mount("kv", negative).await.unwrap_err().class(), Class::Invalid);
    assert_eq!(f.store.tune_mount("none", MountChange::default()).await.unwrap_err().class(), Class::NotFound);
    assert_eq!(f.store.remove_mount("none").await.unwrap_err().class(), Class::NotFound);
    insta::assert_snapshot!(f.store.remove_mount("kv").await.unwrap_err(), @"the mount kv stays: remove the secrets in it instead");
}

#[tokio::test]
async fn a_table_of_mounts_without_descriptions_is_read() {
    let f = fixture().await;
    let place = Place { mount: &record::SYSTEM, path: record::MOUNTS };
    let id = crate::hex::encode(&f.store.mounts()[0].id);
    let old = serde_json::json!({ "mounts": [{ "name": "kv", "id": id }] });
    let keys = f.store.opened().unwrap().keys.clone();
    let mut batch = Batch::default();
    batch.put(record::MOUNTS, record::seal(&keys, crate::seal::Form::State, (place, 9, [9; 16]), old).unwrap());
    f.backend.commit(f.backend.head().await.unwrap(), batch).await.unwrap();
    assert_eq!(open(&f.backend, &f.host, &f.key).await.unwrap().mounts(), f.store.mounts());
}

#[tokio::test]
async fn writers_at_the_same_time_share_commits_and_each_is_answered_for_itself() {
    let f = fixture().await;
    let before = f.backend.head().await.unwrap().0;
    let writes: Vec<_> = (0..100)
        .map(|n| {
            let store = f.store.clone();
            // Every tenth asks for a version that is not there.
            let how = Put { cas: (n % 10 == 0).then_some(7), writer: "t".into() };
            tokio::spawn(async move { store.put(&path(&format!("kv/{}", n / 2)), data("{}"), how).await })
        })
        .collect();
    let mut written = 0;
    for (n, write) in writes.into_iter().enumerate() {
        let done = tokio::time::timeout(Duration::from_secs(60), write).await.unwrap().unwrap();
        assert_eq!(done.is_err(), n % 10 == 0, "{n}: {done:?}");
        written += u64::from(done.is_ok());
    }
    let commits = f.backend.head().await.unwrap().0 - before;
    assert!(commits < written, "{written} writes in {commits} commits");
    for n in 0..50 {
        let current = f.store.history(&path(&format!("kv/{n}"))).await.unwrap().unwrap().current;
        assert_eq!(current, if n % 5 == 0 { 1 } else { 2 }, "{n}");
    }
}
