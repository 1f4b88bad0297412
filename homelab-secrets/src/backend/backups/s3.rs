//! Backups in S3-compatible object storage: a bucket of a NAS, Garage, MinIO, Ceph, or a provider.
//!
//! Requests are signed here (AWS Signature Version 4) and sent by reqwest; redirects are not followed.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, StatusCode, Url};
use rusty_s3::actions::{ListObjectsV2, S3Action as _};
use rusty_s3::{Bucket, Credentials, UrlStyle};

use crate::Error;
use crate::backup::BackupTarget;

/// How long a signature lasts, and one request.
const LIMIT: Duration = Duration::from_secs(300);

/// Objects of a bucket whose names begin alike.
#[derive(Clone)]
pub struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    /// Empty, or with a slash at its end.
    prefix: String,
    client: Client,
}

/// Where a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Place {
    /// The server, as in `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// Its region; most servers at home take any.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What names begin with.
    pub prefix: String,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({self})")
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.bucket.base_url();
        write!(f, "s3://{}/{} at {}", self.bucket.name(), self.prefix, url.host_str().unwrap_or("?"))
    }
}

impl S3 {
    /// By an access key and its secret. The bucket has to be there.
    pub fn new(place: &S3Place, key: &str, secret: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Invalid(format!("{}: {what}", place.endpoint));
        let endpoint: Url = place.endpoint.parse().map_err(|_| wrong("this is no URL of a server"))?;
        // A path works with every server; names of hosts want DNS for each bucket.
        let bucket = Bucket::new(endpoint, UrlStyle::Path, place.bucket.clone(), place.region.clone());
        let bucket = bucket.map_err(|error| wrong(&error.to_string()))?;
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(LIMIT).build();
        let client = client.map_err(|_| wrong("no client for it could be made"))?;
        let prefix = place.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { bucket, credentials: Credentials::new(key, secret), prefix, client })
    }

    fn key(&self, name: &str) -> Result<String, Error> {
        match name {
            "" | "." | ".." => Err(Error::Invalid(format!("`{name}` is no name of a backup"))),
            name if name.contains('/') => Err(Error::Invalid(format!("`{name}` is no name of a backup"))),
            name => Ok(format!("{}{name}", self.prefix)),
        }
    }

    /// The answer's body. Class `NotFound`: there is nothing.
    async fn send(&self, request: reqwest::RequestBuilder, what: &str) -> Result<Vec<u8>, Error> {
        // A URL has the signature in it: it opens the object for minutes.
        let failed = |error: reqwest::Error| Error::Backend(format!("{self}: {what}: {}", cause(&error.without_url())));
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(failed)?;
        match status {
            status if status.is_success() => Ok(body.to_vec()),
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => {
                Err(Error::Conflict(format!("{self}: {what}: it is there already")))
            }
            status => {
                let said = code(&String::from_utf8_lossy(&body));
                let words = format!("{self}: {what}: it answered {status}{said}");
                Err(if status == StatusCode::NOT_FOUND { Error::NotFound(words) } else { Error::Backend(words) })
            }
        }
    }
}

/// The deepest cause says most.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The code of S3's error, which says what is wrong better than the status.
fn code(body: &str) -> String {
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    code.filter(|code| code.len() < 64).map_or_else(String::new, |code| format!(" ({code})"))
}

#[async_trait]
impl BackupTarget for S3 {
    async fn put(&self, name: &str, backup: Vec<u8>) -> Result<(), Error> {
        let key = self.key(name)?;
        // Not every server knows If-None-Match: looking first tells the same, but for a race of two daemons.
        if self.list().await?.iter().any(|there| there == name) {
            return Err(Error::Conflict(format!("{self}: {name} is there already")));
        }
        let url = self.bucket.put_object(Some(&self.credentials), &key).sign(LIMIT);
        self.send(self.client.put(url).body(backup), &format!("put {name}")).await.map(drop)
    }

    async fn get(&self, name: &str) -> Result<Vec<u8>, Error> {
        let url = self.bucket.get_object(Some(&self.credentials), &self.key(name)?).sign(LIMIT);
        self.send(self.client.get(url), &format!("get {name}")).await
    }

    async fn list(&self) -> Result<Vec<String>, Error> {
        let (mut names, mut token) = (Vec::new(), None::<String>);
        loop {
            let mut asked = self.bucket.list_objects_v2(Some(&self.credentials));
            asked.with_prefix(self.prefix.clone());
            if let Some(token) = token.take() {
                asked.with_continuation_token(token);
            }
            let body = self.send(self.client.get(asked.sign(LIMIT)), "list").await?;
            let page = ListObjectsV2::parse_response(&String::from_utf8_lossy(&body))
                .map_err(|_| Error::Backend(format!("{self}: list: the answer is no list of objects")))?;
            let own = page.contents.iter().filter_map(|object| object.key.strip_prefix(&self.prefix));
            names.extend(own.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned));
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(names);
            }
        }
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let url = self.bucket.delete_object(Some(&self.credentials), &self.key(name)?).sign(LIMIT);
        match self.send(self.client.delete(url), &format!("delete {name}")).await {
            Err(Error::NotFound(_)) => Ok(()),
            done => done.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_does_not_answer_is_named_without_keys_or_signature() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let place = S3Place {
            endpoint: "http://127.0.0.1:1".into(),
            region: "home".into(),
            bucket: "backups".into(),
            prefix: "/lab/".into(),
        };
        let it = S3::new(&place, "planted-key", "planted-secret").expect("a place");
        assert_eq!(it.to_string(), "s3://backups/lab/ at 127.0.0.1");
        let error = it.get("a").await.expect_err("nobody answers").to_string();
        assert!(error.starts_with("s3://backups/lab/ at 127.0.0.1: get a: "), "{error}");
        for text in [error, format!("{it:?}")] {
            assert!(!text.contains("planted") && !text.contains("Signature"), "{text}");
        }
        for name in ["", "..", "a/b"] {
            assert!(it.get(name).await.is_err(), "{name}");
        }
        assert!(S3::new(&S3Place { endpoint: "nas".into(), ..place }, "k", "s").is_err());
        assert_eq!(code("<Error><Code>NoSuchBucket</Code></Error>"), " (NoSuchBucket)");
        assert_eq!(code("<html>"), "");
    }
}
