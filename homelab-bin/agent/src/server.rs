//! Vault's HTTP API, as far as the agent needs it: log in, read one version.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Request, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::value::Answer;

/// Longest answer: a value of 1 MiB, escaped.
const LARGEST: u64 = 8 << 20;
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The secret server.
pub(crate) struct Server {
    agent: Agent,
    addr: String,
    token: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
struct Login<'a> {
    #[serde(borrow)]
    auth: Auth<'a>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    client_token: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Errors {
    errors: Vec<String>,
}

impl Server {
    pub(crate) fn new(addr: &str, ca_pem: &str) -> Result<Self, Failure> {
        if !addr.starts_with("https://") {
            return Err(Failure::fixed(format!("HOMELAB_ADDR is {addr:?}: it has to start with https://")));
        }
        let certificates = certificates(ca_pem)?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(certificates)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("homelab-agent/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into(), addr: addr.trim_end_matches('/').into(), token: None })
    }

    /// Logs in as the pod's ServiceAccount, unless that is done.
    pub(crate) fn log_in_with(&mut self, file: &Path) -> Result<(), Failure> {
        if self.token.is_some() {
            return Ok(());
        }
        let jwt = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|error| {
            Failure::passing(format!("token of the pod's ServiceAccount ({}) can not be read: {error}", file.display()))
        })?;
        // A token is base64 and dots; anything else must not get into the JSON text.
        let jwt = jwt.trim();
        if jwt.is_empty() || !jwt.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
            return Err(Failure::passing(format!("{} holds no token", file.display())));
        }
        let body = Zeroizing::new(format!("{{\"role\":\"homelab-agent\",\"jwt\":\"{jwt}\"}}"));
        let request = Request::post(format!("{}/v1/auth/kubernetes/login", self.addr))
            .header("content-type", "application/json")
            .body(body.as_bytes().to_vec())
            .map_err(|_| self.odd_address())?;
        let (status, text) = self.send(request, "log in")?;
        if status != 200 {
            return Err(self.refusal(
                status,
                &text,
                "login as the pod's ServiceAccount",
                "does it review tokens with audience homelab?",
            ));
        }
        let login: Login<'_> = serde_json::from_slice(&text).map_err(|_| {
            Failure::passing(format!("{} answered a login with something else than a token", self.addr))
        })?;
        self.token = Some(Zeroizing::new(login.auth.client_token.into()));
        Ok(())
    }

    /// Reads the newest version of `path`.
    pub(crate) fn newest(&mut self, path: &str) -> Result<Answer, Failure> {
        self.ask(path, "", path)
    }

    /// Reads `path` at exactly `version`.
    pub(crate) fn read(&mut self, path: &str, version: u64) -> Result<Answer, Failure> {
        self.ask(path, &format!("?version={version}"), &format!("{path}@{version}"))
    }

    fn ask(&mut self, path: &str, query: &str, what: &str) -> Result<Answer, Failure> {
        let token = self.token.as_deref().map_or("", String::as_str);
        let (mount, rest) = path.split_once('/').unwrap_or((path, ""));
        let request = Request::get(format!("{}/v1/{}/data/{}{query}", self.addr, escaped(mount), escaped(rest)))
            .header("x-vault-token", token)
            .body(Vec::new())
            .map_err(|_| self.odd_address())?;
        let (status, text) = self.send(request, &format!("read {what}"))?;
        match status {
            200 => Ok(Answer::new(text)),
            404 => Err(Failure::refused(format!(
                "{what} is not there: the path was never written, or that version is deleted or destroyed; \
                 look with `homelab kv history {path}`"
            ))),
            403 => {
                // It may be the token that the server does not know any more, as after its restart.
                self.token = None;
                Err(self.refusal(status, &text, what, "let the pod's ServiceAccount read it by a SecretPolicy"))
            }
            _ => Err(self.refusal(status, &text, what, "look at the server's log")),
        }
    }

    fn send(&self, request: Request<Vec<u8>>, what: &str) -> Result<(u16, Zeroizing<Vec<u8>>), Failure> {
        let trouble = |error: ureq::Error| {
            let hint = if is_tls(&error) {
                "its certificate does not fit HOMELAB_CA or its address; is the pod older than the server's CA? make it anew"
            } else {
                "is homelab running, and can pods reach it there?"
            };
            Failure::passing(format!("can not {what} at {}: {error}; {hint}", self.addr))
        };
        let (parts, body) = request.into_parts();
        let body = Zeroizing::new(body);
        let sent = match parts.method.as_str() {
            "GET" => self.agent.run(Request::from_parts(parts, SendBody::none())),
            _ => self.agent.run(Request::from_parts(parts, body.as_slice())),
        };
        let mut response: Response<Body> = sent.map_err(trouble)?;
        let text = response.body_mut().with_config().limit(LARGEST).read_to_vec().map_err(trouble)?;
        Ok((response.status().as_u16(), Zeroizing::new(text)))
    }

    /// What the server said instead of giving what was asked.
    fn refusal(&self, status: u16, text: &[u8], what: &str, hint: &str) -> Failure {
        let Errors { errors } = serde_json::from_slice(text).unwrap_or_default();
        let said: String = errors.join("; ").chars().filter(|c| !c.is_control()).take(600).collect();
        let said = if said.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}, {said}") };
        let message = format!("{what}: {} says {said}; {hint}", self.addr);
        if status == 429 || status >= 500 { Failure::passing(message) } else { Failure::refused(message) }
    }

    fn odd_address(&self) -> Failure {
        Failure::fixed(format!("HOMELAB_ADDR is {:?}: it is no address", self.addr))
    }
}

fn is_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        ureq::Error::Io(error) => error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
        _ => false,
    }
}

fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, Failure> {
    let mut found = Vec::new();
    for item in parse_pem(pem.as_bytes()) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| Failure::fixed("HOMELAB_CA is no PEM"))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(Failure::fixed("HOMELAB_CA holds no certificate")) } else { Ok(found) }
}

/// Percent-encodes all but unreserved characters and the slash.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
