use std::time::Duration;

use homelab_core::class::Class;
use homelab_core::meta::Account;

use super::*;
use crate::backend::memory::Memory;
use crate::backend::{BackendError, Batch};
use crate::keys::{SlotKey, Unlock};
use crate::policy::{Capability, Decision, Identity, Policy};
use crate::testing::FixedHost;

pub(super) struct Fixture {
    pub(super) backend: Arc<Memory>,
    pub(super) host: Arc<FixedHost>,
    pub(super) key: String,
    pub(super) store: SecretStore,
}

pub(super) async fn fixture() -> Fixture {
    let (backend, host) = (Arc::new(Memory::default()), Arc::new(FixedHost::default()));
    let key = SlotKey::generate(&|buffer| host.random(buffer)).unwrap().to_file().to_string();
    let store = open(&backend, &host, &key).await.unwrap();
    Fixture { backend, host, key, store }
}

pub(super) async fn open(backend: &Arc<Memory>, host: &Arc<FixedHost>, key: &str) -> Result<SecretStore, Error> {
    let unlock = Unlock::KeyFile(SlotKey::from_file(key).unwrap());
    SecretStore::open_or_init(backend.clone(), unlock, host.clone()).await
}

pub(super) fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

pub(super) fn data(text: &str) -> SecretData {
    serde_json::from_str(text).unwrap()
}

pub(super) fn by(writer: &str) -> Put {
    Put { cas: None, writer: writer.into() }
}

#[tokio::test]
async fn values_come_back_by_version_and_survive_reopening() {
    let f = fixture().await;
    let db = path("kv/web/db");
    f.store.put(&db, data(r#"{"password":"one"}"#), by("ann")).await.unwrap();
    f.host.advance(60);
    assert_eq!(f.store.put(&db, data(r#"{"password":"two","n":1}"#), by("bob")).await.unwrap().0, 2);
    f.store.patch(&db, data(r#"{"n":null,"x":true}"#), by("cid")).await.unwrap();

    let again = open(&f.backend, &f.host, &f.key).await.unwrap();
    let read = async |version| {
        let secret = again.get(&db, version).await.unwrap();
        format!("{} {} {}", secret.version, secret.writer, serde_json::to_string(&secret.data).unwrap())
    };
    assert_eq!(read(Some(1)).await, r#"1 ann {"password":"one"}"#);
    assert_eq!(read(Some(2)).await, r#"2 bob {"n":1,"password":"two"}"#);
    assert_eq!(read(None).await, r#"3 cid {"password":"two","x":true}"#);
    let missing = again.get(&db, Some(9)).await.unwrap_err();
    assert_eq!((missing.class(), missing.to_string()), (Class::NotFound, "kv/web/db: there is no version 9".into()));
    assert_eq!(again.get(&path("other/x"), None).await.unwrap_err().class(), Class::NotFound);
}

#[tokio::test]
async fn another_key_does_not_open_the_store() {
    let f = fixture().await;
    let other = SlotKey::generate(&|buffer| f.host.random(buffer)).unwrap().to_file().to_string();
    let refused = open(&f.backend, &f.host, &other).await.map(drop).unwrap_err();
    insta::assert_snapshot!(refused, @"no slot of the store belongs to this key: use the key file that the store was made with");
}

#[tokio::test]
async fn listing_shows_one_level() {
    let f = fixture().await;
    for n in 0..600 {
        f.store.put(&path(&format!("kv/deep/a/{n:04}")), data("{}"), by("t")).await.unwrap();
    }
    for name in ["kv/deep/b", "kv/deep/z/y/x", "kv/deep", "kv/top"] {
        f.store.put(&path(name), data("{}"), by("t")).await.unwrap();
    }
    let list = async |folder| f.store.list(&Folder::parse(folder).unwrap()).await.unwrap().join(" ");
    assert_eq!(list("kv/").await, "deep deep/ top");
    assert_eq!(list("kv/deep").await, "a/ b z/");
    assert_eq!(list("kv/none/").await, "");
    assert_eq!(f.store.list(&Folder::parse("kv/deep/a").unwrap()).await.unwrap().len(), 600);
}

#[tokio::test]
async fn records_do_not_open_elsewhere_or_in_another_life_of_the_path() {
    let f = fixture().await;
    let (a, b) = (path("kv/a"), path("kv/b"));
    for p in [&a, &b] {
        f.store.put(p, data(r#"{"v":"old"}"#), by("t")).await.unwrap();
    }
    let mount = f.store.mounts()[0].id;
    let key = |p: &str| record::version_key(&mount, p, 1);
    let old = f.backend.get(&key("a")).await.unwrap().unwrap();
    let overwrite = async |key: String, record: Vec<u8>| {
        let mut batch = Batch::default();
        batch.put(key, record);
        f.backend.commit(f.backend.head().await.unwrap(), batch).await.unwrap();
    };
    overwrite(key("b"), old.clone()).await;
    assert!(matches!(f.store.get(&b, None).await, Err(Error::Unsealed { .. })), "moved to another path");

    f.store.remove(&a).await.unwrap();
    f.store.put(&a, data(r#"{"v":"new"}"#), by("t")).await.unwrap();
    overwrite(key("a"), old).await;
    assert!(matches!(f.store.get(&a, None).await, Err(Error::Unsealed { .. })), "version 1 of the path's earlier life");
}

#[tokio::test]
async fn nothing_open_reaches_the_backend() {
    let f = fixture().await;
    f.store.put(&path("kv/a"), data(r#"{"planted-key":"planted-value"}"#), by("planted-writer")).await.unwrap();
    f.store.pin("holder", &[("kv/a".into(), 1)]).await.unwrap();
    for (key, record) in f.backend.scan("", "", 1000).await.unwrap() {
        let text = String::from_utf8_lossy(&record).into_owned() + &key;
        assert!(!text.contains("planted"), "{key}");
    }
}

#[tokio::test]
async fn pinned_versions_outlive_pruning_until_let_go() {
    let f = fixture().await;
    let a = path("kv/a");
    f.store.set(&a, SettingsChange { max_versions: Some(1), ..Default::default() }, false).await.unwrap();
    f.store.put(&a, data(r#"{"n":1}"#), by("t")).await.unwrap();
    let pins = [("kv/a".to_owned(), 1)];
    f.store.pin("app@r1", &pins).await.unwrap();
    let head = f.backend.head().await.unwrap();
    f.store.pin("app@r1", &pins).await.unwrap();
    assert_eq!(f.backend.head().await.unwrap(), head, "again is nothing");
    f.store.put(&a, data(r#"{"n":2}"#), by("t")).await.unwrap();
    f.store.put(&a, data(r#"{"n":3}"#), by("t")).await.unwrap();
    let again = open(&f.backend, &f.host, &f.key).await.unwrap();
    assert_eq!(again.history(&a).await.unwrap().unwrap().versions.into_keys().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(again.pin("app@r2", &[("kv/a".into(), 2)]).await.unwrap_err().class(), Class::NotFound);
    again.pin("app@r1", &[("kv/a".into(), 3)]).await.unwrap();
    assert_eq!(again.get(&a, Some(1)).await.unwrap_err().class(), Class::NotFound, "let go, and over the limit");
    let hits = again.remove(&a).await.unwrap();
    assert_eq!(format!("{hits:?}"), r#"{"app@r1": {3}}"#, "done all the same, and said");
    again.unpin("app@r1").await.unwrap();
    assert!(f.backend.scan("h/", "", 10).await.unwrap().is_empty());
}

struct Only(&'static str);

impl Policy for Only {
    fn decide(&self, _: &Identity, path: &str, _: Capability) -> Decision {
        if path == self.0 { Decision::Allow } else { Decision::Deny { why: "no policy says so".into() } }
    }
}

#[tokio::test]
async fn resolving_gives_version_digest_and_keys_as_the_account_may_see_them() {
    let f = fixture().await;
    let (a, web, policy) = (path("kv/web/a"), Account::new("web", "default"), Only("kv/web/a"));
    let resolve = async |path: &str, version| f.store.resolve_as(&policy, &web, path, version).await;
    insta::assert_snapshot!(resolve("kv/web/a", None).await.unwrap_err(),
        @"kv/web/a, asked for by web/default: there is no such secret; write it with `homelab kv put kv/web/a KEY=VALUE`");
    f.store.put(&a, data(r#"{"b":1,"a":"x"}"#), by("t")).await.unwrap();
    f.store.put(&a, data(r#"{"a":"y"}"#), by("t")).await.unwrap();
    f.store.put(&a, data(r#"{"a":"x","b":1}"#), by("t")).await.unwrap();
    let (one, two, newest) = (
        resolve("kv/web/a", Some(1)).await.unwrap(),
        resolve("kv/web/a", Some(2)).await.unwrap(),
        resolve("kv/web/a", None).await.unwrap(),
    );
    assert_eq!((newest.version, newest.keys.join(" ")), (3, "a b".into()));
    assert_eq!(one.digest, newest.digest, "equal content");
    assert_ne!(one.digest, two.digest);
    f.store.put(&path("kv/web/c"), data(r#"{"a":"y"}"#), by("t")).await.unwrap();
    assert_ne!(
        two.digest,
        f.store.digest(&path("kv/web/c"), 1).await.unwrap(),
        "equality across paths is nobody's business"
    );
    f.store.delete(&a, &[]).await.unwrap();
    assert_eq!(resolve("kv/web/a", None).await.unwrap().version, 2, "the newest live one");
    insta::assert_snapshot!(resolve("kv/web/b", None).await.unwrap_err(), @"web/default may not read kv/web/b: no policy says so");
}

/// A waiter for `kv/a`, which stands at `known`, sleeps until `change`.
async fn woken(f: &Fixture, known: u64, change: impl AsyncFn()) {
    let store = f.store.clone();
    let waiter = tokio::spawn(async move { store.wait_changed(&[("kv/a".into(), known)]).await });
    tokio::task::yield_now().await;
    assert!(!waiter.is_finished());
    change().await;
    tokio::time::timeout(Duration::from_secs(5), waiter).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn waiting_ends_when_another_version_is_the_newest_live_one_and_only_then() {
    let f = fixture().await;
    let a = path("kv/a");
    let waits = async |version: u64| {
        let known = [("kv/a".to_owned(), version), ("kv/never".to_owned(), 0)];
        tokio::time::timeout(Duration::from_millis(50), f.store.wait_changed(&known)).await.is_err()
    };
    assert!(waits(0).await);
    f.store.put(&a, data("{}"), by("t")).await.unwrap();
    assert!(!waits(0).await && waits(1).await);
    f.store.put(&a, data("{}"), by("t")).await.unwrap();
    f.store.delete(&a, &[2]).await.unwrap();
    assert!(waits(1).await, "deleted versions are no news");

    woken(&f, 1, async || drop(f.store.put(&a, data("{}"), by("t")).await.unwrap())).await;
    f.store.pin("App web/a@r1", &[("kv/a".into(), 3)]).await.unwrap();
    woken(&f, 3, async || drop(f.store.destroy(&a, &[3]).await.unwrap())).await;
    assert!(waits(1).await, "an App goes on with the newest one that is left");
    woken(&f, 1, async || drop(f.store.remove(&a).await.unwrap())).await;
    assert!(waits(0).await);
}

#[tokio::test]
async fn what_is_gone_for_good_is_told_from_what_can_come_back() {
    let f = fixture().await;
    let a = path("kv/a");
    for _ in 0..3 {
        f.store.put(&a, data("{}"), by("t")).await.unwrap();
    }
    f.store.delete(&a, &[1]).await.unwrap();
    f.store.destroy(&a, &[2]).await.unwrap();
    let asked = [("kv/a", 1), ("kv/a", 2), ("kv/a", 3), ("kv/a", 4), ("kv/b", 1), ("none/a", 1)];
    let asked = asked.map(|(path, version)| (path.to_owned(), version));
    let gone = f.store.gone(&asked).await.unwrap();
    assert_eq!(gone, [&asked[1], &asked[3], &asked[4], &asked[5]].map(Clone::clone));
}

#[tokio::test]
async fn changes_name_paths() {
    let f = fixture().await;
    let mut changes = f.store.changes();
    f.store.put(&path("kv/web/db"), data("{}"), by("t")).await.unwrap();
    f.store.pin("h", &[("kv/web/db".into(), 1)]).await.unwrap();
    f.store.remove(&path("kv/web/db")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(changes.next().await, Some(Changed::Path("kv/web/db".into())));
    }
}

#[tokio::test]
async fn two_stores_on_one_backend_lose_no_write() {
    let f = fixture().await;
    let other = open(&f.backend, &f.host, &f.key).await.unwrap();
    let write = async |store: &SecretStore| {
        for _ in 0..20 {
            store.put(&path("kv/a"), data("{}"), by("t")).await.unwrap();
        }
    };
    tokio::join!(write(&f.store), write(&other));
    assert_eq!(f.store.history(&path("kv/a")).await.unwrap().unwrap().current, 40);
    let twice = Put { cas: Some(40), writer: "t".into() };
    let a = path("kv/a");
    let (one, two) = tokio::join!(f.store.put(&a, data("{}"), twice.clone()), other.put(&a, data("{}"), twice));
    assert_eq!(one.is_ok() as u8 + two.is_ok() as u8, 1, "check-and-set lets one through");
}

#[tokio::test]
async fn values_are_bounded() {
    let f = fixture().await;
    let large = data(&format!(r#"{{"v":"{}"}}"#, "x".repeat(MAX_VALUE)));
    let refused = f.store.put(&path("kv/a"), large, by("t")).await.unwrap_err();
    insta::assert_snapshot!(refused, @"kv/a: a value may have 524288 bytes, this one has 524296");
    assert!(f.store.history(&path("kv/a")).await.unwrap().is_none());
}

#[test]
fn a_backend_that_is_away_is_a_passing_trouble() {
    let full = Error::from(BackendError::Full { place: "FILE".into() });
    assert_eq!(full.class(), Class::Retry);
    insta::assert_snapshot!(full, @"the secret store failed: no space is left for FILE: free some, or give the volume more; nothing was written or lost");
}
