//! A store in a directory, with as much of an API server around it as it needs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Mutex;

use age::secrecy::ExposeSecret as _;
use homelab_secrets::backend::Host as _;
use homelab_secrets::backend::age::seal_for_age;
use homelab_secrets::keys::SlotKey;
use homelab_secrets::store::{HeadWitness as _, Put, SecretData, SecretPath};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

const NAMESPACE: &str = "infra";

/// Objects by their path.
type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

fn cluster(objects: &Objects) -> Client {
    let objects = Arc::clone(objects);
    let answer = move |request: axum::http::Request<Body>| {
        let objects = Arc::clone(&objects);
        async move {
            let path = request.uri().path().to_owned();
            if request.method() == "PATCH" {
                let body = request.into_body().collect_bytes().await.expect("a body");
                let object = serde_json::from_slice(&body).expect("an object");
                objects.lock().expect("objects").insert(path.clone(), object);
            }
            let found = objects.lock().expect("objects").get(&path).cloned();
            let none =
                json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "none"});
            let (status, body) = found.map_or((404, none), |object| (200, object));
            let answer = axum::http::Response::builder().status(status).body(Body::from(body.to_string().into_bytes()));
            Ok::<_, Infallible>(answer.expect("an answer"))
        }
    };
    Client::new(tower::service_fn(answer), NAMESPACE)
}

struct Home {
    folder: tempfile::TempDir,
    objects: Objects,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), objects: Objects::default() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens the store; one that was used before may still be closing.
    async fn open(&self, watch: Option<bool>) -> Kept {
        let around = Around { client: cluster(&self.objects), namespace: NAMESPACE.into(), watch };
        for _ in 0..3000 {
            let identities = self.file("age.txt");
            let age = identities.exists().then_some(&*identities);
            match open(self.folder.path(), Some(&around), age, Absent::Make).await {
                Err(error) if format!("{error:#}").contains("another process") => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                other => return other.expect("a store"),
            }
        }
        panic!("the store was never closed");
    }

    /// Waits until the newest head is copied.
    async fn copied(&self, sequence: u64) {
        let witness = ClusterWitness::new(cluster(&self.objects), NAMESPACE, HEAD);
        let wait = async {
            while witness.read().await.expect("read").is_none_or(|copy| copy.head.sequence < sequence) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("copied");
    }
}

async fn put(kept: &Kept) -> Result<u64, homelab_secrets::Error> {
    let path = SecretPath::parse("kv/web/db").expect("a path");
    let data = SecretData::new(serde_json::Map::from_iter([("k".to_owned(), json!("v"))]));
    Ok(kept.handle().put(&path, data, Put::default()).await?.0)
}

/// What health waits for, and what Prometheus is told.
async fn watched(kept: &Kept) -> (Vec<&'static str>, bool) {
    let (health, metrics, stop) = (Arc::<Health>::default(), Arc::<Metrics>::default(), CancellationToken::new());
    stop.cancel();
    watch(kept.vault.clone(), Arc::clone(&health), Arc::clone(&metrics), stop).await;
    (health.waiting(), metrics.text().lines().any(|line| line == "homelab_store_rolled_back 1"))
}

#[tokio::test]
async fn a_store_file_that_was_put_back_turns_health_red_until_it_is_accepted() {
    let home = Home::new();
    let kept = home.open(Some(false)).await;
    assert_eq!(kept.place.witness.as_deref(), Some("ConfigMap infra/homelab-head"));
    assert!(kept.is_new && kept.place.key_beside);
    put(&kept).await.expect("written");
    drop(kept);
    drop(home.open(Some(false)).await);
    std::fs::copy(home.file("store.redb"), home.file("backup")).expect("a backup");
    let kept = home.open(Some(false)).await;
    for version in 2..=4 {
        assert_eq!(put(&kept).await.expect("written"), version);
    }
    home.copied(5).await;
    assert_eq!(watched(&kept).await, (vec![], false));
    drop(kept);
    drop(home.open(Some(false)).await);
    std::fs::copy(home.file("backup"), home.file("store.redb")).expect("put back");

    let strict = home.open(Some(true)).await;
    assert!(strict.vault.store().is_err(), "a strict store stays sealed");
    assert_eq!(watched(&strict).await.0, ["accept-rollback", "store"]);
    drop(strict);
    let unwatched = home.open(None).await;
    assert_eq!(unwatched.place.witness, None);
    assert_eq!(watched(&unwatched).await, (vec![], false));
    drop(unwatched);

    let kept = home.open(Some(false)).await;
    assert_eq!(watched(&kept).await, (vec!["accept-rollback"], true));
    let path = SecretPath::parse("kv/web/db").expect("a path");
    assert_eq!(kept.handle().get(&path, None).await.expect("reads go on").version, 1);
    let refused = put(&kept).await.expect_err("no writes").to_string();
    assert!(refused.contains("homelab secrets accept-rollback"), "{refused}");
    kept.handle().accept_rollback("anna").await.expect("accepted");
    assert_eq!(put(&kept).await.expect("written"), 2);
    assert_eq!(watched(&kept).await, (vec![], false));
}

#[tokio::test]
async fn a_key_in_a_secret_opens_the_store_when_there_is_no_key_file() {
    let home = Home::new();
    let kept = home.open(None).await;
    put(&kept).await.expect("written");
    let key = SlotKey::generate(&|buffer| System.random(buffer)).expect("a key");
    kept.handle().add_slot(Unlock::KubernetesSecret(key.clone())).await.expect("a slot");
    drop(kept);
    std::fs::remove_file(home.file("store.key")).expect("removed");
    let sealed = home.open(None).await;
    assert!(sealed.vault.store().is_err() && sealed.place.key.is_none());
    drop(sealed);

    let text = k8s_openapi::ByteString(key.to_file().as_bytes().to_vec());
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "homelab-key"}, "data": {"store.key": text}});
    let path = "/api/v1/namespaces/infra/secrets/homelab-key".to_owned();
    home.objects.lock().expect("objects").insert(path, secret);
    let kept = home.open(None).await;
    assert_eq!(kept.place.key.as_deref(), Some("Secret infra/homelab-key"));
    assert!(!kept.place.key_beside && put(&kept).await.expect("written") == 2);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "writes the identity file")]
async fn age_identities_in_a_file_open_the_store_when_there_is_no_key_file() {
    let identity = age::x25519::Identity::generate().to_string();
    let identity = identity.expose_secret();
    let home = Home::new();
    let kept = home.open(None).await;
    put(&kept).await.expect("written");
    let key = SlotKey::generate(&|buffer| System.random(buffer)).expect("a key");
    let recipients = AgeIdentities::parse(identity).expect("an identity").recipients();
    let sealed = seal_for_age(&key, &recipients).expect("sealed");
    kept.handle().add_slot(Unlock::Age(key, sealed)).await.expect("a slot");
    drop(kept);
    std::fs::remove_file(home.file("store.key")).expect("removed");
    std::fs::write(home.file("age.txt"), "AGE-SECRET-KEY-1PLANTED\n").expect("a broken identity");
    let closed = home.open(None).await;
    assert!(closed.vault.store().is_err() && closed.place.key.is_none());
    drop(closed);
    std::fs::write(home.file("age.txt"), identity).expect("an identity");
    let kept = home.open(None).await;
    let by = format!("age identities in {}", home.file("age.txt").display());
    assert_eq!((kept.place.key.as_deref(), kept.place.key_beside), (Some(&*by), false));
    assert_eq!(put(&kept).await.expect("written"), 2);
}

#[tokio::test]
async fn a_store_that_was_put_back_gets_a_key_of_its_own_and_opens_alone_from_then_on() {
    let (old, new) = (Home::new(), Home::new());
    let kept = old.open(None).await;
    let path = SecretPath::parse("kv/web/db").expect("a path");
    let data = SecretData::new(serde_json::Map::from_iter([("password".to_owned(), "planted".into())]));
    kept.handle().put(&path, data, Put::default()).await.expect("written");
    let (mut backup, mut file) = (kept.handle().backup("0.1.0").await.expect("begun"), Vec::new());
    while let Some(piece) = backup.next_piece().await.expect("a piece") {
        file.extend(piece);
    }
    let key = backend::key_file(&old.file("store.key"), false, &System).expect("the old key");

    let mut kept = open(new.folder.path(), None, None, Absent::Await).await.expect("nothing yet");
    assert!(kept.is_awaited && !kept.is_new && !new.file("store.key").exists());
    let (_, mut decoder) = homelab_secrets::backup::Decoder::begin(&file[..]).expect("a backup");
    kept.vault.restore(&mut decoder).await.expect("put back");
    assert!(own_key(&mut kept, new.folder.path()).await.is_err(), "it is sealed");
    kept.vault.unseal(key).await.expect("opened by the old key");
    own_key(&mut kept, new.folder.path()).await.expect("a key of its own");
    drop((kept, backup));

    let again = new.open(None).await;
    assert!(!again.is_awaited && again.place.key_beside);
    assert_eq!(again.handle().get(&path, None).await.expect("read").data.expose()["password"], "planted");
}
