//! Real clients against a real listener: `bao`, `hvac`, and OpenBao's own server beside ours.
//!
//! Run by `cargo xtask test --suite clients`, which has the programs; not one of the tests that need nothing.

#![expect(clippy::disallowed_methods, reason = "these tests start programs that the environment names")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use homelab_secrets::backend::memory::Memory;
use homelab_secrets::backend::{Host as _, System};
use homelab_secrets::keys::{SlotKey, Unlock};
use homelab_secrets::policy::PolicySet;
use homelab_secrets::server::{ServerConfig, ServerState, router};
use homelab_secrets::store::SecretStore;
use serde_json::{Value, json};

#[path = "clients/bucket.rs"]
mod bucket;

const ROOT: &str = "root-of-the-clients";

fn program(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.map(PathBuf::from).unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test --suite clients`"))
}

/// Our server on a port of its own.
async fn ours() -> String {
    let unlock = Unlock::KeyFile(SlotKey::generate(&|buffer| System.random(buffer)).unwrap());
    let store = SecretStore::open_or_init(Arc::new(Memory::default()), unlock, Arc::new(System)).await.unwrap();
    let policy = Arc::new(PolicySet::default());
    let config = ServerConfig { store, policy, host: Arc::new(System), kubernetes: None };
    let app = router(ServerState::new(config, Some(ROOT)).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
    });
    format!("http://{address}")
}

/// `bao` with a home of its own.
struct Bao {
    address: String,
    token: String,
    home: tempfile::TempDir,
}

impl Bao {
    fn new(address: &str, token: &str) -> Self {
        Self { address: address.into(), token: token.into(), home: tempfile::tempdir().unwrap() }
    }

    fn run(&self, line: &str, format: &str) -> (bool, String) {
        let mut command = Command::new(program("HOMELAB_TEST_BAO"));
        command.args(line.split(' ')).env_clear().env("HOME", self.home.path()).stdin(Stdio::null());
        let command = command.env("BAO_FORMAT", format);
        let output = command.env("BAO_ADDR", &self.address).env("BAO_TOKEN", &self.token).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// What it says, when it succeeds.
    fn ok(&self, line: &str) -> String {
        let (success, said) = self.run(line, "table");
        assert!(success, "bao {line}: {said}");
        said
    }

    /// What it says, when it fails.
    fn fails(&self, line: &str) -> String {
        let (success, said) = self.run(line, "table");
        assert!(!success, "bao {line} should have failed: {said}");
        said
    }

    fn json(&self, line: &str) -> Value {
        let (success, said) = self.run(line, "json");
        assert!(success, "bao {line}: {said}");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("bao {line}: {error}: {said}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bao_reads_and_writes_secrets() {
    let bao = Bao::new(&ours().await, ROOT);
    assert!(bao.ok("status").contains("Sealed"));
    bao.ok("kv put kv/web/db user=me password=one");
    bao.ok("kv put -cas=1 kv/web/db user=me password=two");
    assert!(bao.fails("kv put -cas=1 kv/web/db user=you").contains("did not match the current version"));
    bao.ok("kv patch kv/web/db host=db");
    bao.ok("kv patch -method=rw -mount=kv web/db port=1");
    assert_eq!(
        bao.json("kv get kv/web/db")["data"]["data"],
        json!({"user": "me", "password": "two", "host": "db", "port": "1"})
    );
    assert_eq!(bao.ok("kv get -field=password -version=1 -mount=kv web/db").trim(), "one");
    assert_eq!(bao.json("kv list kv/web"), json!(["db"]));
    bao.ok("kv delete kv/web/db");
    assert!(
        bao.ok("kv get kv/web/db").contains("deletion_time") && bao.json("kv get kv/web/db")["data"]["data"].is_null()
    );
    bao.ok("kv undelete -versions=4 kv/web/db");
    bao.ok("kv delete -versions=2 kv/web/db");
    bao.ok("kv destroy -versions=1 kv/web/db");
    bao.ok("kv rollback -version=3 kv/web/db");
    bao.ok("kv metadata put -max-versions=7 -custom-metadata=owner=me -delete-version-after=24h kv/web/db");
    bao.ok("kv metadata patch -custom-metadata=room=1 kv/web/db");
    let metadata = bao.json("kv metadata get kv/web/db");
    assert_eq!(metadata["data"]["custom_metadata"], json!({"owner": "me", "room": "1"}));
    assert_eq!((&metadata["data"]["current_version"], &metadata["data"]["max_versions"]), (&json!(5), &json!(7)));
    assert_eq!(
        bao.json("read kv/subkeys/web/db")["data"]["subkeys"],
        json!({"user": null, "password": null, "host": null})
    );
    bao.ok("kv metadata delete kv/web/db");
    assert!(bao.fails("kv get kv/web/db").contains("No value found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bao_administers() {
    let address = ours().await;
    let bao = Bao::new(&address, ROOT);
    bao.ok("secrets enable -path=team -description=ours -version=2 kv");
    assert!(bao.ok("secrets list").contains("team/") && bao.ok("secrets list -detailed").contains("ours"));
    bao.ok("secrets tune -description=yours team");
    bao.ok("write team/config max_versions=4 cas_required=true");
    assert!(bao.fails("kv put team/a k=v").contains("check-and-set parameter required"));
    bao.ok("kv put -cas=0 team/a k=v");
    bao.ok("secrets disable team");
    assert!(bao.fails("secrets enable -path=x pki").contains("plugin not found"));

    let file = bao.home.path().join("web.hcl");
    std::fs::write(&file, "path \"kv/data/web/*\" {\n  capabilities = [\"read\", \"create\"] # and no more\n}\n")
        .unwrap();
    bao.ok(&format!("policy write web {}", file.display()));
    assert!(bao.ok("policy read web").contains("and no more") && bao.ok("policy list").contains("web"));
    std::fs::write(&file, "path \"x\" { capabilities = [\"bogus\"] }").unwrap();
    assert!(bao.fails(&format!("policy write bad {}", file.display())).contains("invalid capability"));

    let made = bao.json("token create -policy=web -ttl=30m -display-name=ci -metadata=a=b -explicit-max-ttl=1h");
    let web = Bao::new(&address, made["auth"]["client_token"].as_str().unwrap());
    assert_eq!(web.json("token lookup")["data"]["policies"], json!(["default", "web"]));
    web.ok("kv put -mount=kv web/db k=v");
    assert!(web.fails("kv put -mount=kv web/db k=w").contains("permission denied"));
    assert!(web.fails("kv put -mount=kv other/db k=v").contains("permission denied"));
    assert_eq!(web.ok("token capabilities kv/data/web/db").trim(), "create, read");
    assert_eq!(web.ok("token capabilities sys/mounts").trim(), "deny");
    assert_eq!(web.json("token renew -increment=10m")["auth"]["lease_duration"], 600);
    let accessor = made["auth"]["accessor"].as_str().unwrap();
    assert!(bao.ok(&format!("token lookup -accessor {accessor}")).contains("token-ci"));
    bao.ok(&format!("token revoke -accessor {accessor}"));
    assert!(web.fails("token lookup").contains("permission denied"));
    bao.ok("policy delete web");

    bao.ok("auth enable approle");
    assert!(bao.ok("auth list").contains("approle/"));
    bao.ok("write auth/approle/role/ci token_policies=default token_ttl=20m secret_id_num_uses=1");
    let id = bao.ok("read -field=role_id auth/approle/role/ci/role-id");
    let secret = bao.ok("write -f -field=secret_id auth/approle/role/ci/secret-id");
    let line = format!("write auth/approle/login role_id={} secret_id={}", id.trim(), secret.trim());
    let stranger = Bao::new(&address, "");
    let entered = stranger.json(&line);
    assert_eq!(entered["auth"]["lease_duration"], 1200);
    assert!(stranger.fails(&line).contains("invalid role or secret ID"));
    let token = entered["auth"]["client_token"].as_str().unwrap();
    Bao::new(&address, "").ok(&format!("login -no-store {token}"));
    bao.ok("auth disable approle");
    assert!(
        bao.fails("read something/else").contains("No value found")
            || bao.fails("read something/else").contains("no handler")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hvac_works() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/hvac_client.py");
    let mut python = Command::new("python3");
    python.args(["-W", "ignore", script]).env("PYTHONPATH", program("HOMELAB_TEST_PYTHONPATH"));
    let output = python.env("HOMELAB_ADDR", ours().await).env("HOMELAB_TOKEN", ROOT).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.trim().ends_with("ok"), "{said}");
}

/// OpenBao's server, gone when the value is.
struct OpenBao {
    child: Child,
    address: String,
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl OpenBao {
    async fn start(http: &reqwest::Client) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program("HOMELAB_TEST_BAO"));
        command.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id", ROOT, "-dev-listen-address"]);
        command.arg(format!("127.0.0.1:{port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let bao = Self { child: command.spawn().unwrap(), address: format!("http://127.0.0.1:{port}") };
        for _ in 0..600 {
            if http.get(format!("{}/v1/sys/internal/ui/mounts/kv", bao.address)).send().await.is_ok() {
                return bao;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("OpenBao did not start within a minute");
    }
}

/// A request to both servers; `-` is no body.
const REQUESTS: &str = include_str!("clients/requests.txt");

async fn ask(http: &reqwest::Client, address: &str, (method, path, body): (&str, &str, &str)) -> (u16, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let mut request = http.request(method, format!("{address}/v1/{path}")).header("content-type", kind);
    if !path.contains("/login") {
        request = request.header("x-vault-token", ROOT);
    }
    if body != "-" {
        request = request.body(body.to_owned());
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// What ours leaves out: it has no mount `secret`, no plugins, no replication, no leases, no identities and no per-policy check-and-set.
const LEFT_OUT: [&str; 14] = [
    "secret/",
    "current_metadata_version",
    "plugin_version",
    "running_plugin_version",
    "running_sha256",
    "deprecation_status",
    "metadata_cas_required",
    "cluster_id",
    "commit_date",
    "allow_slashes_in_identity_templates",
    "allow_wildcards_in_identity_templates",
    "identity/",
    "sys/",
    "cubbyhole/",
];

/// Each field of theirs is in ours, with the same sort of value.
fn compare(at: &str, ours: &Value, theirs: &Value, wrong: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, theirs) in theirs {
                match ours.get(key) {
                    Some(ours) => compare(&format!("{at}.{key}"), ours, theirs, wrong),
                    None if LEFT_OUT.contains(&key.as_str()) => {}
                    None => wrong.push(format!("{at} lacks {key}")),
                }
            }
        }
        (Value::Null, Value::Null) | (Value::Bool(_), Value::Bool(_)) | (Value::Number(_), Value::Number(_)) => {}
        (Value::String(_), Value::String(_)) | (Value::Array(_), Value::Array(_)) => {}
        _ => wrong.push(format!("{at}: {ours} where OpenBao has {theirs}")),
    }
}

/// The same requests, one after the other, to OpenBao and to ours: the same status and the same fields.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_shaped_as_openbaos() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let (bao, ours) = (OpenBao::start(&http).await, ours().await);
    for address in [&bao.address, &ours] {
        ask(&http, address, ("POST", "sys/mounts/kv", r#"{"type":"kv","options":{"version":"2"}}"#)).await;
    }
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for line in REQUESTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        let request = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or("-"));
        let (theirs, ours) = (ask(&http, &bao.address, request).await, ask(&http, &ours, request).await);
        let mut differs = Vec::new();
        if theirs.0 != ours.0 {
            differs.push(format!("{} {} where OpenBao has {} {}", ours.0, ours.1, theirs.0, theirs.1));
        }
        // A 404 without a body is one with an empty list of errors.
        if !(theirs.1.is_null() && ours.1 == json!({ "errors": [] })) {
            compare("", &ours.1, &theirs.1, &mut differs);
        }
        wrong.extend(differs.into_iter().map(|what| format!("{line}: {what}")));
        asked += 1;
    }
    assert!(wrong.is_empty() && asked > 50, "{asked} asked\n{}", wrong.join("\n"));
}
