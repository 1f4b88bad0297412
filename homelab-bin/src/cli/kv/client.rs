//! The HTTP side of `homelab kv`: where the server is, who we are, and its verbs.
#![expect(clippy::disallowed_methods, reason = "reads the environment that Vault's clients read, and the CA file")]

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use homelab_core::meta::Account;
use reqwest::{Certificate, Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Path;
use super::way::{Way, service_account_token};
use crate::args::{Global, Server};
use crate::cli::cluster::Cluster;
use crate::cli::forward::Forward;
use crate::cli::patience::{self, LIMIT, patient};
use crate::daemon::OWNER;

mod answer;
mod whole;

pub(in crate::cli) use answer::{is_denied, is_refused};

use answer::Answer;

/// How long a whole store may take to be sent.
const RESTORE: Duration = Duration::from_secs(120);
const API_SERVER: &str = "the cluster's API server";
const API_REMEDY: &str = "see whether `kubectl version` gets an answer";
const DEAD: &str = "see whether it runs (`homelab status`)";
const DEAD_AFTER_CHANGE: &str =
    "see whether it runs (`homelab status`) and whether what was asked is done: it may have been";

/// A version of a secret, without its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Version {
    pub(super) version: u64,
    pub(super) created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deleted: Option<String>,
    pub(super) destroyed: bool,
}

impl Version {
    pub(super) fn of(version: u64, value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Self {
            version,
            created: text("created_time"),
            deleted: Some(text("deletion_time")).filter(|time| !time.is_empty()),
            destroyed: value["destroyed"].as_bool().unwrap_or_default(),
        }
    }
}

/// A server and a token for it.
pub(crate) struct Client {
    http: reqwest::Client,
    address: String,
    token: String,
    /// Who the token stands for, for messages.
    who: String,
    /// How long one answer is waited for.
    limit: Duration,
    /// Keeps the way to the pod open.
    _forward: Option<Forward>,
}

impl Client {
    /// Finds the server and logs in: by flags and environment where they say, else by the kubeconfig.
    pub(crate) async fn connect(global: &Global, server: &Server) -> Result<Self> {
        let (mut this, cluster) = Self::reach(global, server, true).await?;
        if let (true, Some(cluster)) = (this.token.is_empty(), cluster) {
            let account = server.account.as_deref();
            let jwt = patient(API_SERVER, this.limit, API_REMEDY, token_of(&cluster, account)).await?;
            this.login(jwt).await?;
        }
        Ok(this)
    }

    /// Finds the server without logging in: while it is sealed nobody can.
    pub(crate) async fn find(global: &Global, server: &Server) -> Result<Self> {
        Ok(Self::reach(global, server, false).await?.0)
    }

    async fn reach(global: &Global, server: &Server, needs_token: bool) -> Result<(Self, Option<Cluster>)> {
        let address = server.address.clone().or_else(|| variable("ADDR"));
        let token = variable("TOKEN");
        let file = server.ca_cert.clone().or_else(|| variable("CACERT").map(Into::into));
        let ca = file
            .map(|file| std::fs::read(&file).with_context(|| format!("read CA file {}", file.display())))
            .transpose()?;
        if let (Some(address), true) = (&address, token.is_some() || !needs_token) {
            let http = trusting(builder(), ca.as_deref())?;
            let this = Self::new(http, address.clone(), token.unwrap_or_default(), None);
            return Ok((Self { limit: patience::limit(global), ..this }, None));
        }
        let cluster = Cluster::connect(global).await.context("no address and token of a secret server are given")?;
        let limit = patience::limit(global);
        let way = patient(API_SERVER, limit, API_REMEDY, Way::find(&cluster, address)).await?;
        let mut builder = builder();
        if let Some((host, forward)) = &way.forward {
            // The certificate names the Service; the connection goes to the forwarded port.
            builder = builder.resolve(host, forward.address);
        }
        let http = trusting(builder, ca.or(way.ca).as_deref())?;
        let forward = way.forward.map(|(_, forward)| forward);
        let this = Self::new(http, way.address, token.unwrap_or_default(), forward);
        Ok((Self { limit, ..this }, Some(cluster)))
    }

    fn new(http: reqwest::Client, address: String, token: String, forward: Option<Forward>) -> Self {
        Self { http, address, token, who: "the token".into(), limit: LIMIT, _forward: forward }
    }

    /// Logs in with a token of a ServiceAccount.
    async fn login(&mut self, (account, jwt): (Account, String)) -> Result<()> {
        let body = json!({"role": "homelab-cli", "jwt": jwt});
        let answer = self.send(Method::POST, "auth/kubernetes/login", Some(&body)).await?;
        let answer = answer.good(&format!("log in to {} as {account}", self.address), &account.to_string())?;
        let token = answer.pointer("/auth/client_token").and_then(Value::as_str);
        self.token = token.context("the secret server answered a login without a token")?.to_owned();
        self.who = account.to_string();
        Ok(())
    }

    /// Opens a sealed store; gives whether it is open then.
    pub(crate) async fn unseal(&self, key: &str) -> Result<bool> {
        let answer = self.send(Method::PUT, "sys/unseal", Some(&json!({"key": key}))).await?;
        let body = answer.good("unseal the store", &self.who)?;
        Ok(body["sealed"] == json!(false))
    }

    /// Sends a backup to a server that waits for one, as whoever the token of a ServiceAccount is of.
    pub(in crate::cli) async fn restore(&self, jwt: &str, backup: Vec<u8>) -> Result<Value> {
        let request = self.http.post(format!("{}/v1/sys/homelab/restore", self.address.trim_end_matches('/')));
        let answer = request.bearer_auth(jwt).body(backup);
        self.answered(answer, true, RESTORE.max(self.limit)).await?.good("put the backup back", &self.who)
    }

    /// Has the server forget the keys.
    pub(crate) async fn seal(&self) -> Result<()> {
        self.send(Method::PUT, "sys/seal", None).await?.good("seal the store", &self.who).map(drop)
    }

    /// The values and the version of a secret.
    pub(super) async fn read(&self, path: &Path, version: Option<u64>) -> Result<(Map<String, Value>, Version)> {
        let query = version.map(|version| format!("?version={version}")).unwrap_or_default();
        let url = format!("{}{query}", self.url(path, "data"));
        let answer = self.send(Method::GET, &url, None).await?;
        self.values(answer, path, version).await
    }

    async fn values(&self, answer: Answer, path: &Path, version: Option<u64>) -> Result<(Map<String, Value>, Version)> {
        if answer.status == StatusCode::NOT_FOUND {
            bail!(self.missing(path, version, &answer.body).await);
        }
        let body = answer.good(&format!("read {}", path.full()), &self.who)?;
        let metadata = &body["data"]["metadata"];
        let at = Version::of(metadata["version"].as_u64().unwrap_or_default(), metadata);
        let data = body["data"]["data"].as_object().cloned();
        Ok((data.with_context(|| format!("{} has no values at version {}", path.full(), at.version))?, at))
    }

    /// The newest version; none if there never was one. One that is deleted is an error, since writing on top of it
    /// would pass it over.
    pub(super) async fn newest(&self, path: &Path) -> Result<Option<(Map<String, Value>, Version)>> {
        let answer = self.send(Method::GET, &self.url(path, "data"), None).await?;
        if answer.status == StatusCode::NOT_FOUND && answer.body["data"]["metadata"]["version"].is_null() {
            return Ok(None);
        }
        self.values(answer, path, None).await.map(Some)
    }

    /// Says whether a secret was deleted, destroyed, or never was.
    async fn missing(&self, path: &Path, version: Option<u64>, body: &Value) -> String {
        let metadata = &body["data"]["metadata"];
        let at = metadata["version"].as_u64().or(version);
        let name = path.full();
        match (metadata["destroyed"].as_bool(), metadata["deletion_time"].as_str().unwrap_or_default(), at) {
            (Some(true), _, Some(at)) => {
                format!("{name} version {at} is destroyed for good; see `homelab kv history {name}`")
            }
            (_, time, Some(at)) if !time.is_empty() => {
                format!(
                    "{name} version {at} is deleted since {time}; `homelab kv undelete {name} --versions {at}` brings it back"
                )
            }
            (_, _, Some(at)) => format!("{name} has no version {at}; see `homelab kv history {name}`"),
            _ => format!("there is no secret {name}; `homelab kv put {name} key=value` writes it"),
        }
    }

    /// Writes a new version.
    pub(super) async fn write(&self, path: &Path, data: Map<String, Value>, cas: Option<u64>) -> Result<Version> {
        let options = cas.map_or_else(|| json!({}), |cas| json!({"cas": cas}));
        let body = json!({"data": data, "options": options});
        let answer = self.send(Method::POST, &self.url(path, "data"), Some(&body)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            bail!("write {}: there is no mount `{}`, which the first part of a path names", path.full(), path.mount);
        }
        let body = answer.good(&format!("write {}", path.full()), &self.who)?;
        Ok(Version::of(body["data"]["version"].as_u64().unwrap_or_default(), &body["data"]))
    }

    /// Deletes versions; none: the newest. Gives the server's warnings.
    pub(super) async fn delete(&self, path: &Path, versions: &[u64]) -> Result<Vec<String>> {
        self.known(path, versions).await?;
        let answer = match versions {
            [] => self.send(Method::DELETE, &self.url(path, "data"), None).await?,
            versions => {
                self.send(Method::POST, &self.url(path, "delete"), Some(&json!({"versions": versions}))).await?
            }
        };
        answer.good(&format!("delete {}", path.full()), &self.who).map(|body| warnings(&body))
    }

    /// Brings versions back.
    pub(super) async fn undelete(&self, path: &Path, versions: &[u64]) -> Result<()> {
        self.known(path, versions).await?;
        let answer = self.send(Method::POST, &self.url(path, "undelete"), Some(&json!({"versions": versions}))).await?;
        answer.good(&format!("undelete {}", path.full()), &self.who).map(drop)
    }

    /// Destroys versions. Gives the server's warnings.
    pub(super) async fn destroy(&self, path: &Path, versions: &[u64]) -> Result<Vec<String>> {
        self.known(path, versions).await?;
        let answer = self.send(Method::PUT, &self.url(path, "destroy"), Some(&json!({"versions": versions}))).await?;
        answer.good(&format!("destroy {}", path.full()), &self.who).map(|body| warnings(&body))
    }

    /// The server says yes to versions that never were: a typing mistake is told here. Who may not look goes on.
    async fn known(&self, path: &Path, versions: &[u64]) -> Result<()> {
        let answer = self.send(Method::GET, &self.url(path, "metadata"), None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            bail!(self.missing(path, None, &Value::Null).await);
        }
        if let Some(known) = answer.body["data"]["versions"].as_object()
            && let Some(unknown) = versions.iter().find(|version| !known.contains_key(&version.to_string()))
        {
            bail!("{0} has no version {unknown}; see `homelab kv history {0}`", path.full());
        }
        Ok(())
    }

    /// The names under a folder.
    pub(super) async fn list(&self, path: &Path) -> Result<Vec<String>> {
        let url = format!("{}?list=true", self.url(path, "metadata"));
        let answer = self.send(Method::GET, &url, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            bail!("there is nothing under {}", path.full());
        }
        let body = answer.good(&format!("list {}", path.full()), &self.who)?;
        let keys = body["data"]["keys"].as_array().cloned().unwrap_or_default();
        Ok(keys.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect())
    }

    /// All versions, oldest first.
    pub(super) async fn history(&self, path: &Path) -> Result<Vec<Version>> {
        let answer = self.send(Method::GET, &self.url(path, "metadata"), None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            bail!(self.missing(path, None, &Value::Null).await);
        }
        let body = answer.good(&format!("read the history of {}", path.full()), &self.who)?;
        let mut versions: Vec<_> = body["data"]["versions"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(number, value)| Some(Version::of(number.parse().ok()?, value)))
            .collect();
        versions.sort_by_key(|version| version.version);
        Ok(versions)
    }

    /// Any other request below `/v1/`; `action` is what failed when it is refused.
    pub(in crate::cli) async fn call(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
        action: &str,
    ) -> Result<Value> {
        self.send(method, url, body).await?.good(action, &self.who)
    }

    /// A request whose answer is read piece by piece, however long that takes.
    pub(in crate::cli) async fn stream(&self, method: Method, url: &str, action: &str) -> Result<reqwest::Response> {
        let request = self.http.request(method, format!("{}/v1/{url}", self.address.trim_end_matches('/')));
        let asked = async {
            let answer = request.header("X-Vault-Token", &self.token).send().await;
            answer.map_err(|error| anyhow::anyhow!("reach {}: {}", self.address, network(&error)))
        };
        let answer = patient(&format!("the secret server at {}", self.address), self.limit, DEAD, asked).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.text().await.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        Err(Answer { status, body }.good(action, &self.who).err().context("the server refused, and said nothing")?)
    }

    fn url(&self, path: &Path, verb: &str) -> String {
        format!("{}/{verb}/{}", encoded(&path.mount), encoded(&path.path))
    }

    async fn send(&self, method: Method, url: &str, body: Option<&Value>) -> Result<Answer> {
        let changes = method != Method::GET;
        let mut request = self.http.request(method, format!("{}/v1/{url}", self.address.trim_end_matches('/')));
        if !self.token.is_empty() {
            request = request.header("X-Vault-Token", &self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answered(request, changes, self.limit).await
    }

    async fn answered(&self, request: reqwest::RequestBuilder, changes: bool, limit: Duration) -> Result<Answer> {
        let answer = async {
            let failed = |error| anyhow::anyhow!("reach {}: {}", self.address, network(&error));
            let answer = request.send().await.map_err(failed)?;
            let status = answer.status();
            let text = answer.text().await.with_context(|| format!("read the answer of {}", self.address))?;
            Ok((status, text))
        };
        let whom = format!("the secret server at {}", self.address);
        let remedy = if changes { DEAD_AFTER_CHANGE } else { DEAD };
        let (status, text) = patient(&whom, limit, remedy, answer).await?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }
}

/// A path as a URL holds it: a name may have a question mark.
fn encoded(path: &str) -> String {
    const KEPT: &str = "-._~!$&'()*+,;=:@/";
    let byte = |byte: u8| match char::from(byte) {
        c if c.is_ascii_alphanumeric() || KEPT.contains(c) => c.to_string(),
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(byte).collect()
}

/// What a server has to say about something that it did.
fn warnings(body: &Value) -> Vec<String> {
    let words = body["warnings"].as_array().into_iter().flatten();
    words.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// The deepest cause is the one that says what to do ("connection refused", "invalid peer certificate").
fn network(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = cause.to_string();
    if text.contains("certificate") {
        return format!("{text}; name the CA that signed it with --ca-cert or HOMELAB_CACERT");
    }
    match error.is_connect() {
        true => format!("{text}; is the server there (`homelab status`)? --address or HOMELAB_ADDR names another"),
        false => text,
    }
}

/// A variable of the environment by its three names, ours first.
fn variable(name: &str) -> Option<String> {
    ["HOMELAB", "BAO", "VAULT"]
        .iter()
        .find_map(|prefix| std::env::var(format!("{prefix}_{name}")).ok())
        .filter(|v| !v.is_empty())
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).no_proxy()
}

/// The account to log in as, and a token of it that was made for this purpose only.
async fn token_of(cluster: &Cluster, account: Option<&str>) -> Result<(Account, String)> {
    let account = match account {
        Some(text) => Account::parse(text).with_context(|| format!("`{text}` is no account; write NAMESPACE/NAME"))?,
        None => Account::new(&cluster.daemon, OWNER),
    };
    let jwt = service_account_token(cluster, &account).await?;
    Ok((account, jwt))
}

fn trusting(builder: reqwest::ClientBuilder, ca: Option<&[u8]>) -> Result<reqwest::Client> {
    let builder = match ca {
        Some(pem) => {
            builder.tls_certs_only(Certificate::from_pem_bundle(pem).context("read the CA certificate (PEM)")?)
        }
        None => builder,
    };
    builder.build().context("prepare the connection to the secret server")
}

#[cfg(test)]
mod tests;
