use k8s_openapi::api::core::v1::{Namespace, ResourceQuota, Secret};
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::*;
use crate::backend::System;
use crate::keys::{SlotKey, Unlock};
use crate::store::{Changed, Put, SecretData, SecretPath, SecretStore};
use crate::testing::contract;

mod api;

use api::{Api, Fault};

fn store(api: &Api) -> Kubernetes {
    Kubernetes::new(api.client(), "homelab", "store", Arc::new(System))
}

fn batch(writes: &[(&str, Option<&[u8]>)]) -> Batch {
    Batch { writes: writes.iter().map(|(key, record)| ((*key).into(), record.map(Into::into))).collect() }
}

fn large(byte: u8) -> Vec<u8> {
    vec![byte; 1000]
}

async fn all(store: &Kubernetes) -> Vec<(String, Vec<u8>)> {
    store.scan("", "", usize::MAX).await.unwrap()
}

#[tokio::test]
async fn keeps_the_contract() {
    contract(|| Arc::new(store(&Api::default()))).await;
}

#[tokio::test]
async fn objects_are_marked_and_hold_nothing_open() {
    let api = Api::default();
    let one = store(&api);
    one.commit(Head(0), batch(&[("v/a", Some(&large(1))), ("s/a", Some(b"small"))])).await.unwrap();
    let objects = api.objects();
    assert_eq!(objects.len(), 2, "the head, and what is too large for it: {:?}", objects.keys());
    for (name, object) in objects {
        assert_eq!(object["type"], "homelab.dev/store");
        assert_eq!(object["metadata"]["labels"]["homelab.dev/store"], "store");
        assert_eq!(object["immutable"], if name == "store" { serde_json::Value::Null } else { true.into() });
    }
}

#[tokio::test]
async fn what_was_committed_is_there_for_others() {
    let api = Api::default();
    let (one, other) = (store(&api), store(&api));
    assert_eq!(other.head().await.unwrap(), Head(0));
    let mut changes = other.changes();
    one.commit(Head(0), batch(&[("a", Some(&large(1))), ("b", Some(b"2"))])).await.unwrap();
    // By the watch alone.
    let change = changes.recv().await.unwrap();
    assert_eq!((change.head, &*change.keys), (Head(1), &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!(other.get("a").await.unwrap(), Some(large(1)));
    other.commit(Head(1), batch(&[("a", None), ("c", Some(&large(3)))])).await.unwrap();
    assert_eq!(one.head().await.unwrap(), Head(2));
    assert_eq!(all(&one).await, all(&store(&api)).await);
    assert_eq!(one.get("a").await.unwrap(), None);
}

#[tokio::test]
async fn two_writers_on_one_head_are_one_and_a_conflict() {
    let api = Api::default();
    let (one, other) = (store(&api), store(&api));
    one.commit(Head(0), batch(&[("a", Some(&large(0)))])).await.unwrap();
    other.head().await.unwrap();
    let (mine, yours) = (batch(&[("a", Some(&large(1)))]), batch(&[("a", Some(&large(2)))]));
    let (mine, yours) = tokio::join!(one.commit(Head(1), mine), other.commit(Head(1), yours));
    let (won, lost) = if mine.is_ok() { (1, yours) } else { (2, mine) };
    assert!(matches!(lost, Err(BackendError::Moved { now: Head(2) })), "{lost:?}");
    assert_eq!((one.head().await.unwrap(), one.get("a").await.unwrap()), (Head(2), Some(large(won))));
    assert_eq!(other.get("a").await.unwrap(), Some(large(won)));
}

/// Commits until the API server stops after `writes` of them; gives what was acknowledged, and what was under way.
async fn until_cut_off(api: &Api, writes: usize) -> (Vec<(String, Vec<u8>)>, Vec<(String, Vec<u8>)>) {
    let one = store(api);
    let mut model = std::collections::BTreeMap::new();
    api.fail(Fault::After(writes));
    for n in 0..5_u8 {
        let before: Vec<_> = model.clone().into_iter().collect();
        // Too large for the journal after a few, so that pages are written, too.
        let keys: Vec<_> = (0..12).map(|k| format!("{:01000}", (u32::from(n) * 7 + k) % 24)).collect();
        let mut wanted = batch(&[("gone", None)]);
        for key in &keys {
            wanted.put(key.as_str(), if key.ends_with('3') || key.ends_with('8') { large(n) } else { vec![n] });
        }
        wanted.put("gone", large(n));
        wanted.delete(keys[5].as_str());
        for (key, record) in &wanted.writes {
            match record {
                Some(record) => drop(model.insert(key.clone(), record.clone())),
                None => drop(model.remove(key)),
            }
        }
        if one.commit(Head(n.into()), wanted).await.is_err() {
            return (before, model.into_iter().collect());
        }
    }
    let all: Vec<_> = model.into_iter().collect();
    (all.clone(), all)
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_write_leaves_a_whole_commit_or_none() {
    let mut outcomes = std::collections::BTreeSet::new();
    for writes in 0.. {
        let api = Api::default();
        let (acknowledged, under_way) = until_cut_off(&api, writes).await;
        let cut_off = api.was_cut_off();
        // The process has died; another one begins where the API server answers again.
        api.fail(Fault::None);
        let again = store(&api);
        let found = all(&again).await;
        assert!(found == acknowledged || found == under_way, "after {writes} writes");
        outcomes.insert(found == acknowledged);
        let head = again.head().await.unwrap();
        again.commit(head, batch(&[("next", Some(b"1"))])).await.unwrap();
        again.collect().await.unwrap();
        let used = again.0.view().objects().len();
        assert_eq!(
            api.objects().len(),
            used + 1,
            "nothing is left over after {writes} writes but the head and what it names"
        );
        if !cut_off {
            assert!(writes > 15, "{writes}");
            break;
        }
    }
    assert!(outcomes.contains(&true));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_looked_up() {
    let api = Api::default();
    let one = store(&api);
    one.commit(Head(0), batch(&[("a", Some(&large(0)))])).await.unwrap();
    // Done, but nobody hears of it: the object's first, then the head's too.
    api.fail(Fault::Deaf(1));
    assert_eq!(one.commit(Head(1), batch(&[("a", Some(&large(1)))])).await.unwrap(), Head(2));
    api.fail(Fault::Deaf(2));
    assert_eq!(one.commit(Head(2), batch(&[("a", Some(&large(2)))])).await.unwrap(), Head(3));
    assert_eq!((one.head().await.unwrap(), one.get("a").await.unwrap()), (Head(3), Some(large(2))));
    assert_eq!(store(&api).get("a").await.unwrap(), Some(large(2)));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_said_and_nothing_is_lost() {
    let api = Api::default();
    let one = store(&api);
    one.commit(Head(0), batch(&[("a", Some(&large(0)))])).await.unwrap();
    api.fail(Fault::After(0));
    let refused = one.commit(Head(1), batch(&[("a", Some(&large(1)))])).await.unwrap_err().to_string();
    assert!(refused.starts_with("Secret homelab/store-") && refused.contains("can not be reached"), "{refused}");
    assert!(refused.ends_with("nothing was written"), "{refused}");
    api.fail(Fault::Away);
    assert!(one.head().await.is_err());
    tokio::time::sleep(2 * FRESH).await;
    let refused = one.get("a").await.unwrap_err().to_string();
    assert!(refused.starts_with("Secret homelab/store: the API server can not be reached"), "{refused}");
    api.fail(Fault::None);
    assert_eq!((one.head().await.unwrap(), one.get("a").await.unwrap()), (Head(1), Some(large(0))));
    one.commit(Head(1), batch(&[("a", Some(&large(2)))])).await.unwrap();
    assert_eq!(one.get("a").await.unwrap(), Some(large(2)));
}

#[tokio::test]
async fn refusals_of_the_api_server_are_told() {
    let api = Api::default();
    let one = store(&api);
    one.commit(Head(0), batch(&[("a", Some(&large(0)))])).await.unwrap();
    for (code, message, expected) in [
        (
            403,
            "secrets \"x\" is forbidden: exceeded quota: few",
            "no space is left for Secret homelab/NAME: free some, or give the volume more; nothing was written or lost",
        ),
        (
            500,
            "etcdserver: mvcc: database space exceeded",
            "no space is left for Secret homelab/NAME: free some, or give the volume more; nothing was written or lost",
        ),
        (403, "secrets is forbidden", "Secret homelab/NAME: secrets is forbidden; nothing was written"),
    ] {
        for inline in [false, true] {
            api.fail(Fault::Refuse(code, message.into()));
            // An inline record needs no object, so it is the head that is refused.
            let record = if inline { vec![1] } else { large(1) };
            let error = one.commit(Head(1), batch(&[("a", Some(&record))])).await.unwrap_err().to_string();
            let name = error.split_once("homelab/").unwrap().1.split(':').next().unwrap();
            assert_eq!(error.replace(&format!("homelab/{name}"), "homelab/NAME"), expected);
            assert_eq!(name == "store", inline, "{error}");
        }
    }
    api.fail(Fault::None);
    assert_eq!((one.head().await.unwrap(), one.get("a").await.unwrap()), (Head(1), Some(large(0))));
}

#[tokio::test]
async fn a_record_that_no_object_can_hold_is_refused_before_anything_is_written() {
    let api = Api::default();
    let one = store(&api);
    let error = one.commit(Head(0), batch(&[("a", Some(b"1")), ("b", Some(&vec![0; 1024 * 1024]))])).await.unwrap_err();
    insta::assert_snapshot!(error, @"the record b in Secret homelab/store: has 1048576 bytes, and an object of the cluster may hold 1047552; nothing was written");
    assert!(api.objects().is_empty());
}

#[tokio::test]
async fn what_was_changed_by_hand_is_refused_by_name() {
    let api = Api::default();
    let one = store(&api);
    one.commit(Head(0), batch(&[("a", Some(&large(0))), ("b", Some(b"1"))])).await.unwrap();
    one.commit(Head(1), batch(&[("b", Some(b"2"))])).await.unwrap();
    let record = api.objects().into_keys().find(|name| name != "store").unwrap();

    let kept = api.edit(&record, |object| object["data"]["content"] = "aGFuZA==".into());
    let error = store(&api).get("a").await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "Secret homelab/{record}: it was changed by hand: its content does not fit its checksum; put it back from a backup"
        )
    );
    api.put(&record, kept);
    assert_eq!(store(&api).get("a").await.unwrap(), Some(large(0)));

    let kept = api.remove(&record);
    let error = store(&api).get("a").await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "Secret homelab/{record}: the record a is missing: somebody deleted it; put it back from a backup of the cluster"
        )
    );
    assert_eq!(store(&api).get("b").await.unwrap(), Some(b"2".to_vec()), "the rest is there");
    api.put(&record, kept);

    let kept = api.edit("store", |object| object["data"]["content"] = "e30=".into());
    for error in [store(&api).get("a").await.unwrap_err(), one.head().await.unwrap_err()] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @"Secret homelab/store: it was changed by hand: its content does not fit its checksum; put it back from a backup");
        }
    }
    api.put("store", kept);

    // A label from somebody is no change of the store.
    api.edit("store", |object| object["metadata"]["labels"]["mine"] = "yes".into());
    one.commit(Head(2), batch(&[("b", Some(b"3"))])).await.unwrap();
}

#[tokio::test]
async fn a_head_that_was_deleted_or_put_back_is_no_new_store() {
    let api = Api::default();
    let one = store(&api);
    one.commit(Head(0), batch(&[("a", Some(&large(0)))])).await.unwrap();
    let old = api.objects()["store"].clone();
    one.commit(Head(1), batch(&[("b", Some(&large(1)))])).await.unwrap();
    let head = api.remove("store");
    for error in [store(&api).head().await.unwrap_err(), one.head().await.unwrap_err()] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @"Secret homelab/store: it is missing, and 1 other objects of the store are there: put it back from a backup of the cluster");
        }
    }
    assert!(one.commit(Head(2), batch(&[("b", None)])).await.is_err());
    api.put("store", old);
    insta::assert_snapshot!(one.head().await.unwrap_err(), @"Secret homelab/store: it went back from commit 2 to 1: the cluster was restored from a backup, or somebody put it back; if that is meant, restart homelab");
    api.put("store", head);
    assert_eq!(one.head().await.unwrap(), Head(2));
}

/// A thousand secrets through two stores of one cluster, and a third that comes later.
async fn holds_a_thousand_secrets(records: impl Fn() -> Kubernetes) {
    let key = SlotKey::generate(&|buffer| System.random(buffer)).unwrap();
    let open = async || {
        let unlock = Unlock::KubernetesSecret(key.clone());
        SecretStore::open_or_init(Arc::new(records()), unlock, Arc::new(System)).await.unwrap()
    };
    let (one, other) = (open().await, open().await);
    let path = |n: usize| SecretPath::parse(&format!("kv/apps/app-{:03}/secret-{n:04}", n / 10)).unwrap();
    let value = |n: usize| SecretData::new(serde_json::from_str(&format!(r#"{{"password":"{n}"}}"#)).unwrap());
    let mut changes = other.changes();
    // Many at once, as one writer, and some by turns.
    let puts = (0..990).map(|n| (path(n), value(n))).map(|(path, value)| {
        let one = one.clone();
        tokio::spawn(async move { one.put(&path, value, Put::default()).await })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap().unwrap();
    }
    for n in 990..1000 {
        let writer = if n % 2 == 0 { &one } else { &other };
        writer.put(&path(n), value(n), Put::default()).await.unwrap();
    }
    while changes.next().await != Some(Changed::Path(path(998).to_string())) {}
    let third = open().await;
    for n in 0..1000 {
        for store in [&one, &other, &third] {
            assert_eq!(store.get(&path(n), None).await.unwrap().data.expose(), value(n).expose());
        }
    }
    let mut changes = third.changes();
    one.destroy(&path(7), &[1]).await.unwrap();
    while changes.next().await != Some(Changed::Path(path(7).to_string())) {}
    assert!(third.get(&path(7), None).await.is_err());
}

#[tokio::test]
async fn a_store_holds_a_thousand_secrets_and_others_see_them() {
    let api = Api::default();
    holds_a_thousand_secrets(|| store(&api)).await;
    let text = api.objects().into_values().map(|object| object.to_string()).collect::<String>();
    assert!(!text.contains("cGFzc3dvcmQ"), "no value is open");
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_real_api_server_keeps_the_contract_and_a_thousand_secrets() {
    // Another test of the process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.unwrap();
    let namespaces: kube::Api<Namespace> = kube::Api::all(client.clone());
    let namespace = serde_json::from_value(json!({ "metadata": { "generateName": "secrets-store-" } })).unwrap();
    let namespace = namespaces.create(&PostParams::default(), &namespace).await.unwrap().metadata.name.unwrap();
    let made = std::cell::Cell::new(0);
    let named = |name: &str| Kubernetes::new(client.clone(), &namespace, name, Arc::new(System));
    contract(|| {
        made.set(made.get() + 1);
        Arc::new(named(&format!("contract-{}", made.get())))
    })
    .await;
    holds_a_thousand_secrets(|| named("many")).await;

    let many = named("many");
    assert_eq!(many.collect().await.unwrap(), 0, "nothing is left over");
    let (head, secrets) = (many.head().await.unwrap(), kube::Api::<Secret>::namespaced(client.clone(), &namespace));
    let quota = json!({ "metadata": { "name": "few" }, "spec": { "hard": { "secrets": "10" } } });
    let quotas: kube::Api<ResourceQuota> = kube::Api::namespaced(client.clone(), &namespace);
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    while quotas.get("few").await.unwrap().status.and_then(|status| status.used).is_none() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let full = many.commit(head, batch(&[("a", Some(&large(1)))])).await.unwrap_err();
    assert!(matches!(full, BackendError::Full { .. }), "{full}");
    secrets.delete("many", &DeleteParams::default()).await.unwrap();
    let missing = named("many").head().await.unwrap_err().to_string();
    assert!(missing.contains("it is missing, and "), "{missing}");
    namespaces.delete(&namespace, &DeleteParams::background()).await.unwrap();
}
