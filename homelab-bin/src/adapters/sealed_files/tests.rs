use homelab_gitops::source::RepoPath;
use homelab_gitops::testing::{TestSecrets, sealed_contract};
use homelab_secrets::api::v1alpha1::ClusterSecretPolicy;
use homelab_secrets::backend::memory::Memory;
use homelab_secrets::backend::{Host as _, System};
use homelab_secrets::keys::{SlotKey, Unlock};
use homelab_secrets::policy::{PolicySet, SharedPolicies};
use homelab_secrets::sealed::{Fields, RepositoryName, SUFFIX, seal_file};
use homelab_secrets::store::{SecretPath, SecretStore, StoreVersions};
use serde_json::json;

use super::*;

struct World {
    store: SecretStore,
    subject: Arc<CountedMount>,
}

async fn world() -> World {
    let key = SlotKey::generate(&|buffer| System.random(buffer)).expect("a key");
    let made = SecretStore::open_or_init(Arc::new(Memory::default()), Unlock::KeyFile(key), Arc::new(System));
    let store = made.await.expect("a store");
    let policy: ClusterSecretPolicy = serde_json::from_value(json!({
        "apiVersion": "homelab.dev/v1alpha1", "kind": "ClusterSecretPolicy", "metadata": {"name": "git"},
        "spec": {"rules": [
            {"subjects": [{"serviceAccount": "infra/git"}], "paths": ["git/home/*"], "capabilities": ["update"]},
        ]},
    }))
    .expect("a policy");
    let policies = SharedPolicies::new(PolicySet::build([], [&policy]));
    let mount = Arc::new(StoreVersions::new(store.clone(), Arc::new(policies)));
    let subject = Arc::new(CountedMount::new(mount, Arc::default()));
    World { store, subject }
}

#[async_trait]
impl TestSecrets for World {
    fn subject(&self) -> Arc<dyn SealedFiles> {
        self.subject.clone()
    }

    fn accounts(&self) -> (Account, Account) {
        (Account::new("infra", "git"), Account::new("infra", "default"))
    }

    async fn file(&self, path: &str, secret: &str, value: &str) -> SealedText {
        let name = RepositoryName::parse("home").expect("a name");
        let (keys, _) = self.store.create_repository(&name).await.expect("keys");
        let value = json!({ "value": value });
        let fields = Fields::from_json(value.as_object().expect("an object")).expect("fields");
        let sealed = seal_file(&keys.open().expect("a ring"), secret, &fields, None).expect("sealed");
        SealedText { path: RepoPath::parse(path).expect("a path"), text: sealed.to_string() }
    }

    async fn shown(&self, secret: &str) -> Option<String> {
        let path = SecretPath::parse(&format!("git/home/{secret}")).expect("a path");
        let found = self.store.find(&path, None).await.expect("read")?;
        Some(found.secret?.data.expose()["value"].as_str()?.to_owned())
    }
}

#[tokio::test]
async fn the_store_keeps_the_contract_of_sealed_files() {
    sealed_contract(&world().await).await;
    assert_eq!(homelab_gitops::sealed::SUFFIX, SUFFIX, "both rooms mean the same files");
}
