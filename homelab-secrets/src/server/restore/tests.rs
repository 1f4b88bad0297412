use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt as _;

use super::*;
use crate::Error;
use crate::backend::memory::Memory;
use crate::backend::{Host as _, System};
use crate::keys::{SlotKey, Unlock};
use crate::server::Login;
use crate::store::{Put, SecretData, SecretPath, SecretStore};

/// Takes the token for the account's name.
struct ByName;

#[async_trait]
impl Authenticator for ByName {
    async fn authenticate(&self, credential: &str, audience: &str) -> Result<Login, Error> {
        assert_eq!(audience, "homelab");
        let account = Account::parse(credential).ok_or_else(|| Error::Denied("a token of nobody".into()))?;
        Ok(Login { identity: Identity::account(account), ends: None })
    }
}

fn key() -> SlotKey {
    SlotKey::generate(&|buffer| System.random(buffer)).expect("a key")
}

async fn backup(key: &SlotKey) -> Vec<u8> {
    let unlock = Unlock::KeyFile(key.clone());
    let store =
        SecretStore::open_or_init(Arc::new(Memory::default()), unlock, Arc::new(System)).await.expect("a store");
    let data = SecretData::new(serde_json::Map::from_iter([("password".to_owned(), "planted".into())]));
    store.put(&SecretPath::parse("kv/web/db").expect("a path"), data, Put::default()).await.expect("written");
    let (mut backup, mut file) = (store.backup("0.1.0").await.expect("begun"), Vec::new());
    while let Some(piece) = backup.next_piece().await.expect("a piece") {
        file.extend(piece);
    }
    file
}

async fn send(vault: &Vault, token: Option<&str>, body: Vec<u8>) -> (u16, String) {
    let owner = Account::new("homelab", "homelab-admin");
    let router = restore_router(Awaited { vault: vault.clone(), accounts: Arc::new(ByName), owner });
    let mut request = Request::post("/v1/sys/homelab/restore");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let answer = router.oneshot(request.body(Body::from(body)).expect("a request")).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn the_owner_alone_puts_a_whole_backup_back_and_only_where_no_store_is() {
    let vault = Vault::new(Arc::new(Memory::default()), Arc::new(System));
    let key = key();
    let file = backup(&key).await;
    let admin = Some("homelab/homelab-admin");
    for (token, status, says) in [
        (None, 401, "say who you are"),
        (Some("nobody"), 403, "a token of nobody"),
        (Some("web/default"), 403, "may not put a backup back"),
    ] {
        let (got, text) = send(&vault, token, file.clone()).await;
        assert!(got == status && text.contains(says), "{got} {text}");
    }
    for (wrong, says) in [(&file[..file.len() - 1], "ends in the middle"), (b"hello\n", "no backup"), (b"", "ends in")]
    {
        let (got, text) = send(&vault, admin, wrong.to_vec()).await;
        assert!(got == 400 && text.contains(says), "{got} {text}");
        assert!(!vault.initialized().await.expect("asked"), "nothing is there");
    }

    let (got, text) = send(&vault, admin, file.clone()).await;
    assert_eq!(got, 200, "{text}");
    assert!(vault.store().is_err(), "it is sealed until somebody with a key opens it");
    let stranger = SlotKey::generate(&|buffer| System.random(buffer)).expect("a key");
    assert!(vault.unseal(Unlock::KeyFile(stranger)).await.is_err());
    vault.unseal(Unlock::KeyFile(key)).await.expect("the key of the store opens it");
    let path = SecretPath::parse("kv/web/db").expect("a path");
    let secret = vault.handle().get(&path, None).await.expect("it is there");
    assert_eq!(secret.data.expose()["password"], "planted");

    let (got, text) = send(&vault, admin, file).await;
    assert!(got == 400 && text.contains("there is a store already"), "{got} {text}");
}
