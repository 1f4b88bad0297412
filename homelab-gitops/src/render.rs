//! Files in, objects out. Pure.
//!
//! A folder is read with all folders below it. Every document with `apiVersion` and `kind` is an object; other files are
//! skipped and counted. Names that begin with a dot are passed by, and so is every folder with a `Chart.yaml`: it is an
//! App's chart, not a manifest. Nothing is half right: one broken file makes the whole commit unusable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use homelab_core::meta::ObjectRef;
use serde_json::Value;

use crate::sealed::{SUFFIX, SealedText};
use crate::source::{Content, RepoPath, SourceFile, is_manifest_name};

mod document;
mod object;
mod stamp;

pub use stamp::{Stamps, stamp};

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// File, from the root of the repository.
    pub path: RepoPath,
    /// Line, from 1, at which the document begins.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

/// Why a file can not be applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// All problems in one line, at most five of them in full.
pub(crate) fn describe(problems: &[Problem]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = problems.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = problems.len().saturating_sub(SHOWN);
    if more == 0 { shown.join("; ") } else { format!("{}; and {more} more", shown.join("; ")) }
}

/// One object as Git says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Where it is written.
    pub origin: Origin,
    /// Which object; its namespace is filled in by [`Rendered::settle`].
    pub reference: ObjectRef,
    /// The object.
    pub object: Value,
    /// Folder of the chart that an App names by a relative path.
    pub chart: Option<RepoPath>,
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// Objects by file and place in it.
    pub manifests: Vec<Manifest>,
    /// Files without any object that are called as sealed files are.
    pub sealed: Vec<SealedText>,
    /// Other files without any object.
    pub skipped: u32,
}

/// Where a kind lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Its objects have a namespace.
    Namespaced,
    /// Its objects have none.
    Cluster,
}

/// Reads the objects of a folder. Nothing is dropped silently: whatever can not be applied is a problem.
pub fn render(files: &[SourceFile]) -> Result<Rendered, Vec<Problem>> {
    let charts = chart_folders(files);
    let mut rendered = Rendered::default();
    let mut problems = Vec::new();
    for file in files {
        if is_hidden(&file.path) || charts.iter().any(|chart| file.path.is_below(chart)) {
            continue;
        }
        match read(file) {
            Ok(manifests) if manifests.is_empty() => match sealed(file) {
                Some(text) => rendered.sealed.push(text),
                None => rendered.skipped += 1,
            },
            Ok(manifests) => rendered.manifests.extend(manifests),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(rendered) } else { Err(problems) }
}

impl Rendered {
    /// Gives every object its namespace, by the scope of its kind (none: not known yet), and refuses doubles.
    ///
    /// A namespaced object without a namespace goes to `namespace`, the one of the GitSync; kinds not known yet are taken as
    /// written.
    pub fn settle(&mut self, namespace: &str, scope: impl Fn(&Manifest) -> Option<Scope>) -> Result<(), Vec<Problem>> {
        for manifest in &mut self.manifests {
            match scope(manifest) {
                Some(Scope::Namespaced) if manifest.reference.namespace.is_none() => {
                    object::set_namespace(&mut manifest.object, Some(namespace));
                    manifest.reference.namespace = Some(namespace.into());
                }
                Some(Scope::Cluster) => {
                    object::set_namespace(&mut manifest.object, None);
                    manifest.reference.namespace = None;
                }
                _ => {}
            }
        }
        let mut first = BTreeMap::new();
        let mut problems = Vec::new();
        for Manifest { origin, reference, .. } in &self.manifests {
            if let Some(other) = first.insert(reference, origin) {
                let message = format!("{reference} is already in {other}: keep one of the two");
                problems.push(Problem { origin: origin.clone(), message });
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The folders of charts that Apps name.
    pub fn charts(&self) -> BTreeSet<RepoPath> {
        self.manifests.iter().filter_map(|manifest| manifest.chart.clone()).collect()
    }

    /// The scopes of kinds whose CustomResourceDefinition is among the objects, by group and kind.
    pub fn own_kinds(&self) -> BTreeMap<(String, String), Scope> {
        let crds = self.manifests.iter().filter(|manifest| is_crd(&manifest.reference));
        let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        crds.filter_map(|Manifest { object, .. }| {
            let scope = match text(object, "/spec/scope")?.as_str() {
                "Cluster" => Scope::Cluster,
                _ => Scope::Namespaced,
            };
            Some(((text(object, "/spec/group")?, text(object, "/spec/names/kind")?), scope))
        })
        .collect()
    }
}

/// Whether an object defines a kind.
pub fn is_crd(reference: &ObjectRef) -> bool {
    reference.kind == "CustomResourceDefinition" && reference.group == "apiextensions.k8s.io"
}

fn chart_folders(files: &[SourceFile]) -> Vec<RepoPath> {
    files.iter().filter(|file| file.path.name() == "Chart.yaml").map(|file| file.path.parent()).collect()
}

fn is_hidden(path: &RepoPath) -> bool {
    path.parts().any(|part| part.starts_with('.'))
}

/// Whether it is one is for those to say who can open it.
fn sealed(file: &SourceFile) -> Option<SealedText> {
    let Content::Bytes(bytes) = &file.content else { return None };
    let text = file.path.name().ends_with(SUFFIX).then(|| String::from_utf8(bytes.clone()).ok()).flatten()?;
    Some(SealedText { path: file.path.clone(), text })
}

fn read(file: &SourceFile) -> Result<Vec<Manifest>, Vec<Problem>> {
    let name = file.path.name();
    let problem = |message: String| vec![Problem { origin: Origin { path: file.path.clone(), line: 1 }, message }];
    match &file.content {
        Content::Symlink if is_manifest_name(name) => Err(problem("is a symbolic link: put a real file there".into())),
        Content::Unread { size } if is_manifest_name(name) => {
            Err(problem(format!("has {size} bytes, more than any object may have: move it out of spec.path")))
        }
        _ if name == "Kustomization" => Err(problem(KUSTOMIZE.into())),
        Content::Bytes(bytes) if is_manifest_name(name) => {
            let text = std::str::from_utf8(bytes).map_err(|_| problem("is not UTF-8 text".into()))?;
            documents(file, text)
        }
        _ => Ok(Vec::new()),
    }
}

const KUSTOMIZE: &str =
    "kustomize is not supported yet: name a folder of plain manifests in spec.path, or remove this file";

fn documents(file: &SourceFile, text: &str) -> Result<Vec<Manifest>, Vec<Problem>> {
    let origin = |line| Origin { path: file.path.clone(), line };
    let kustomize = matches!(file.path.name(), "kustomization.yaml" | "kustomization.yml");
    let mut manifests = Vec::new();
    let mut problems = Vec::new();
    for document in document::parse(file.path.name(), text) {
        let (line, value) = match document {
            Ok(document) => document,
            Err((line, message)) => {
                problems.push(Problem { origin: origin(line), message });
                continue;
            }
        };
        let group = value.pointer("/apiVersion").and_then(Value::as_str).unwrap_or("kustomize.config.k8s.io/v1beta1");
        if kustomize && group.starts_with("kustomize.config.k8s.io/") {
            problems.push(Problem { origin: origin(line), message: KUSTOMIZE.into() });
            continue;
        }
        for found in object::manifests(&origin(line), value) {
            match found {
                Ok(manifest) => manifests.push(manifest),
                Err(message) => problems.push(Problem { origin: origin(line), message }),
            }
        }
    }
    if problems.is_empty() { Ok(manifests) } else { Err(problems) }
}

#[cfg(test)]
mod tests;
