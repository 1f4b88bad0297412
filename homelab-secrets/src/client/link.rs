//! Requests to the server, logged in.

use std::error::Error as _;
use std::time::Duration;

use homelab_core::class::Class;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::Credential;
use crate::Error;
use crate::versions::{DAEMON_ROLE, Failure};

/// How long an answer is waited for: longer than a watch waits on the other side.
const ANSWER: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_secs(40);
/// Largest answer.
const MOST: usize = 4 << 20;
/// How Vault and this server say that they are sealed.
const SEALED: &str = "Vault is sealed";

pub(super) struct Link {
    address: Url,
    http: Client,
    credential: Credential,
    /// What the server gave for it. One at a time logs in; the others wait for what comes of it.
    token: Mutex<Option<Zeroizing<String>>>,
}

/// An answer, read.
struct Told {
    status: StatusCode,
    body: Value,
}

impl Link {
    pub(super) fn new(address: Url, http: Client, credential: Credential) -> Self {
        Self { address, http, credential, token: Mutex::default() }
    }

    pub(super) fn address(&self) -> &str {
        self.address.as_str().trim_end_matches('/')
    }

    /// Below `sys/homelab/versions`.
    pub(super) fn url<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Result<Url, Error> {
        let mut url = self.address.clone();
        let wrong = |()| Error::Bug("the secret server's address can have no path".into());
        url.path_segments_mut().map_err(wrong)?.clear().extend(["v1", "sys", "homelab", "versions"]).extend(parts);
        Ok(url)
    }

    /// What is answered, under `data`; `Null` for an answer without a body. Cancel-safe.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<T, Error> {
        let limit = if url.path().ends_with("/watch") { WATCH } else { ANSWER };
        let send = async |token: &Zeroizing<String>| self.send((&method, &url, limit), Some(token), body).await;
        let token = self.token(None).await?;
        let mut told = send(&token).await?;
        if told.is_stranger() {
            // The server was restarted, or the token has ended.
            told = send(&self.token(Some(&token)).await?).await?;
        }
        let data = self.good(told)?;
        let unread = |_| Error::Backend(format!("the secret server {} answered what can not be read", self.address()));
        serde_json::from_value(data).map_err(unread)
    }

    /// The token that there is, unless it is `stale`; else that of a new login.
    async fn token(&self, stale: Option<&Zeroizing<String>>) -> Result<Zeroizing<String>, Error> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| Some(*token) != stale) {
            return Ok(token.clone());
        }
        *held = None;
        let token = self.login().await?;
        *held = Some(token.clone());
        Ok(token)
    }

    /// Puts a token that no server knows in the place of the one that there is.
    #[cfg(all(test, feature = "server"))]
    pub(super) async fn forget_for_test(&self) {
        *self.token.lock().await = Some(Zeroizing::new("hls.forgotten".into()));
    }

    async fn login(&self) -> Result<Zeroizing<String>, Error> {
        #[derive(Deserialize)]
        struct Auth {
            client_token: String,
        }
        let jwt = (self.credential)()?;
        let mut url = self.address.clone();
        url.set_path("/v1/auth/kubernetes/login");
        let body = json!({ "role": DAEMON_ROLE, "jwt": *jwt });
        let told = self.send((&Method::POST, &url, ANSWER), None, Some(&body)).await?;
        let refused = |error: Error| match error.class() {
            Class::Retry => error,
            _ => Error::Denied(format!(
                "the secret server {} does not let this daemon log in as {DAEMON_ROLE}: {error}; its flag \
                 --daemon-account has to name the ServiceAccount that this one runs as",
                self.address()
            )),
        };
        let auth = told.body.get("auth").cloned().unwrap_or_default();
        self.good(told).map_err(refused)?;
        let none = |_| Error::Backend(format!("the secret server {} answered a login without a token", self.address()));
        let auth: Auth = serde_json::from_value(auth).map_err(none)?;
        tracing::debug!(address = self.address(), "logged in to the secret server");
        Ok(Zeroizing::new(auth.client_token))
    }

    async fn send(
        &self,
        (method, url, limit): (&Method, &Url, Duration),
        token: Option<&Zeroizing<String>>,
        body: Option<&Value>,
    ) -> Result<Told, Error> {
        let mut request = self.http.request(method.clone(), url.clone()).timeout(limit);
        if let Some(token) = token {
            request = request.header("x-vault-token", token.as_str());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|error| self.away(error))?;
        let status = response.status();
        let bytes = self.read(response).await?;
        Ok(Told { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }

    async fn read(&self, mut response: Response) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(part) = response.chunk().await.map_err(|error| self.away(error))? {
            bytes.extend_from_slice(&part);
            if bytes.len() > MOST {
                return Err(Error::Backend(format!("the secret server {} answered too much", self.address())));
            }
        }
        Ok(bytes)
    }

    /// In words that name the cause, which is at the end of a chain.
    fn away(&self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        let mut why = if error.is_timeout() { "it takes too long".to_owned() } else { error.to_string() };
        let mut source = error.source();
        while let Some(cause) = source {
            why = cause.to_string();
            source = cause.source();
        }
        Error::Backend(format!(
            "the secret server {} does not answer ({why}): see whether its pod runs and is ready",
            self.address()
        ))
    }

    fn good(&self, told: Told) -> Result<Value, Error> {
        let Told { status, mut body } = told;
        if status.is_success() {
            return Ok(body.get_mut("data").map(Value::take).unwrap_or_default());
        }
        let said = body.pointer("/errors/0").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(class) = body.get("class").and_then(Value::as_str) {
            return Err(Failure { class: class.into(), error: said }.error());
        }
        let error = format!("the secret server {} answered {}: {said}", self.address(), status.as_u16());
        Err(match status {
            StatusCode::SERVICE_UNAVAILABLE if said == SEALED => Error::Sealed,
            StatusCode::FORBIDDEN => Error::Denied(said),
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Error::Invalid(error),
            _ => Error::Backend(error),
        })
    }
}

impl Told {
    /// Our token is not known: what an account may not do is refused with a class.
    fn is_stranger(&self) -> bool {
        self.status == StatusCode::FORBIDDEN && self.body.get("class").is_none()
    }
}
