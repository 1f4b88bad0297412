//! What every [`Versions`] keeps to, and a store to ask it about.

use std::sync::Arc;
use std::time::Duration;

use homelab_core::class::Class;
use homelab_core::meta::Account;
use serde_json::{Value, json};

use super::FixedHost;
use crate::Error;
use crate::backend::Host as _;
use crate::backend::memory::Memory;
use crate::keys::{SlotKey, Unlock};
use crate::kv::SettingsChange;
use crate::policy::{Capability, Decision, Identity, Policy};
use crate::store::{Put, SecretData, SecretPath, SecretStore};
use crate::versions::Versions;

/// How long something that has to come is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// ServiceAccounts may do everything below `kv/<their namespace>/` and `git/<their namespace>/`, and nobody anything else.
#[derive(Clone, Copy, Debug)]
pub struct OwnNamespace;

impl Policy for OwnNamespace {
    fn decide(&self, who: &Identity, path: &str, _: Capability) -> Decision {
        match who {
            Identity::ServiceAccount { account, .. }
                if ["kv", "git"].iter().any(|mount| path.starts_with(&format!("{mount}/{}/", account.namespace))) =>
            {
                Decision::Allow
            }
            _ => Decision::Deny { why: "it is not of its namespace".into() },
        }
    }
}

/// An open store in memory.
pub async fn open_store() -> SecretStore {
    let host = Arc::new(FixedHost::default());
    let key = SlotKey::generate(&|buffer| host.random(buffer)).expect("a key");
    SecretStore::open_or_init(Arc::new(Memory::default()), Unlock::KeyFile(key), host).await.expect("a store")
}

/// Everything that [`Versions`] promises. `make` gives an empty store each time, and what answers for it by the policy
/// [`OwnNamespace`]. Panics where a promise is broken.
pub async fn versions_contract(make: impl AsyncFn() -> (SecretStore, Arc<dyn Versions>)) {
    versions_are_resolved_as_an_account_may_see_them(make().await).await;
    what_is_pinned_is_not_pruned(make().await).await;
    a_change_wakes_whoever_waits_for_it(make().await).await;
    many_wait_at_once(make().await).await;
}

type Made = (SecretStore, Arc<dyn Versions>);

async fn put(store: &SecretStore, path: &str, value: Value) -> u64 {
    let data = value.as_object().cloned().expect("an object");
    let path = SecretPath::parse(path).expect("a path");
    store.put(&path, SecretData::new(data), Put::default()).await.expect("written").0
}

fn known(path: &str, version: u64) -> (String, u64) {
    (path.into(), version)
}

async fn versions_are_resolved_as_an_account_may_see_them((store, versions): Made) {
    let web = Account::new("web", "web");
    for value in [json!({"b": 1, "a": "x"}), json!({"a": "y"}), json!({"a": "x", "b": 1})] {
        put(&store, "kv/web/my db@1", value).await;
    }
    let resolve = async |path: &str, version| versions.resolve(&web, path, version).await;
    let newest = resolve("kv/web/my db@1", None).await.expect("resolved");
    assert_eq!((newest.path.as_str(), newest.version), ("kv/web/my db@1", 3));
    assert_eq!(newest.keys, ["a", "b"]);
    let (one, two) = (resolve("kv/web/my db@1", Some(1)).await, resolve("kv/web/my db@1", Some(2)).await);
    assert_eq!(one.expect("resolved").digest, newest.digest, "equal content, equal digest");
    assert_ne!(two.expect("resolved").digest, newest.digest);
    assert_eq!(resolve("kv/web/my db@1", Some(0)).await.expect("0 is the newest").version, 3);

    put(&store, "kv/db/root", json!({"a": "x"})).await;
    for (path, version, class, words) in [
        ("kv/web/none", None, Class::NotFound, ["kv/web/none", "web/web", "homelab kv put"]),
        ("kv/web/my db@1", Some(9), Class::NotFound, ["version 9", "web/web", "kv/web/my db@1"]),
        ("kv/db/root", None, Class::Denied, ["web/web may not read", "kv/db/root", "not of its namespace"]),
        ("kv/../db", None, Class::Invalid, ["is not a path of a secret", "kv/../db", ""]),
        ("kv", None, Class::Invalid, ["is not a path of a secret", "kv", ""]),
    ] {
        let error = resolve(path, version).await.expect_err(path);
        assert_eq!(error.class(), class, "{path}: {error}");
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{path}: {error}");
    }
}

async fn what_is_pinned_is_not_pruned((store, versions): Made) {
    let (path, holder) = ("kv/web/db", "App.homelab.dev web/web@1a2b");
    put(&store, path, json!({"n": 1})).await;
    versions.pin(holder, &[known(path, 1)]).await.expect("pinned");
    versions.pin(holder, &[known(path, 1)]).await.expect("pinned again");
    let few = SettingsChange { max_versions: Some(1), ..SettingsChange::default() };
    store.set(&SecretPath::parse(path).expect("a path"), few, true).await.expect("set");
    for n in 2..5 {
        put(&store, path, json!({ "n": n })).await;
    }
    let asked = [known(path, 1), known(path, 2), known(path, 4)];
    assert_eq!(versions.gone(&asked).await.expect("told"), [known(path, 2)], "version 1 is pinned");
    let error = versions.pin(holder, &[known(path, 2)]).await.expect_err("it is gone");
    assert_eq!(error.class(), Class::NotFound, "{error}");
    assert_eq!(versions.pin("", &[]).await.expect_err("no name").class(), Class::Invalid);
    versions.pin(holder, &[]).await.expect("let go");
    put(&store, path, json!({"n": 5})).await;
    assert_eq!(versions.gone(&asked).await.expect("told"), asked);
    assert_eq!(versions.gone(&[]).await.expect("told"), []);
}

/// What waits on the side.
fn waiting(versions: &Arc<dyn Versions>, known: Vec<(String, u64)>) -> tokio::task::JoinHandle<Result<(), Error>> {
    let versions = Arc::clone(versions);
    tokio::spawn(async move { versions.changed(&known).await })
}

async fn comes(task: tokio::task::JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    tokio::time::timeout(PATIENCE, task).await.expect("it comes").expect("it does not panic")
}

/// Long enough for what should not happen to happen.
async fn still_waits(task: &mut tokio::task::JoinHandle<Result<(), Error>>) {
    let early = tokio::time::timeout(Duration::from_millis(150), task).await;
    assert!(early.is_err(), "it stopped waiting: {early:?}");
}

async fn a_change_wakes_whoever_waits_for_it((store, versions): Made) {
    let path = "kv/web/db";
    let mut task = waiting(&versions, vec![known(path, 0), known("kv/web/never", 0)]);
    still_waits(&mut task).await;
    put(&store, "kv/web/other", json!({})).await;
    still_waits(&mut task).await;
    put(&store, path, json!({})).await;
    comes(task).await.expect("changed");
    comes(waiting(&versions, vec![known(path, 0)])).await.expect("it had changed before anybody asked");

    put(&store, path, json!({})).await;
    let mut task = waiting(&versions, vec![known(path, 2)]);
    still_waits(&mut task).await;
    store.delete(&SecretPath::parse(path).expect("a path"), &[]).await.expect("deleted");
    comes(task).await.expect("the newest live one is an earlier one");

    let error = comes(waiting(&versions, vec![known("kv/../x", 1)])).await.expect_err("no path");
    assert_eq!(error.class(), Class::Invalid, "{error}");
    let error = comes(waiting(&versions, vec![known("none/x", 1)])).await.expect_err("no mount");
    assert_eq!(error.class(), Class::NotFound, "{error}");
}

async fn many_wait_at_once((store, versions): Made) {
    let mut a = waiting(&versions, vec![known("kv/web/a", 0)]);
    let b = waiting(&versions, vec![known("kv/web/b", 0)]);
    let both = waiting(&versions, vec![known("kv/web/a", 0), known("kv/web/b", 0)]);
    let gives_up = waiting(&versions, vec![known("kv/web/b", 0)]);
    still_waits(&mut a).await;
    gives_up.abort();
    put(&store, "kv/web/b", json!({})).await;
    comes(b).await.expect("changed");
    comes(both).await.expect("changed");
    still_waits(&mut a).await;
    // Somebody else's path that can not be looked at is no news for this one.
    assert!(comes(waiting(&versions, vec![known("none/x", 1)])).await.is_err());
    still_waits(&mut a).await;
    put(&store, "kv/web/a", json!({})).await;
    comes(a).await.expect("changed");
}
