//! What every [`SealedMount`] keeps to, and a store to look at behind it.

use std::collections::BTreeSet;
use std::sync::Arc;

use homelab_core::class::Class;
use homelab_core::meta::Account;
use serde_json::json;

use crate::sealed::{Fields, GitCommit, RepositoryName, SealedMount, seal_file};
use crate::store::{SecretPath, SecretStore};

/// Everything that [`SealedMount`] promises. `make` gives an empty store each time, and what fills its mount by the policy
/// [`OwnNamespace`](super::OwnNamespace). Panics where a promise is broken.
pub async fn sealed_mount_contract(make: impl AsyncFn() -> (SecretStore, Arc<dyn SealedMount>)) {
    let (store, mount) = make().await;
    let git = Account::new("web", "git");
    let one = sealed(&store, "one").await;
    assert_eq!(mount.show(&git, commit("c1", std::slice::from_ref(&one))).await.expect("shown"), 1);
    assert_eq!(mount.show(&git, commit("c2", std::slice::from_ref(&one))).await.expect("shown again"), 0);
    assert_eq!(value(&store).await.as_deref(), Some("one"));

    let two = sealed(&store, "two").await;
    let stranger = Account::new("other", "git");
    let denied =
        mount.show(&stranger, commit("c3", std::slice::from_ref(&two))).await.expect_err("not of its namespace");
    assert_eq!(denied.class(), Class::Denied, "{denied}");
    let broken = ("a.sealed.yaml".to_owned(), "password: hunter2\n".to_owned());
    let invalid = mount.show(&git, commit("c3", &[two.clone(), broken])).await.expect_err("one of them is broken");
    assert_eq!(invalid.class(), Class::Invalid, "{invalid}");
    assert!(invalid.to_string().contains("a.sealed.yaml") && !invalid.to_string().contains("hunter2"), "{invalid}");
    assert_eq!(value(&store).await.as_deref(), Some("one"), "whole or not at all");

    mount.retain(&BTreeSet::from(["web/home".to_owned()])).await.expect("it stays");
    assert_eq!(value(&store).await.as_deref(), Some("one"));
    mount.retain(&BTreeSet::new()).await.expect("it goes");
    assert_eq!(value(&store).await, None);
}

fn commit<'a>(commit: &'a str, files: &'a [(String, String)]) -> GitCommit<'a> {
    GitCommit { gitsync: "web/home", commit, files }
}

async fn sealed(store: &SecretStore, value: &str) -> (String, String) {
    let name = RepositoryName::parse("web").expect("a name");
    let keys = store.create_repository(&name).await.expect("made").0.open().expect("keys");
    let fields = Fields::from_json(json!({ "password": value }).as_object().expect("an object")).expect("fields");
    ("db.sealed.yaml".into(), seal_file(&keys, "db", &fields, None).expect("sealed").to_string())
}

async fn value(store: &SecretStore) -> Option<String> {
    let path = SecretPath::parse("git/web/db").expect("a path");
    let found = store.get(&path, None).await.ok()?;
    found.data.expose()["password"].as_str().map(str::to_owned)
}
