//! Requests about whole secrets, with settings and all versions, for exports and imports.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use homelab_secrets::kv::Settings;
use homelab_secrets::store::SecretData;
use homelab_secrets::transfer::{Metadata, Version};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Client, Path};

/// A path without its values.
pub(in crate::cli) struct Outline {
    pub(in crate::cli) settings: Settings,
    /// Its newest version; 0: there are only settings.
    pub(in crate::cli) current: u64,
    /// All kept versions.
    pub(in crate::cli) versions: BTreeMap<u64, Version>,
}

#[derive(Deserialize)]
struct Described {
    #[serde(flatten)]
    metadata: Metadata,
    #[serde(default)]
    current_version: u64,
    #[serde(default)]
    versions: BTreeMap<u64, Times>,
}

#[derive(Deserialize)]
struct Times {
    created_time: jiff::Timestamp,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

impl Client {
    /// Mounts of KV version 2, as whoever has a token may see them.
    pub(in crate::cli) async fn mounts(&self) -> Result<Vec<String>> {
        let body = self.call(Method::GET, "sys/internal/ui/mounts", None, "list the mounts").await?;
        let mounts = body["data"]["secret"].as_object().context("list the mounts: the answer has none")?;
        let is_second = |mount: &Value| mount["type"] == "kv" && mount["options"]["version"] == "2";
        let found = mounts.iter().filter(|(_, mount)| is_second(mount));
        Ok(found.map(|(name, _)| name.trim_end_matches('/').to_owned()).collect())
    }

    /// The names under a folder; none where there is nothing.
    pub(in crate::cli) async fn names(&self, folder: &str) -> Result<Vec<String>> {
        let url = format!("{}?list=true", self.url(&Path::parse_folder(folder), "metadata"));
        let Some(body) = self.ask(&url, &format!("list {folder}")).await? else { return Ok(Vec::new()) };
        let keys = body["data"]["keys"].as_array().into_iter().flatten();
        Ok(keys.filter_map(Value::as_str).map(ToOwned::to_owned).collect())
    }

    /// Settings and versions of a path.
    pub(in crate::cli) async fn outline(&self, path: &str) -> Result<Option<Outline>> {
        let action = format!("read the metadata of {path}");
        let url = self.url(&Path::parse_folder(path), "metadata");
        let Some(mut body) = self.ask(&url, &action).await? else { return Ok(None) };
        let described: Described =
            serde_json::from_value(body["data"].take()).with_context(|| format!("{action}: the answer is strange"))?;
        let version = |times: Times| Version {
            created: times.created_time,
            deleted: times.deletion_time.parse().ok(),
            destroyed: times.destroyed,
            data: None,
        };
        Ok(Some(Outline {
            settings: described.metadata.settings().context(action)?,
            current: described.current_version,
            versions: described.versions.into_iter().map(|(number, times)| (number, version(times))).collect(),
        }))
    }

    /// The value of a version; none when it is deleted, destroyed or pruned.
    pub(in crate::cli) async fn value(&self, path: &str, version: u64) -> Result<Option<SecretData>> {
        let url = format!("{}?version={version}", self.url(&Path::parse_folder(path), "data"));
        let Some(mut body) = self.ask(&url, &format!("read {path} version {version}")).await? else { return Ok(None) };
        match body["data"]["data"].take() {
            Value::Object(data) => Ok(Some(SecretData::new(data))),
            _ => Ok(None),
        }
    }

    /// Writes the version after `cas`, if that is still the newest.
    pub(in crate::cli) async fn follow(&self, path: &str, cas: u64, data: &SecretData) -> Result<()> {
        let body = json!({"data": data, "options": {"cas": cas}});
        let url = self.url(&Path::parse_folder(path), "data");
        self.call(Method::POST, &url, Some(&body), &format!("write {path} version {}", cas + 1)).await.map(drop)
    }

    /// Sets the settings of a path, and makes it if there is none.
    pub(in crate::cli) async fn set(&self, path: &str, settings: &Settings) -> Result<()> {
        let body = serde_json::to_value(Metadata::from(settings)).context("write settings")?;
        let url = self.url(&Path::parse_folder(path), "metadata");
        self.call(Method::POST, &url, Some(&body), &format!("set the metadata of {path}")).await.map(drop)
    }

    /// `delete` or `destroy` of versions; those that were pruned are passed by.
    pub(in crate::cli) async fn take(&self, verb: &str, path: &str, versions: &[u64]) -> Result<()> {
        let url = self.url(&Path::parse_folder(path), verb);
        let body = json!({"versions": versions});
        self.call(Method::POST, &url, Some(&body), &format!("{verb} versions of {path}")).await.map(drop)
    }

    /// What there is; none: nothing.
    async fn ask(&self, url: &str, action: &str) -> Result<Option<Value>> {
        let answer = self.send(Method::GET, url, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.good(action, &self.who).map(Some)
    }
}
