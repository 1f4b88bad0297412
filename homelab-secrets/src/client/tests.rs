use std::sync::Mutex;

use axum::Router;
use homelab_core::class::Class;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::policy::Identity;
use crate::server::{Authenticator, Login, ServerConfig, ServerOptions, ServerState, router};
use crate::store::{Put, SecretData, SecretPath, SecretStore};
use crate::testing::{FixedHost, OwnNamespace, open_store, sealed_mount_contract, versions_contract};

const DAEMON: &str = "homelab/homelab#pod-1";

/// Takes `NAMESPACE/NAME` or `NAMESPACE/NAME#POD` for a token.
struct Trusting;

#[async_trait]
impl Authenticator for Trusting {
    async fn authenticate(&self, credential: &str, audience: &str) -> Result<Login, Error> {
        let (account, pod) = credential.split_once('#').map_or((credential, None), |(a, pod)| (a, Some(pod)));
        let account = Account::parse(account).filter(|_| audience == "homelab");
        let account = account.ok_or_else(|| Error::Denied("not a token".into()))?;
        Ok(Login { identity: Identity::ServiceAccount { account, pod_uid: pod.map(Into::into) }, ends: None })
    }
}

fn serving(store: &SecretStore) -> Router {
    let config = ServerConfig {
        store: store.clone(),
        policy: Arc::new(OwnNamespace),
        host: Arc::new(FixedHost::default()),
        kubernetes: Some(Arc::new(Trusting)),
    };
    let options = ServerOptions { daemon: Account::parse("homelab/homelab"), ..ServerOptions::default() };
    router(ServerState::with_options(config, None, options).unwrap())
}

async fn serve(store: &SecretStore, address: &str) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = serving(store);
    (address, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

/// reqwest asks for a provider of TLS although nothing here speaks it.
fn crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn remote(address: &str, credential: &'static str) -> RemoteVersions {
    crypto();
    let credential: Credential = Arc::new(move || Ok(Zeroizing::new(credential.into())));
    RemoteVersions::new(RemoteConfig { address: format!("http://{address}"), ca_pem: None, credential }).unwrap()
}

async fn put(store: &SecretStore, path: &str) {
    let path = SecretPath::parse(path).unwrap();
    store.put(&path, SecretData::new(serde_json::Map::new()), Put::default()).await.unwrap();
}

#[tokio::test]
async fn keeps_the_contract() {
    versions_contract(async || {
        let store = open_store().await;
        let (address, _) = serve(&store, "127.0.0.1:0").await;
        let versions: Arc<dyn Versions> = Arc::new(remote(&address, DAEMON));
        (store, versions)
    })
    .await;
    sealed_mount_contract(async || {
        let store = open_store().await;
        let (address, _) = serve(&store, "127.0.0.1:0").await;
        let mount: Arc<dyn SealedMount> = Arc::new(remote(&address, DAEMON));
        (store, mount)
    })
    .await;
}

#[tokio::test]
async fn nobody_but_the_daemon_in_its_pod_is_told() {
    let store = open_store().await;
    put(&store, "kv/web/db").await;
    let (address, _) = serve(&store, "127.0.0.1:0").await;
    for other in ["homelab/homelab", "homelab/homelab-admin#pod-1", "web/web#pod-1", "web/homelab#pod-1", "nonsense"] {
        let error = remote(&address, other).gone(&[]).await.unwrap_err();
        assert_eq!(error.class(), Class::Denied, "{other}: {error}");
        assert!(error.to_string().contains("--daemon-account"), "{other}: {error}");
    }
    assert_eq!(remote(&address, DAEMON).gone(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_and_nothing_is_missed() {
    let store = open_store().await;
    put(&store, "kv/web/db").await;
    let (address, server) = serve(&store, "127.0.0.1:0").await;
    let versions = Arc::new(remote(&address, DAEMON));
    let web = Account::new("web", "web");
    assert_eq!(versions.resolve(&web, "kv/web/db", None).await.unwrap().version, 1);
    let known = [("kv/web/db".to_owned(), 1)];
    let waiter = tokio::spawn({
        let (versions, known) = (Arc::clone(&versions), known.clone());
        async move { versions.changed(&known).await }
    });

    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    // Connections that the server had are served on by tasks of their own: a new client comes to a closed door.
    let late = remote(&address, DAEMON);
    let error = late.resolve(&web, "kv/web/db", None).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry);
    assert!(error.to_string().starts_with(&format!("the secret server http://{address} does not answer (")), "{error}");
    put(&store, "kv/web/db").await;
    let late_waiter = tokio::spawn(async move { late.changed(&known).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!late_waiter.is_finished(), "it waits for the server, too");

    // A new process: it knows none of the tokens that the old one gave.
    let (_, _server) = serve(&store, &address).await;
    for waiter in [waiter, late_waiter] {
        tokio::time::timeout(Duration::from_secs(20), waiter).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(versions.resolve(&web, "kv/web/db", None).await.unwrap().version, 2);
}

#[tokio::test]
async fn a_new_token_is_asked_for_when_the_server_knows_the_old_one_no_more() {
    crypto();
    let store = open_store().await;
    let (first, _) = serve(&store, "127.0.0.1:0").await;
    let logins = Arc::new(Mutex::new(0));
    let count = Arc::clone(&logins);
    let credential: Credential = Arc::new(move || {
        *count.lock().unwrap() += 1;
        Ok(Zeroizing::new(DAEMON.into()))
    });
    let config = RemoteConfig { address: format!("http://{first}"), ca_pem: None, credential };
    let link = Link::new(address(&config.address).unwrap(), http(&config).unwrap(), config.credential.clone());
    let gone = async || link.ask::<Value>(Method::POST, link.url(["gone"])?, Some(&json!({ "versions": [] }))).await;
    gone().await.unwrap();
    gone().await.unwrap();
    assert_eq!(*logins.lock().unwrap(), 1, "one login for many requests");
    link.forget_for_test().await;
    gone().await.unwrap();
    assert_eq!(*logins.lock().unwrap(), 2);
}

#[test]
fn an_address_is_a_host_and_a_port_over_tls() {
    for good in
        ["https://homelab.homelab.svc:8200", "https://10.0.0.1:8200/", "http://127.0.0.1:8200", "http://[::1]:1"]
    {
        assert!(address(good).is_ok(), "{good}");
    }
    for wrong in
        ["homelab:8200", "http://10.0.0.1:8200", "https://h:8200/v1", "https://u@h", "https://h?x=1", "", "ftp://h"]
    {
        let error = address(wrong).unwrap_err();
        assert_eq!(error.class(), Class::Invalid, "{wrong}: {error}");
    }
}

#[tokio::test]
async fn debug_shows_no_token() {
    crypto();
    let credential: Credential = Arc::new(|| Ok(Zeroizing::new("planted".into())));
    let config = RemoteConfig { address: "http://127.0.0.1:1".into(), ca_pem: None, credential };
    let shown = format!("{config:?} {:?}", RemoteVersions::new(config.clone()).unwrap());
    assert_eq!(shown, r#"RemoteConfig { address: "http://127.0.0.1:1", .. } RemoteVersions(http://127.0.0.1:1)"#);
}
