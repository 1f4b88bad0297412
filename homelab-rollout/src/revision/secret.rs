//! The revision Secret: one kept revision of an App, with what became of it in annotations.

use std::collections::BTreeMap;

use homelab_core::meta::{REVISION_SECRET_TYPE, annotation, label};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::{Deserialize, Serialize};

use super::{FORMAT, RevisionRecord};
use crate::error::Error;

/// Key of the record (JSON, without the archive).
const RECORD: &str = "record";
/// Key of the chart archive.
const ARCHIVE: &str = "archive";
/// What a Secret can hold, less room for the record's own names.
const LIMIT: usize = 1_000_000;

/// Name of the Secret of a revision.
pub fn name(app: &str, id: &str) -> String {
    format!("{app}-rev-{id}")
}

/// What became of a revision: the annotations of its Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Marks {
    /// Why it failed, last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Not rolled out by itself; names the revision that serves instead, or is empty for the active one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Who went back from it, where to and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
    /// When it last became active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Timestamp>,
    /// Who answered its approval gates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<String>,
    /// Who asked for the rest of its rollout at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted: Option<String>,
    /// Who paused its rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// Whose edit of the route is taken back, because a person asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub take_back: Option<String>,
    /// When somebody last asked to try it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried_at: Option<Timestamp>,
    /// Id of the last request answered here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled: Option<String>,
}

impl Marks {
    /// Whether nobody and nothing said anything against it.
    pub fn is_good(&self) -> bool {
        self.failed.is_none() && self.rolled_back.is_none()
    }

    /// Reads the annotations of a revision Secret; what can not be read counts as absent.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| annotations.get(key).cloned();
        let time = |key: &str| annotations.get(key).and_then(|text| text.parse().ok());
        Self {
            failed: text(annotation::FAILED),
            held: text(annotation::HELD),
            rolled_back: text(annotation::ROLLED_BACK),
            activated_at: time(annotation::ACTIVATED_AT),
            approved: text(annotation::APPROVED),
            promoted: text(annotation::PROMOTED),
            paused: text(annotation::PAUSED),
            take_back: text(annotation::TAKE_BACK),
            retried_at: time(annotation::RETRIED_AT),
            handled: text(annotation::HANDLED),
        }
    }

    /// All annotations of ours, with none where there is nothing: the content of a merge patch.
    pub fn to_annotations(&self) -> BTreeMap<&'static str, Option<String>> {
        BTreeMap::from([
            (annotation::FAILED, self.failed.clone()),
            (annotation::HELD, self.held.clone()),
            (annotation::ROLLED_BACK, self.rolled_back.clone()),
            (annotation::ACTIVATED_AT, self.activated_at.map(|at| at.to_string())),
            (annotation::APPROVED, self.approved.clone()),
            (annotation::PROMOTED, self.promoted.clone()),
            (annotation::PAUSED, self.paused.clone()),
            (annotation::TAKE_BACK, self.take_back.clone()),
            (annotation::RETRIED_AT, self.retried_at.map(|at| at.to_string())),
            (annotation::HANDLED, self.handled.clone()),
        ])
    }
}

/// The immutable Secret that keeps `record`, owned by its App.
pub fn to_secret(record: &RevisionRecord, app: &str, namespace: &str, owner: OwnerReference) -> Result<Secret, Error> {
    if record.archive.len() > LIMIT {
        let size = record.archive.len();
        return Err(Error::Invalid(format!(
            "chart {} is {size} bytes packed, more than the {LIMIT} that a kept revision can hold: leave files out by .helmignore",
            record.chart
        )));
    }
    let bare = RevisionRecord { archive: Vec::new(), ..record.clone() };
    let json = serde_json::to_vec(&bare)
        .map_err(|error| Error::Invalid(format!("revision {} can not be written: {error}", record.id)))?;
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name(app, &record.id)),
            namespace: Some(namespace.into()),
            labels: Some(BTreeMap::from([
                (label::APP.into(), app.into()),
                (label::REVISION.into(), record.id.clone()),
                (label::MANAGED_BY.into(), label::MANAGED_BY_US.into()),
            ])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(REVISION_SECRET_TYPE.into()),
        immutable: Some(true),
        data: Some(BTreeMap::from([
            (RECORD.into(), ByteString(json)),
            (ARCHIVE.into(), ByteString(record.archive.clone())),
        ])),
        string_data: None,
    })
}

/// Reads a revision Secret.
pub fn from_secret(secret: &Secret) -> Result<(RevisionRecord, Marks), Error> {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    let broken = |what: &str| {
        Error::Invalid(format!("revision Secret {name} {what}; delete it, and it is made again if it is still wanted"))
    };
    let data = secret.data.as_ref().ok_or_else(|| broken("is empty"))?;
    let json = &data.get(RECORD).ok_or_else(|| broken("has no record"))?.0;
    let format = serde_json::from_slice::<Format>(json).map_err(|_| broken("has an unreadable record"))?.format;
    if format > FORMAT {
        return Err(Error::Invalid(format!(
            "revision Secret {name} has format {format}, newer than the {FORMAT} that this version reads: run a newer homelab"
        )));
    }
    let mut record: RevisionRecord = serde_json::from_slice(json).map_err(|_| broken("has an unreadable record"))?;
    record.archive = data.get(ARCHIVE).map(|bytes| bytes.0.clone()).ok_or_else(|| broken("has no chart archive"))?;
    let marks = secret.metadata.annotations.as_ref().map(Marks::from_annotations).unwrap_or_default();
    Ok((record, marks))
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}
