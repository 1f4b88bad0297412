use homelab_core::class::Class;
use zeroize::Zeroizing;

use super::super::tests::{by, data, path};
use super::*;
use crate::backend::memory::Memory;
use crate::keys::{RecoveryKey, SlotKey};
use crate::testing::FixedHost;

fn vault() -> (Vault, Arc<Memory>, Arc<FixedHost>) {
    let (backend, host) = (Arc::new(Memory::default()), Arc::new(FixedHost::default()));
    (Vault::new(backend.clone(), host.clone()), backend, host)
}

fn words(text: &str) -> Unlock {
    Unlock::Passphrase(Zeroizing::new(text.into()))
}

#[tokio::test]
async fn a_vault_is_made_sealed_and_opened_again() {
    let (vault, backend, host) = vault();
    assert!(!vault.initialized().await.unwrap());
    let status = vault.status().await.unwrap();
    assert!(status.sealed && !status.initialized && status.slots.is_empty() && !status.opens_alone());
    insta::assert_snapshot!(vault.unseal(words("right words")).await.unwrap_err(), @"the store has no keys yet: initialise it");
    let early = vault.handle();
    insta::assert_snapshot!(early.get(&path("kv/a"), None).await.unwrap_err(), @"the store is sealed: open it with `homelab secrets unseal`");

    let recovery = RecoveryKey::generate(&|buffer| host.random(buffer)).unwrap();
    let text = recovery.to_text().unwrap();
    let store = vault.initialize(vec![words("right words"), Unlock::Recovery(recovery)]).await.unwrap();
    store.put(&path("kv/a"), data(r#"{"v":1}"#), by("t")).await.unwrap();
    assert_eq!(early.get(&path("kv/a"), None).await.unwrap().version, 1, "who came early has it now");
    assert_eq!(vault.initialize(vec![words("other words")]).await.unwrap_err().class(), Class::Conflict);
    let status = vault.status().await.unwrap();
    assert!(!status.sealed && status.initialized && !status.opens_alone() && status.epoch == 1);
    assert_eq!(status.slots.iter().map(|slot| slot.kind).collect::<Vec<_>>(), ["passphrase", "recovery key"]);

    vault.seal();
    for sealed in [
        store.get(&path("kv/a"), None).await.map(drop),
        store.put(&path("kv/a"), data("{}"), by("t")).await.map(drop),
        store.document::<u8>("role", "a").await.map(drop),
        store.hash("token", &[b"x"]).map(drop),
        store.rotate().await.map(drop),
        vault.store().map(drop),
    ] {
        let error = sealed.unwrap_err();
        assert!(matches!(error, Error::Sealed) && error.class() == Class::Retry, "{error}");
    }
    assert!(store.mounts().is_empty() && vault.status().await.unwrap().sealed);
    assert!(vault.unseal(words("wrong words")).await.is_err() && vault.store().is_err());
    vault.unseal(Unlock::Recovery(RecoveryKey::from_text(&text).unwrap())).await.unwrap();
    assert_eq!(store.get(&path("kv/a"), None).await.unwrap().version, 1, "the same store goes on");

    let restarted = Vault::new(backend, host);
    assert!(restarted.initialized().await.unwrap() && restarted.store().is_err(), "starts sealed");
    restarted.unseal(words("right words")).await.unwrap();
    assert_eq!(restarted.store().unwrap().get(&path("kv/a"), None).await.unwrap().version, 1);
}

#[tokio::test]
async fn a_slot_that_a_program_can_open_is_told_apart() {
    for (secret, kind) in [(false, "key file"), (true, "Kubernetes Secret")] {
        let (vault, _, host) = vault();
        let key = SlotKey::generate(&|buffer| host.random(buffer)).unwrap();
        let unlock = if secret { Unlock::KubernetesSecret(key) } else { Unlock::KeyFile(key) };
        vault.initialize(vec![words("right words"), unlock]).await.unwrap();
        let status = vault.status().await.unwrap();
        assert!(status.opens_alone() && status.slots[1].kind == kind && !status.slots[0].opens_alone);
    }
}

#[tokio::test]
async fn writers_are_not_cut_off_by_sealing() {
    let (vault, _, _) = vault();
    let store = vault.initialize(vec![words("right words")]).await.unwrap();
    let writes: Vec<_> = (0..50)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { (n, store.put(&path(&format!("kv/{n}")), data("{}"), by("t")).await) })
        })
        .collect();
    tokio::task::yield_now().await;
    vault.seal();
    let mut acknowledged = Vec::new();
    for write in writes {
        match write.await.unwrap() {
            (n, Ok(_)) => acknowledged.push(n),
            (_, Err(error)) => assert!(matches!(error, Error::Sealed), "{error}"),
        }
    }
    vault.unseal(words("right words")).await.unwrap();
    for n in acknowledged {
        store.get(&path(&format!("kv/{n}")), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_and_its_key_in_one_etcd_are_as_safe_as_plain_secrets() {
    let key = |host: &FixedHost| SlotKey::generate(&|buffer| host.random(buffer)).unwrap();
    for (in_etcd, in_secret) in [(false, false), (false, true), (true, false), (true, true)] {
        let host = Arc::new(FixedHost::default());
        let vault = Vault::new(Arc::new(Memory::default()), host.clone());
        let vault = if in_etcd { vault.in_etcd() } else { vault };
        let file = Unlock::KeyFile(key(&host));
        let slots = if in_secret { vec![file, Unlock::KubernetesSecret(key(&host))] } else { vec![file] };
        vault.initialize(slots).await.unwrap();
        assert_eq!(vault.status().await.unwrap().as_safe_as_plain_secrets(), in_etcd && in_secret);
    }
}
