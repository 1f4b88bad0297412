//! The real program against a small real TLS server.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test: it starts the program and looks at its files"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Answers in order, the last one for ever; each is a status and a body.
type Script = Arc<Mutex<Vec<(u16, String)>>>;

struct Fake {
    addr: SocketAddr,
    ca_pem: String,
    script: Script,
    /// Request line, token header and body of each request.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(answers: &[(u16, &str)]) -> Self {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let script: Script = Arc::new(Mutex::new(answers.iter().rev().map(|(s, b)| (*s, (*b).into())).collect()));
        let fake =
            Self { addr: listener.local_addr().unwrap(), ca_pem: certified.cert.pem(), script, seen: Arc::default() };
        let (script, seen, config) = (fake.script.clone(), fake.seen.clone(), Arc::new(config));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (script, seen, config) = (script.clone(), seen.clone(), config.clone());
                std::thread::spawn(move || serve(socket, config, &script, &seen));
            }
        });
        fake
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(socket: TcpStream, config: Arc<ServerConfig>, script: &Script, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config).ok()?, socket));
    loop {
        let (mut first, mut length, mut token) = (String::new(), 0, String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            match line.split_once(": ") {
                _ if first.is_empty() => first = line.into(),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
                Some((name, value)) if name.eq_ignore_ascii_case("x-vault-token") => token = value.into(),
                _ => {}
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        seen.lock().unwrap().push(format!("{first} [{token}] {}", String::from_utf8_lossy(&body)));
        let (status, body) = {
            let mut script = script.lock().unwrap();
            if script.len() > 1 { script.pop()? } else { script.first()?.clone() }
        };
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.get_mut().write_all(format!("{head}{body}").as_bytes()).ok()?;
        stream.get_mut().flush().ok()?;
    }
}

struct Pod {
    folder: tempfile::TempDir,
    deadline: u32,
    secrets: String,
    ca_pem: Option<String>,
}

impl Pod {
    fn new(secrets: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        std::fs::write(folder.path().join("token"), "aaa.bbb-_.ccc\n").unwrap();
        let secrets = format!(r#"{{"format":1,"mode":"0444","secrets":{secrets}}}"#);
        Self { folder, deadline: 20, secrets, ca_pem: None }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    fn run(&self, fake: &Fake) -> Output {
        self.command(fake).output().unwrap()
    }

    fn command(&self, fake: &Fake) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_homelab-agent"));
        command
            .env_clear()
            .env("HOMELAB_SECRETS", &self.secrets)
            .env("HOMELAB_ADDR", format!("https://{}", fake.addr))
            .env("HOMELAB_CA", self.ca_pem.as_ref().unwrap_or(&fake.ca_pem))
            .env("HOMELAB_ROOT", self.folder.path().join("root"))
            .env("HOMELAB_TOKEN_FILE", self.folder.path().join("token"))
            .env("HOMELAB_DEADLINE", self.deadline.to_string());
        command
    }
}

const LOGIN: (u16, &str) = (200, r#"{"auth":{"client_token":"hvs.x","policies":["default"],"lease_duration":3600}}"#);
const DB: (u16, &str) =
    (200, r#"{"data":{"data":{"user":"web","port":5432,"tls":{"a": [1, 2]}},"metadata":{"version":3}}}"#);
const API: (u16, &str) = (200, r#"{"data":{"data":{"KEY":"top $ecret \"x\"","OTHER":"y"},"metadata":{"version":1}}}"#);
const BOTH: &str = r#"[{"path":"kv/web/db","version":3,"keys":["user"],"as":{"files":"/run/secrets/db"},"to":"0"},
    {"path":"kv/web/a b","version":1,"keys":["KEY"],"as":{"env":"API_"},"to":"1.env"}]"#;

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn secrets_are_written_at_their_versions() {
    let fake = Fake::start(&[LOGIN, DB, API]);
    let pod = Pod::new(BOTH);
    let output = pod.run(&fake);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!([pod.read("0/user"), pod.read("0/port"), pod.read("0/tls")], ["web", "5432", r#"{"a":[1,2]}"#]);
    assert_eq!(pod.read("1.env"), "API_KEY='top $ecret \"x\"'\n");
    assert_eq!(
        fake.seen(),
        [
            r#"POST /v1/auth/kubernetes/login HTTP/1.1 [] {"role":"homelab-agent","jwt":"aaa.bbb-_.ccc"}"#,
            "GET /v1/kv/data/web/db?version=3 HTTP/1.1 [hvs.x] ",
            "GET /v1/kv/data/web/a%20b?version=1 HTTP/1.1 [hvs.x] ",
        ]
    );
    assert!(output.stderr.is_empty());
}

#[test]
fn trouble_that_passes_is_waited_out() {
    let fake = Fake::start(&[(503, r#"{"errors":["sealed"]}"#), LOGIN, (500, ""), DB, API]);
    let pod = Pod::new(BOTH);
    let output = pod.run(&fake);
    assert!(output.status.success(), "{}", stderr(&output));
    let log = stderr(&output);
    assert!(log.contains("HTTP 503, sealed") && log.contains("HTTP 500") && log.lines().count() == 2, "{log}");
}

#[test]
fn a_forgotten_token_is_fetched_again() {
    let fake = Fake::start(&[LOGIN, (403, r#"{"errors":["permission denied"]}"#), LOGIN, DB, API]);
    let output = Pod::new(BOTH).run(&fake);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fake.seen().iter().filter(|line| line.starts_with("POST")).count(), 2);
}

#[test]
fn a_refusal_ends_in_one_clear_line() {
    let denied = (403, r#"{"errors":["serviceaccount web/web may not read \"kv/web/db\": no policy names it"]}"#);
    for (answer, expect) in [
        (denied, "HTTP 403, serviceaccount web/web may not read"),
        ((404, r#"{"errors":[]}"#), "kv/web/db@3 is not there"),
        (
            (404, r#"{"data":{"data":null,"metadata":{"version":3,"deletion_time":"x"}}}"#),
            "homelab kv history kv/web/db",
        ),
    ] {
        let fake = Fake::start(&[LOGIN, answer, LOGIN, answer, LOGIN, answer]);
        let mut pod = Pod::new(BOTH);
        pod.deadline = 0;
        let output = pod.run(&fake);
        let log = stderr(&output);
        assert_eq!(output.status.code(), Some(77));
        assert!(log.starts_with("homelab-agent: giving up: kv/web/db@3") && log.contains(expect), "{log}");
        assert_eq!(log.lines().count(), 1);
        assert_eq!(std::fs::read_dir(pod.file("")).unwrap().count(), 0, "nothing is written");
    }
}

#[test]
fn what_can_not_pass_is_not_waited_for() {
    let quote = (200, r#"{"data":{"data":{"KEY":"it's topsecret"},"metadata":{"version":1}}}"#);
    let fake = Fake::start(&[LOGIN, quote]);
    let only_env = r#"[{"path":"kv/web/api","version":1,"keys":["KEY"],"as":{"env":"API_"},"to":"0.env"}]"#;
    let start = Instant::now();
    let output = Pod::new(only_env).run(&fake);
    let log = stderr(&output);
    assert!(!output.status.success() && start.elapsed() < Duration::from_secs(5));
    assert!(log.contains("key \"KEY\" of kv/web/api@1") && !log.contains("topsecret"), "{log}");
}

#[test]
fn a_server_with_another_ca_gets_no_token() {
    let fake = Fake::start(&[LOGIN, DB]);
    let mut pod = Pod::new(BOTH);
    pod.ca_pem = Some(Fake::start(&[LOGIN]).ca_pem);
    pod.deadline = 0;
    let log = stderr(&pod.run(&fake));
    assert!(log.contains("certificate does not fit HOMELAB_CA"), "{log}");
    assert!(fake.seen().is_empty());
}

#[test]
fn a_server_that_is_away_is_named() {
    let fake = Fake::start(&[LOGIN]);
    let gone = Fake { addr: "127.0.0.1:1".parse().unwrap(), ..fake };
    let mut pod = Pod::new(BOTH);
    pod.deadline = 1;
    let start = Instant::now();
    let log = stderr(&pod.run(&gone));
    assert!(log.contains("can not log in at https://127.0.0.1:1") && log.lines().count() > 2, "{log}");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_sidecar_writes_newer_versions_takes_old_files_away_and_ends_when_it_is_told_to() {
    let next = (200, r#"{"data":{"data":{"user":"new"},"metadata":{"version":4}}}"#);
    let fake = Fake::start(&[LOGIN, DB, (503, r#"{"errors":["sealed"]}"#), next]);
    let pod =
        Pod::new(r#"[{"path":"kv/web/db","version":3,"keys":["user"],"as":{"files":"/run/secrets/db"},"to":"0"}]"#);
    std::fs::create_dir(pod.file("0")).unwrap();
    for name in ["user", "port"] {
        std::fs::write(pod.file("0").join(name), "old").unwrap();
    }
    let mut command = pod.command(&fake);
    let mut sidecar = command.env("HOMELAB_REFRESH", "1").stderr(std::process::Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while pod.read("0/user") != "new" || pod.file("0/port").exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not come: {:?}", fake.seen());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(Command::new("kill").arg(sidecar.id().to_string()).status().unwrap().success());
    assert!(sidecar.wait().unwrap().success(), "it ends by itself");
    let mut log = String::new();
    sidecar.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("stays as it is") && log.contains("kv/web/db@4 is in its files"), "{log}");
    assert!(!log.contains("new\n") && fake.seen()[1].starts_with("GET /v1/kv/data/web/db HTTP"), "{:?}", fake.seen());
}
