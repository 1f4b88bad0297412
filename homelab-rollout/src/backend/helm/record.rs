//! Helm's release records: Secrets `sh.helm.release.v1.NAME.vN`, base64 of gzip of JSON.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use homelab_core::client::{classify, explain};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;

use crate::deployer::ReleaseStatus;
use crate::error::Error;

/// Most bytes of one record: etcd holds 1 MiB, gzip makes that more.
const MOST: u64 = 64 << 20;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// `N` of `vN`.
    pub(super) number: u32,
    /// Helm's word: `deployed`, `failed`, `pending-upgrade` …
    pub(super) status: String,
    pub(super) description: String,
    /// The Secret's labels; ours are among them.
    pub(super) labels: BTreeMap<String, String>,
    /// Rendered objects without hooks.
    pub(super) manifest: String,
    pub(super) has_hooks: bool,
    pub(super) deployed_at: Option<Timestamp>,
}

impl Record {
    pub(super) fn is_pending(&self) -> bool {
        self.status.starts_with("pending-")
    }

    pub(super) fn state(&self) -> ReleaseStatus {
        match self.status.as_str() {
            "deployed" => ReleaseStatus::Deployed,
            "failed" => ReleaseStatus::Failed,
            _ if self.is_pending() => ReleaseStatus::Pending,
            _ => ReleaseStatus::Other,
        }
    }
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    manifest: String,
    #[serde(default)]
    hooks: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    version: u32,
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    status: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    last_deployed: Option<String>,
}

/// All records of a release, newest first.
pub(super) async fn read(client: &Client, namespace: &str, release: &str) -> Result<Vec<Record>, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("owner=helm,name={release}"));
    let failed = |e: kube::Error| Error::Api {
        action: format!("read the records of release {namespace}/{release}"),
        message: explain(&e),
        class: classify(&e),
    };
    let secrets = api.list(&params).await.map_err(failed)?;
    let mut records = secrets.items.into_iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    records.sort_by_key(|record| std::cmp::Reverse(record.number));
    Ok(records)
}

fn decode(secret: Secret) -> Result<Record, Error> {
    let name = secret.name_any();
    let labels = secret.metadata.labels.unwrap_or_default();
    let broken = |why: String| {
        Error::Invalid(format!("release record {name} can not be read: {why}; delete it with its release"))
    };
    let data = secret.data.unwrap_or_default().remove("release").ok_or_else(|| broken("it has no release".into()))?;
    let zipped = STANDARD.decode(data.0).map_err(|e| broken(e.to_string()))?;
    let mut json = vec![];
    GzDecoder::new(zipped.as_slice()).take(MOST).read_to_end(&mut json).map_err(|e| broken(e.to_string()))?;
    let content: Content = serde_json::from_slice(&json).map_err(|e| broken(e.to_string()))?;
    Ok(Record {
        number: content.version,
        status: content.info.status,
        description: content.info.description,
        labels,
        manifest: content.manifest,
        has_hooks: content.hooks.is_some_and(|hooks| !hooks.is_empty()),
        deployed_at: content.info.last_deployed.and_then(|at| at.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn secret(content: &str) -> Secret {
        let mut gzip = GzEncoder::new(vec![], flate2::Compression::fast());
        gzip.write_all(content.as_bytes()).unwrap();
        let text = STANDARD.encode(gzip.finish().unwrap());
        let mut secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "sh.helm.release.v1.web-blue.v3", "labels": {"homelab.dev/revision": "0a1b2c3d4e"}}
        }))
        .unwrap();
        secret.data = Some([("release".to_owned(), ByteString(text.into_bytes()))].into());
        secret
    }

    #[test]
    fn a_record_is_base64_of_gzip_of_json() {
        let record = decode(secret(
            r#"{"name":"web-blue","version":3,"manifest":"---\na: b\n","hooks":[{"name":"h"}],
                "info":{"status":"pending-upgrade","description":"Preparing upgrade","last_deployed":"2026-11-23T14:11:03.123456789Z"}}"#,
        )).unwrap();
        assert_eq!((record.number, record.state(), record.has_hooks), (3, ReleaseStatus::Pending, true));
        assert_eq!(record.labels["homelab.dev/revision"], "0a1b2c3d4e");
        assert!(record.deployed_at.is_some() && record.manifest.contains("a: b"));
        let error = decode(secret("{")).unwrap_err().to_string();
        assert!(error.starts_with("release record sh.helm.release.v1.web-blue.v3 can not be read: EOF"), "{error}");
    }
}
