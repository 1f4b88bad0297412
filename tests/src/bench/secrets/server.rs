//! The servers that are compared: started, made ready for the load, measured, ended.

use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use super::load;
use super::wire::{Target, Wire, request};

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two questions whether it answers.
const PAUSE: Duration = Duration::from_millis(2);
const POLICY: &str = r#"path "kv/*" { capabilities = ["create", "read", "update"] }"#;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    /// Ours: machines' reads are in the audit log before they are answered, and on the disk within a second.
    Ours,
    /// Ours, each answer synced.
    Always,
    /// OpenBao.
    OpenBao,
}

/// A server's folder and address; they stay when it is started again.
pub(super) struct Place {
    is_ours: bool,
    program: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    /// OpenBao's cluster port, which it wants also when it is alone.
    cluster: SocketAddr,
    certificate: Certificate,
    root: Option<String>,
    /// Role and secret of the program that the load passes for.
    role: Option<(String, String)>,
}

/// One certificate for both servers.
#[derive(Clone)]
pub(super) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    client: Arc<ClientConfig>,
}

impl Certificate {
    /// Makes one for 127.0.0.1.
    pub(super) fn make(folder: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).context("make a certificate")?;
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(made.cert.der().to_vec()))?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { certificate, key, client: Arc::new(client) })
    }
}

impl Place {
    pub(super) fn new(is_ours: bool, program: PathBuf, folder: PathBuf, certificate: Certificate) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let (address, cluster) = (free()?, free()?);
        Ok(Self { is_ours, program, folder, address, cluster, certificate, root: None, role: None })
    }

    fn target(&self, tls: bool) -> Target {
        Target { address: self.address, tls: tls.then(|| Arc::clone(&self.certificate.client)) }
    }

    fn command(&self, tls: bool, always: bool) -> Result<Command> {
        let mut command = Command::new(&self.program);
        if self.is_ours {
            command.arg("server").arg("--data-dir").arg(&self.folder);
            command.arg("--listen").arg(self.address.to_string());
            match tls {
                true => {
                    let Certificate { certificate, key, .. } = &self.certificate;
                    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key)
                }
                false => command.arg("--no-tls"),
            };
            command.args(always.then_some("--audit-sync=always"));
        } else {
            let settings = self.folder.join("settings.hcl");
            std::fs::write(&settings, self.settings(tls)?)?;
            command.arg("server").arg(format!("-config={}", settings.display()));
        }
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// OpenBao as it is for one node: raft, opened by a key file, the audit log in a file.
    fn settings(&self, tls: bool) -> Result<String> {
        let (raft, seal) = (self.folder.join("raft"), self.folder.join("seal.key"));
        std::fs::create_dir_all(&raft)?;
        if !seal.exists() {
            std::fs::write(&seal, rand::random::<[u8; 32]>())?;
        }
        let (raft, seal, audit) = (raft.display(), seal.display(), self.folder.join("audit.log"));
        let Self { address, cluster, certificate: Certificate { certificate, key, .. }, .. } = self;
        let scheme = if tls { "https" } else { "http" };
        let tls = match tls {
            true => format!("tls_cert_file = {certificate:?}\n  tls_key_file = {key:?}"),
            false => "tls_disable = true".into(),
        };
        Ok(format!(
            r#"storage "raft" {{
  path = "{raft}"
  node_id = "bench"
  performance_multiplier = 1
}}
seal "static" {{
  current_key_id = "bench"
  current_key = "file://{seal}"
}}
audit "file" "file" {{
  options {{
    file_path = {audit:?}
  }}
}}
listener "tcp" {{
  address = "{address}"
  cluster_address = "{cluster}"
  {tls}
}}
api_addr = "{scheme}://{address}"
cluster_addr = "https://{cluster}"
log_level = "warn"
"#
        ))
    }

    /// Starts it for the first time and makes it ready: keys, the mount, a role for the load.
    pub(super) async fn prepare(&mut self) -> Result<()> {
        let mut running = Running { child: self.command(false, false)?.spawn().context("start")?, tls: false };
        let target = self.target(false);
        if !self.is_ours {
            let body = json!({"recovery_shares": 1, "recovery_threshold": 1});
            let made = insist(&target, ("POST", "sys/init"), "", &body).await.context("initialise OpenBao")?;
            self.root = Some(text(&made, "/root_token")?);
        }
        let deadline = Instant::now() + PATIENCE;
        while self.is_ours && self.root.is_none() {
            let kept = std::fs::read_to_string(self.folder.join("root-token")).unwrap_or_default();
            self.root = (!kept.is_empty()).then(|| kept.trim().to_owned());
            ensure!(Instant::now() < deadline, "no root token: see {}", self.folder.join("log").display());
            tokio::time::sleep(PAUSE).await;
        }
        let root = self.root.clone().unwrap_or_default();
        if !self.is_ours {
            let kv = json!({"type": "kv", "options": {"version": "2"}});
            insist(&target, ("POST", "sys/mounts/kv"), &root, &kv).await?;
        }
        insist(&target, ("POST", "sys/auth/approle"), &root, &json!({"type": "approle"})).await?;
        insist(&target, ("PUT", "sys/policies/acl/bench"), &root, &json!({"policy": POLICY})).await?;
        let role = json!({"token_policies": "bench", "token_ttl": "1h"});
        insist(&target, ("POST", "auth/approle/role/bench"), &root, &role).await?;
        let id = insist(&target, ("GET", "auth/approle/role/bench/role-id"), &root, &Value::Null).await?;
        let secret = insist(&target, ("POST", "auth/approle/role/bench/secret-id"), &root, &json!({})).await?;
        self.role = Some((text(&id, "/data/role_id")?, text(&secret, "/data/secret_id")?));
        let first = json!({"data": {"is": "there"}});
        insist(&target, ("POST", &load::path(0)), &root, &first).await?;
        running.end()
    }

    /// Starts it and waits for the first secret that it gives out; says how long that took, in milliseconds.
    pub(super) async fn start(&self, tls: bool, always: bool) -> Result<(Running, f64)> {
        let (target, root) = (self.target(tls), self.root.as_deref().unwrap_or_default());
        let mut command = self.command(tls, always)?;
        let began = Instant::now();
        let mut running = Running { child: command.spawn().context("start")?, tls };
        loop {
            if answers(&target, root).await {
                return Ok((running, began.elapsed().as_secs_f64() * 1000.0));
            }
            let ended = running.child.try_wait()?;
            if ended.is_some() || began.elapsed() > PATIENCE {
                bail!("{} does not answer: see {}", self.program.display(), self.folder.join("log").display());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Logs in as a program does; gives its token.
    pub(super) async fn log_in(&self, running: &Running) -> Result<(Target, String)> {
        let target = self.target(running.tls);
        let (role, secret) = self.role.clone().context("it was not prepared")?;
        let body = json!({"role_id": role, "secret_id": secret});
        let answer = insist(&target, ("POST", "auth/approle/login"), "", &body).await?;
        Ok((target, text(&answer, "/auth/client_token")?))
    }

    /// MB of its files, the audit log left out.
    pub(super) fn stored(&self) -> Result<f64> {
        let store = if self.is_ours { self.folder.join("store.redb") } else { self.folder.join("raft") };
        Ok(size(&store)? as f64 / 1e6)
    }
}

/// A process; killed when dropped.
pub(super) struct Running {
    child: Child,
    tls: bool,
}

impl Running {
    /// MB of memory that is its own: neither its file nor what the kernel keeps of files.
    pub(super) fn memory(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon in /proc")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// Ends it in good order.
    pub(super) fn end(&mut self) -> Result<()> {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(asked.success(), "the server can not be ended");
        self.child.wait()?;
        Ok(())
    }

    /// Kills it.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is fine.
        let _ = self.kill();
    }
}

/// Whether it gives out the first secret.
async fn answers(target: &Target, root: &str) -> bool {
    let ask = async { Wire::open(target).await?.exchange(&load::read(root, 0)).await };
    ask.await.is_ok_and(|status| status == 200)
}

/// Asks until the answer is a good one: OpenBao takes its time after a start, and after a mount was made.
async fn insist(target: &Target, (method, path): (&str, &str), token: &str, body: &Value) -> Result<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (sent, deadline) = (request(method, path, token, &body), Instant::now() + PATIENCE);
    loop {
        let ask = async {
            let mut wire = Wire::open(target).await?;
            let status = wire.exchange(&sent).await?;
            ensure!(status < 300, "status {status}: {}", String::from_utf8_lossy(wire.body()));
            if status == 204 { Ok(Value::Null) } else { wire.json() }
        };
        match ask.await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > deadline => return Err(error.context(format!("{method} {path}"))),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn text(answer: &Value, pointer: &str) -> Result<String> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    Ok(found.with_context(|| format!("an answer has no {pointer}"))?.to_owned())
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn size(path: &Path) -> Result<u64> {
    let file = File::open(path)?.metadata()?;
    if !file.is_dir() {
        return Ok(file.len());
    }
    std::fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + size(&entry?.path())?))
}
