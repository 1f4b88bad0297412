//! The secret server's side of sealed files: `/v1/sys/homelab/git`.

use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use homelab_secrets::sealed::SealedFile;
use homelab_secrets::store::SecretData;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Target;
use crate::args::{Global, Server};
use crate::cli::kv::Client;

/// A repository as the server knows it.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct Repository {
    pub(in crate::cli) id: String,
    pub(in crate::cli) epoch: u64,
}

/// The secret server.
pub(in crate::cli) struct Remote(Client);

impl Remote {
    /// Finds the server and logs in, as `homelab kv` does.
    pub(in crate::cli) async fn connect(global: &Global, server: &Server) -> Result<Self> {
        Ok(Self(Client::connect(global, server).await?))
    }

    /// The secret in a file.
    pub(in crate::cli) async fn open(&self, file: &SealedFile) -> Result<SecretData> {
        let url = format!("{}/open/{}", url(file.repository().as_str()), file.path());
        let action = format!("open {}", file.logical_path());
        let mut answer = self.0.call(Method::POST, &url, Some(&json!({"file": file.to_string()})), &action).await?;
        serde_json::from_value(answer["data"]["data"].take())
            .map_err(|_| anyhow::anyhow!("{action}: the answer has no data"))
    }

    /// A file of `data`; values that are in `previous` keep their text.
    pub(in crate::cli) async fn seal(
        &self,
        target: &Target,
        data: &Map<String, Value>,
        previous: Option<&SealedFile>,
    ) -> Result<SealedFile> {
        let url = format!("{}/seal/{}", url(&target.repository), target.path);
        let body = json!({"data": data, "previous": previous.map(ToString::to_string)});
        let action = format!("seal {}", target.path);
        sealed(&self.0.call(Method::POST, &url, Some(&body), &action).await?).with_context(|| action)
    }

    /// The same file in the repository's newest epoch.
    pub(in crate::cli) async fn reseal(&self, file: &SealedFile) -> Result<SealedFile> {
        let url = format!("{}/reseal/{}", url(file.repository().as_str()), file.path());
        let action = format!("reseal {}", file.logical_path());
        let answer = self.0.call(Method::POST, &url, Some(&json!({"file": file.to_string()})), &action).await?;
        sealed(&answer).with_context(|| action)
    }

    /// What the server knows of a repository.
    pub(in crate::cli) async fn repository(&self, name: &str) -> Result<Repository> {
        let action = format!("look up repository {name}");
        described(&self.0.call(Method::GET, &url(name), None, &action).await?, &action)
    }

    /// Makes a repository if there is none; says whether it is new.
    pub(in crate::cli) async fn create(&self, name: &str) -> Result<(Repository, bool)> {
        let action = format!("make repository {name}");
        let answer = self.0.call(Method::POST, &url(name), None, &action).await?;
        Ok((described(&answer, &action)?, answer["data"]["new"] == true))
    }

    /// Makes the epoch that follows `from`.
    pub(in crate::cli) async fn rotate(&self, name: &str, from: u64) -> Result<Repository> {
        let action = format!("make a new epoch of repository {name}");
        let url = format!("{}/rotate", url(name));
        described(&self.0.call(Method::POST, &url, Some(&json!({"from": from})), &action).await?, &action)
    }
}

fn url(repository: &str) -> String {
    format!("sys/homelab/git/{repository}")
}

fn sealed(answer: &Value) -> Result<SealedFile> {
    let text = answer["data"]["file"].as_str().context("the answer has no file")?;
    Ok(SealedFile::from_str(text)?)
}

fn described(answer: &Value, action: &str) -> Result<Repository> {
    Repository::deserialize(&answer["data"]).with_context(|| format!("{action}: the answer is no repository"))
}
