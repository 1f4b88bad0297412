//! A store in one file, written and read as a library, then served to any Vault client:
//!
//! ```sh
//! cargo run -p homelab-secrets --example kv_server --features server,embedded -- /tmp/store.redb 127.0.0.1:8200 s3cret
//! BAO_ADDR=http://127.0.0.1:8200 BAO_TOKEN=s3cret bao kv get kv/hello
//! ```
#![expect(clippy::print_stderr, reason = "an example talks to whoever tries it")]

use std::path::Path;
use std::sync::Arc;

use homelab_secrets::Error;
use homelab_secrets::backend::embedded::Embedded;
use homelab_secrets::backend::{System, key_file};
use homelab_secrets::policy::PolicySet;
use homelab_secrets::server::{ServerConfig, ServerState, router};
use homelab_secrets::store::{Put, SecretData, SecretPath, SecretStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, listen, root_token] = &arguments[..] else {
        return Err("usage: kv_server FILE LISTEN ROOT_TOKEN".into());
    };
    let store = open(Path::new(file)).await?;

    let hello = SecretPath::parse("kv/hello")?;
    let data: SecretData = serde_json::from_str(r#"{"greeting": "good morning"}"#)?;
    let (version, _) = store.put(&hello, data, Put { cas: None, writer: "example".into() }).await?;
    let read = store.get(&hello, Some(version)).await?;
    eprintln!("{hello} now has version {version} with the keys {:?}", read.data.keys());

    // No policies: only the root token may do anything.
    let policy = Arc::new(PolicySet::default());
    let config = ServerConfig { store, policy, host: Arc::new(System), kubernetes: None };
    let app = router(ServerState::new(config, Some(root_token))?);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    eprintln!("serving KV v2 on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn open(file: &Path) -> Result<SecretStore, Error> {
    let is_new = !file.exists();
    let unlock = key_file(&file.with_extension("key"), is_new, &System)?;
    SecretStore::open_or_init(Arc::new(Embedded::open(file)?), unlock, Arc::new(System)).await
}
