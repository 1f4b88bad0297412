use std::collections::BTreeMap;

use homelab_core::class::Class;
use serde::Deserialize;

use super::super::tests::{fixture, open};
use super::*;
use crate::backend::{Backend as _, Batch};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Role {
    names: Vec<String>,
    // Numbers as keys do not pass through every way of serde's.
    limits: BTreeMap<u64, u64>,
}

fn role(name: &str) -> Role {
    Role { names: vec![name.into()], limits: [(1, 2)].into() }
}

#[tokio::test]
async fn documents_are_written_listed_and_taken_away() {
    let f = fixture().await;
    for name in ["b", "a/../c", "é %2f", "b/b"] {
        f.store.put_document("role", name, &role(name)).await.unwrap();
    }
    f.store.put_document("roles", "other kind", &role("x")).await.unwrap();
    let again = open(&f.backend, &f.host, &f.key).await.unwrap();
    let all = again.documents::<Role>("role").await.unwrap();
    assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a/../c", "b", "b/b", "é %2f"]);
    assert!(all.iter().all(|(name, content)| *content == role(name)));
    assert!(again.delete_document("role", "b").await.unwrap() && !again.delete_document("role", "b").await.unwrap());
    assert_eq!(again.document::<Role>("role", "b").await.unwrap(), None);
    assert_eq!(again.document::<Role>("role", "b/b").await.unwrap(), Some(role("b/b")));
}

#[tokio::test]
async fn many_documents_of_a_kind_are_all_listed() {
    let f = fixture().await;
    for n in 0..(PAGE * 2) {
        f.store.put_document("token", &format!("{n:05}"), &n).await.unwrap();
    }
    let all = f.store.documents::<usize>("token").await.unwrap();
    assert!(all.len() == PAGE * 2 && all.iter().enumerate().all(|(n, (_, content))| n == *content));
}

#[tokio::test]
async fn updates_lose_no_change_and_an_error_changes_nothing() {
    let f = fixture().await;
    let other = open(&f.backend, &f.host, &f.key).await.unwrap();
    let count = async |store: &SecretStore| {
        for _ in 0..20 {
            let add = |n: Option<u64>| Ok(Some(n.unwrap_or(0) + 1));
            store.update_document("counter", "n", add).await.unwrap();
        }
    };
    tokio::join!(count(&f.store), count(&other));
    assert_eq!(f.store.document::<u64>("counter", "n").await.unwrap(), Some(40));
    let refused = f.store.update_document("counter", "n", |_: Option<u64>| Err(Error::Denied("no".into()))).await;
    assert_eq!(refused.unwrap_err().class(), Class::Denied);
    assert_eq!(f.store.document::<u64>("counter", "n").await.unwrap(), Some(40));
    f.store.update_document("counter", "n", |_: Option<u64>| Ok(None)).await.unwrap();
    assert_eq!(f.store.document::<u64>("counter", "n").await.unwrap(), None);
}

#[tokio::test]
async fn a_document_does_not_open_under_another_name() {
    let f = fixture().await;
    f.store.put_document("role", "reader", &role("reader")).await.unwrap();
    let sealed = f.backend.get("d/role/reader").await.unwrap().unwrap();
    let mut batch = Batch::default();
    batch.put("d/role/admin", sealed);
    f.backend.commit(f.backend.head().await.unwrap(), batch).await.unwrap();
    assert!(matches!(f.store.document::<Role>("role", "admin").await, Err(Error::Unsealed { .. })));
}

#[tokio::test]
async fn names_and_sizes_are_bounded() {
    let f = fixture().await;
    for name in ["", "a\nb", "a\0", &"x".repeat(MAX_NAME + 1)] {
        assert_eq!(f.store.put_document("role", name, &1).await.unwrap_err().class(), Class::Invalid, "{name:?}");
    }
    for kind in ["", "a/b", "Role"] {
        assert_eq!(f.store.document::<u8>(kind, "n").await.unwrap_err().class(), Class::Bug, "{kind:?}");
    }
    let large = "x".repeat(MAX_DOCUMENT);
    assert_eq!(f.store.put_document("role", "n", &large).await.unwrap_err().class(), Class::Invalid);
}

#[tokio::test]
async fn hashes_and_derived_keys_are_the_stores_own_and_stay() {
    let f = fixture().await;
    let again = open(&f.backend, &f.host, &f.key).await.unwrap();
    let hash = f.store.hash("token", &[b"s.abc"]).unwrap();
    assert_eq!(hash, again.hash("token", &[b"s.abc"]).unwrap());
    assert_ne!(hash, f.store.hash("other", &[b"s.abc"]).unwrap());
    assert_ne!(hash, f.store.hash("token", &[b"s.", b"abc"]).unwrap());
    assert_ne!(hash, fixture().await.store.hash("token", &[b"s.abd"]).unwrap());
    assert_eq!(*f.store.derived_key("audit").unwrap(), *again.derived_key("audit").unwrap());
    assert_ne!(*f.store.derived_key("audit").unwrap(), *f.store.derived_key("head").unwrap());
}
