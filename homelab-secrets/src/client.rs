//! A secret server in another process: [`Versions`] and [`SealedMount`] over HTTP.
//!
//! It logs in as [`DAEMON_ROLE`](crate::versions::DAEMON_ROLE) with a token of its ServiceAccount, again whenever the
//! server knows its token no more: a server that was restarted knows none. While it can not be reached every call says so
//! with class `Retry`; nothing is begun that would have to be taken back. Whoever waits for a change goes on waiting, and is
//! compared with what is as soon as there is an answer.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homelab_core::meta::Account;
use reqwest::{Certificate, Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

use crate::Error;
use crate::sealed::{GitCommit, SealedMount};
use crate::versions::{Known, Resolved, Versions};

mod link;
mod waiting;

use link::Link;
use waiting::Waiting;

const CONNECT: Duration = Duration::from_secs(5);
/// Keeps a connection from standing idle for longer than the server lets it.
const IDLE: Duration = Duration::from_secs(20);

/// Gives a token of our ServiceAccount: a file that the kubelet renews, say.
pub type Credential = Arc<dyn Fn() -> Result<Zeroizing<String>, Error> + Send + Sync>;

/// Where the server is, and what proves who we are.
#[derive(Clone)]
pub struct RemoteConfig {
    /// `https://HOST:PORT`; http on this machine only.
    pub address: String,
    /// Certificates (PEM) of the only authority that is believed; none: the system's are.
    pub ca_pem: Option<String>,
    /// Read at each login.
    pub credential: Credential,
}

impl fmt::Debug for RemoteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteConfig").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Versions as a secret server elsewhere tells them.
pub struct RemoteVersions {
    link: Arc<Link>,
    waiting: Arc<Waiting>,
    watching: AbortHandle,
}

impl fmt::Debug for RemoteVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteVersions({})", self.link.address())
    }
}

impl Drop for RemoteVersions {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl RemoteVersions {
    /// Asks nothing yet. One request watches for all who wait; it ends when this is dropped. Class `Invalid`: the address
    /// or the certificates are none.
    pub fn new(config: RemoteConfig) -> Result<Self, Error> {
        let link = Arc::new(Link::new(address(&config.address)?, http(&config)?, config.credential));
        let waiting = Arc::new(Waiting::default());
        let watching = tokio::spawn(waiting::watch(Arc::clone(&link), Arc::clone(&waiting))).abort_handle();
        Ok(Self { link, waiting, watching })
    }
}

/// Nothing but a host and a port; a token goes there.
fn address(text: &str) -> Result<Url, Error> {
    let wrong = |why: &str| Error::Invalid(format!("the secret server's address {text:?} {why}"));
    let url: Url = text.parse().map_err(|_| wrong("is no URL; write https://HOST:PORT"))?;
    let local = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    match url.scheme() {
        "https" => {}
        "http" if local => {}
        _ => return Err(wrong("is not https://, and would send a token in clear")),
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() {
        return Err(wrong("has more than a host and a port"));
    }
    Ok(url)
}

fn http(config: &RemoteConfig) -> Result<reqwest::Client, Error> {
    // Where a token goes nobody else decides: no redirects, no proxies of the environment.
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE);
    if let Some(pem) = &config.ca_pem {
        let wrong = |_| Error::Invalid("the CA of the secret server is no PEM certificate".into());
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(pem.as_bytes()).map_err(wrong)?);
    }
    builder.build().map_err(|error| Error::Invalid(format!("prepare the connection to the secret server: {error}")))
}

#[async_trait]
impl Versions for RemoteVersions {
    async fn resolve(&self, account: &Account, path: &str, version: Option<u64>) -> Result<Resolved, Error> {
        // A URL swallows such parts: another path would be asked for.
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::Invalid(format!(
                "{path:?} is not a path of a secret: an empty part, `.` and `..` are not allowed"
            )));
        }
        let place = ["resolve", &account.namespace, &account.name].into_iter().chain(path.split('/'));
        let mut url = self.link.url(place)?;
        if let Some(version) = version {
            url.query_pairs_mut().append_pair("version", &version.to_string());
        }
        self.link.ask(Method::GET, url, None).await
    }

    async fn pin(&self, holder: &str, versions: &[Known]) -> Result<(), Error> {
        if holder.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::Invalid(format!("{holder:?} can not be the name of a holder of pins")));
        }
        let url = self.link.url(std::iter::once("pin").chain(holder.split('/')))?;
        self.link.ask::<Value>(Method::POST, url, Some(&json!({ "versions": versions }))).await.map(drop)
    }

    async fn gone(&self, versions: &[Known]) -> Result<Vec<Known>, Error> {
        #[derive(Deserialize)]
        struct Gone {
            gone: Vec<Known>,
        }
        let url = self.link.url(["gone"])?;
        let found: Gone = self.link.ask(Method::POST, url, Some(&json!({ "versions": versions }))).await?;
        Ok(found.gone)
    }

    async fn changed(&self, known: &[Known]) -> Result<(), Error> {
        self.waiting.wait(known).await
    }
}

#[async_trait]
impl SealedMount for RemoteVersions {
    async fn show(&self, account: &Account, from: GitCommit<'_>) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Shown {
            new: u64,
        }
        let body = json!({
            "account": account.to_string(), "gitsync": from.gitsync, "commit": from.commit, "files": from.files,
        });
        let shown: Shown = self.link.ask(Method::POST, self.link.url(["show"])?, Some(&body)).await?;
        Ok(shown.new)
    }

    async fn retain(&self, gitsyncs: &BTreeSet<String>) -> Result<(), Error> {
        let body = json!({ "gitsyncs": gitsyncs });
        self.link.ask::<Value>(Method::POST, self.link.url(["retain"])?, Some(&body)).await.map(drop)
    }
}

#[cfg(feature = "server")]
#[cfg(test)]
mod tests;
