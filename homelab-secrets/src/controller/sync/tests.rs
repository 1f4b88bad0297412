use std::sync::Arc;

use futures::StreamExt as _;
use homelab_core::class::Class;
use homelab_core::meta::Account;
use serde_json::json;

use super::{AccountSecrets, StoreSecrets};
use crate::api::v1alpha1::SecretPolicy;
use crate::audit::AuditKey;
use crate::backend::Host as _;
use crate::backend::audit::MemoryAudit;
use crate::backend::memory::Memory;
use crate::keys::{SlotKey, Unlock};
use crate::policy::{PolicySet, SharedPolicies};
use crate::server::audit::Audit;
use crate::store::{Changed, Put, SecretPath, SecretStore};
use crate::sync::Source;
use crate::testing::FixedHost;

struct World {
    store: SecretStore,
    policies: SharedPolicies,
    audit: Arc<MemoryAudit>,
    secrets: StoreSecrets,
}

async fn world() -> World {
    let host = Arc::new(FixedHost::default());
    let key = SlotKey::generate(&|buffer| host.random(buffer)).unwrap();
    let store =
        SecretStore::open_or_init(Arc::new(Memory::default()), Unlock::KeyFile(key), host.clone()).await.unwrap();
    let policies = SharedPolicies::default();
    let key = Arc::new(AuditKey::new(&[7; 32]).unwrap());
    let audit = Arc::new(MemoryAudit::new(key.clone(), host).unwrap());
    let recorded = Audit::new(audit.clone(), key, crate::audit::Mode::People);
    let secrets = StoreSecrets::new(store.clone(), policies.clone(), Some(recorded));
    World { store, policies, audit, secrets }
}

impl World {
    async fn put(&self, path: &str, value: serde_json::Value) {
        let data = serde_json::from_value(value).unwrap();
        self.store.put(&SecretPath::parse(path).unwrap(), data, Put::default()).await.unwrap();
    }

    fn allow(&self) {
        let policy: SecretPolicy = serde_json::from_value(json!({
            "apiVersion": "homelab.dev/v1alpha1", "kind": "SecretPolicy", "metadata": {"name": "p", "namespace": "web"},
            "spec": {"rules": [{"serviceAccounts": ["default"], "paths": ["kv/web/*"], "capabilities": ["read"]}]},
        }))
        .unwrap();
        self.policies.replace(PolicySet::build([&policy], []));
    }

    async fn read(&self, path: &str, version: Option<u64>) -> Result<u64, (Class, String)> {
        let source = Source { path: path.into(), version };
        let read = self.secrets.read(&Account::new("web", "default"), &source).await;
        read.map(|opened| opened.version).map_err(|error| (error.class(), error.to_string()))
    }
}

#[tokio::test]
async fn an_account_reads_what_its_policies_allow_and_is_told_why_not() {
    let w = world().await;
    w.put("kv/web/db", json!({"password": "planted-one"})).await;
    w.put("kv/web/db", json!({"password": "planted-two"})).await;
    w.put("kv/infra/db", json!({"password": "planted-three"})).await;
    let (class, message) = w.read("kv/web/db", None).await.unwrap_err();
    assert!(
        class == Class::Retry && message.contains("still being read"),
        "policies that are not there yet pass: {message}"
    );
    w.allow();
    assert_eq!(w.read("kv/web/db", None).await, Ok(2));
    assert_eq!(w.read("kv/web/db", Some(1)).await, Ok(1));
    w.store.destroy(&SecretPath::parse("kv/web/db").unwrap(), &[1]).await.unwrap();
    let mut told = Vec::new();
    for (path, version, expected) in [
        ("kv/infra/db", None, Class::Denied),
        ("kv/web/none", None, Class::NotFound),
        ("kv/web/db", Some(1), Class::NotFound),
        ("kv/web/db", Some(9), Class::NotFound),
        ("kv//db", None, Class::Invalid),
    ] {
        let (class, message) = w.read(path, version).await.unwrap_err();
        assert_eq!(class, expected, "{path}: {message}");
        told.push(message);
    }
    let told = told.join("\n");
    assert!(!told.contains("planted"), "{told}");
    assert!(
        told.contains("web/default may not read kv/infra/db") && told.contains("homelab kv put kv/web/none"),
        "{told}"
    );
}

#[tokio::test]
async fn what_leaves_is_recorded_first_and_without_values() {
    let w = world().await;
    let account = Account::new("web", "default");
    w.secrets.leave(&account, &["kv/web/db@2".into()], "Secret web/db").await.unwrap();
    let log = String::from_utf8(w.audit.text()).unwrap();
    assert!(log.contains("kv/web/db@2 to Secret web/db") && log.contains("serviceaccount web/default"), "{log}");
    w.audit.set_trouble(Some("the disk is full"));
    let refused = w.secrets.leave(&account, &["kv/web/db@2".into()], "Secret web/db").await.unwrap_err();
    assert!(refused.class() == Class::Retry && refused.to_string().contains("the disk is full"), "{refused}");
}

#[tokio::test]
async fn changes_of_the_store_are_heard() {
    let w = world().await;
    let mut changes = w.secrets.changes();
    w.put("kv/web/db", json!({"password": "planted"})).await;
    assert_eq!(changes.next().await, Some(Changed::Path("kv/web/db".into())));
}
