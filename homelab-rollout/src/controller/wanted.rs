//! What Git and the secrets ask for.
#![expect(clippy::disallowed_methods, reason = "a new revision is dated")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use homelab_core::class::Class;
use homelab_core::meta::annotation;
use jiff::Timestamp;
use kube::ResourceExt;

use super::Context;
use super::handle::Handle;
use super::observe::Memory;
use crate::archive;
use crate::backend;
use crate::deployer::{Deployment, Mode};
use crate::error::Error;
use crate::plan::observed::{Observed, Wanted};
use crate::ports::{ArtifactSource, InjectedSecret, PortError, ResolvedSecret};
use crate::preflight::{self, Rendered};
use crate::revision::{self, FORMAT, RevisionRecord};

/// Packed charts by digest; only the newest is kept.
#[derive(Default)]
pub(super) struct Charts(HashMap<String, Arc<Packed>>);

struct Packed {
    name: String,
    archive: Vec<u8>,
}

/// What is wanted, and its content if it is new.
pub(super) struct Candidate {
    pub(super) wanted: Wanted,
    pub(super) record: Option<RevisionRecord>,
    pub(super) watching: Vec<(String, u64)>,
}

impl Candidate {
    pub(super) fn blocked(reason: &str, message: impl Into<String>, passing: bool) -> Self {
        let wanted = Wanted::Blocked { reason: reason.into(), message: message.into(), passing };
        Self { wanted, record: None, watching: Vec::new() }
    }

    fn port(reason: &str, error: PortError) -> Self {
        Self::blocked(reason, error.message, error.class.is_passing())
    }
}

/// Reads chart and secrets, names the revision, and checks a new one before anything is written.
pub(super) async fn find(context: &Context, handle: &Handle, memory: &mut Memory, observed: &Observed) -> Candidate {
    let (source, text) = match source(handle) {
        Ok(source) => source,
        Err(message) => return Candidate::blocked("ChartMissing", message, false),
    };
    let artifact = match context.artifacts.fetch(&source).await {
        Ok(artifact) => artifact,
        Err(error) => return Candidate::port("ChartMissing", error),
    };
    let secrets = match secrets(context, handle).await {
        Ok(secrets) => secrets,
        Err(error) => {
            let reason = match error.class {
                Class::Denied => "SecretDenied",
                // Sealed, or in another process that is away.
                Class::Retry => "SecretsUnavailable",
                _ => "SecretMissing",
            };
            // The same place is looked at when the first version of a missing secret appears.
            let watching = handle.spec.secrets.iter().map(|(path, _)| (path.clone(), 0)).collect();
            return Candidate { watching, ..Candidate::port(reason, error) };
        }
    };
    let watching: Vec<_> = secrets.iter().map(|secret| (secret.path.clone(), secret.version)).collect();
    let targets = handle.spec.secrets.iter().map(|(_, target)| target.clone());
    let used: Vec<_> = secrets.into_iter().zip(targets).collect();
    let id = revision::id(&artifact.digest, &handle.spec.values, &used, &handle.spec.cut);
    let wanted = Wanted::Revision { id: id.clone() };
    if observed.revisions.iter().any(|kept| kept.id == id) {
        return Candidate { wanted, record: None, watching };
    }
    let chart = match memory.charts.packed(&artifact.digest, &artifact.directory) {
        Ok(chart) => chart,
        Err(error) => {
            return Candidate { watching, ..Candidate::blocked("ChartInvalid", error.to_string(), false) };
        }
    };
    let secrets: Vec<_> = used
        .into_iter()
        .map(|(secret, target)| InjectedSecret {
            path: secret.path,
            version: secret.version,
            keys: secret.keys,
            target,
        })
        .collect();
    let record = RevisionRecord {
        format: FORMAT,
        reason: reason(memory, &text, &secrets),
        id,
        chart: chart.name.clone(),
        archive: chart.archive.clone(),
        values: handle.spec.values.clone(),
        secrets,
        source: text,
        created: Timestamp::now(),
    };
    match check(context, handle, memory, &record).await {
        Ok(()) => Candidate { wanted, record: Some(record), watching },
        Err(error) => Candidate {
            watching,
            ..Candidate::blocked("PreflightFailed", error.to_string(), error.class().is_passing())
        },
    }
}

fn source(handle: &Handle) -> Result<(ArtifactSource, String), String> {
    let chart = &handle.spec.chart;
    let text = handle.app.annotations().get(annotation::SOURCE).ok_or_else(|| {
        format!("helm.chart {chart} is a relative folder, and only a GitSync can tell where that is: let a GitSync apply this App")
    })?;
    let broken = || format!("annotation {} {text:?} is not NAMESPACE/GITSYNC@TREE", annotation::SOURCE);
    let (sync, tree) = text.split_once('@').ok_or_else(broken)?;
    let (namespace, gitsync) = sync.split_once('/').ok_or_else(broken)?;
    let source = ArtifactSource::GitTree { namespace: namespace.into(), gitsync: gitsync.into(), tree: tree.into() };
    Ok((source, text.clone()))
}

/// The newest of secrets that every colour follows, as far as they can be known: each by itself, whatever else is missing.
pub(super) async fn newest(context: &Context, handle: &Handle) -> Vec<ResolvedSecret> {
    let mut newest = Vec::new();
    for path in &handle.spec.cut {
        match context.secrets.resolve(&handle.reader, &[(path.clone(), None)]).await {
            Ok(resolved) => newest.extend(resolved),
            Err(error) => tracing::debug!(path, error = error.message, "the newest version is not known"),
        }
    }
    newest
}

async fn secrets(context: &Context, handle: &Handle) -> Result<Vec<ResolvedSecret>, PortError> {
    let paths: Vec<_> = handle.spec.secrets.iter().map(|(path, _)| (path.clone(), None)).collect();
    if paths.is_empty() { Ok(Vec::new()) } else { context.secrets.resolve(&handle.reader, &paths).await }
}

impl Charts {
    fn packed(&mut self, digest: &str, directory: &Path) -> Result<Arc<Packed>, Error> {
        if let Some(chart) = self.0.get(digest) {
            return Ok(chart.clone());
        }
        let files = backend::chart::read(directory)?;
        let chart = Arc::new(Packed { name: archive::chart(&files)?.to_string(), archive: archive::pack(&files)? });
        self.0.clear();
        self.0.insert(digest.to_owned(), chart.clone());
        Ok(chart)
    }
}

/// Why there is a new revision, for people.
fn reason(memory: &Memory, source: &str, secrets: &[InjectedSecret]) -> String {
    let Some(newest) = memory.records.values().max_by_key(|record| record.created) else {
        return "first revision".into();
    };
    let moved: Vec<_> = secrets
        .iter()
        .filter(|secret| newest.secrets.iter().any(|old| old.path == secret.path && old.version != secret.version))
        .map(|secret| format!("secret {} is now version {}", secret.path, secret.version))
        .collect();
    match (moved.is_empty(), newest.source == source) {
        (true, _) => "Git moved".into(),
        (false, true) => moved.join(", "),
        (false, false) => format!("Git moved, {}", moved.join(", ")),
    }
}

/// Renders every slot and asks the preflight; nothing is written if that fails.
async fn check(context: &Context, handle: &Handle, memory: &mut Memory, record: &RevisionRecord) -> Result<(), Error> {
    if memory.checked.contains(&record.id) {
        return Ok(());
    }
    let mut rendered = Vec::new();
    for slot in handle.slots() {
        let deployment = Deployment { revision: record.clone(), mode: Mode::Serving(BTreeMap::new()) };
        let objects = context.deployer.render(&handle.slot(*slot), &deployment).await?;
        rendered.push(Rendered { release: slot.release(&handle.name), objects });
    }
    if let [blue, green] = rendered.as_slice() {
        let problems: Vec<_> = preflight::check(blue, green).iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(Error::Invalid(format!("the chart can not stand twice: {}", problems.join("; "))));
        }
    }
    if let Some(route) = &handle.spec.route {
        for one in &rendered {
            preflight::backend(
                &handle.name,
                &one.release,
                &one.objects,
                route.service.as_deref(),
                &route.port.to_value(),
            )?;
        }
    }
    memory.checked.clear();
    memory.checked.insert(record.id.clone());
    Ok(())
}
