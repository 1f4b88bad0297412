//! Fetching public keys from an issuer.

#[cfg(feature = "oidc")]
use std::time::Duration;

use async_trait::async_trait;

use crate::Error;

/// Longest document of an issuer.
#[cfg(feature = "oidc")]
const MAX_DOCUMENT: usize = 1024 * 1024;
#[cfg(feature = "oidc")]
const TIMEOUT: Duration = Duration::from_secs(10);

/// Gets documents over https (or http, in a test), or those of one server by their paths.
#[async_trait]
pub trait Fetch: std::fmt::Debug + Send + Sync + 'static {
    /// The document at `url`; `ca_pem`: certificates of the authority that is believed for it, beside the system's. Class
    /// `Retry` while it can not be had.
    async fn get(&self, url: &str, ca_pem: Option<&str>) -> Result<Vec<u8>, Error>;
}

/// Over HTTP, without following redirects: keys come from where somebody said.
#[cfg(feature = "oidc")]
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpFetch;

#[cfg(feature = "oidc")]
#[async_trait]
impl Fetch for HttpFetch {
    async fn get(&self, url: &str, ca_pem: Option<&str>) -> Result<Vec<u8>, Error> {
        let failed = |what: &str| Error::Backend(format!("{url}: {what}"));
        let mut client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT);
        if let Some(pem) = ca_pem {
            let authority = reqwest::Certificate::from_pem(pem.as_bytes());
            let wrong = || Error::Invalid("the CA certificate of the issuer is no PEM certificate".into());
            client = client.add_root_certificate(authority.map_err(|_| wrong())?);
        }
        let client = client.build().map_err(|_| failed("no client for it could be made"))?;
        let mut response = client.get(url).send().await.map_err(|_| failed("it can not be reached"))?;
        if !response.status().is_success() {
            return Err(failed(&format!("it answered {}", response.status())));
        }
        let mut document = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|_| failed("it broke off"))? {
            document.extend_from_slice(&part);
            if document.len() > MAX_DOCUMENT {
                return Err(failed("it is larger than 1 MiB"));
            }
        }
        Ok(document)
    }
}
