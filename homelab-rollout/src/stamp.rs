//! What makes an unmodified chart a revision of an App: labels and secrets on every pod template, at render.
//!
//! In a colour, a Service gets the revision into its selector too. Pods of the revision that stood there before serve
//! until the new ones are ready, and a little longer in the proxies' tables: without this a gate can ask them.
//!
//! One pure function over the rendered objects. Helm runs it as a post-renderer (`homelab stamp`), so that the release
//! record itself holds the stamped objects: a pod that restarts later gets what its own ReplicaSet says, and a changed
//! secret makes a new ReplicaSet of the same chart. Applied twice it changes nothing more.

use std::collections::BTreeMap;

use homelab_core::meta::{annotation, label};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::deployer::{Colour, Mode};
use crate::error::Error;
use crate::ports::{InjectedSecret, PodInjector};
use crate::preflight;

mod idle;
pub mod stream;

/// Format of [`StampInput`] that this version writes.
pub const FORMAT: u32 = 1;

/// Seconds that a pod waits before it stops, so that nobody sends it new requests any more.
const PRE_STOP: i64 = 5;

/// What `homelab stamp` reads from the file that `HOMELAB_STAMP` names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StampInput {
    /// Format version.
    pub format: u32,
    /// The App.
    pub app: String,
    /// Release that is rendered.
    pub release: String,
    /// None for `rolling`.
    pub colour: Option<Colour>,
    /// Revision id.
    pub revision: String,
    /// Serving or idle.
    pub mode: Mode,
    /// Secrets with exact versions.
    pub secrets: Vec<InjectedSecret>,
    /// What the program needs to make its [`PodInjector`]; opaque here.
    pub injector: Value,
}

impl StampInput {
    /// Reads what an equally old or newer daemon wrote; a newer format is refused by name.
    pub fn read(json: &[u8]) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(json).map_err(|e| Error::Invalid(format!("stamp input: {e}")))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            format => {
                let format = format.map_or_else(|| "none".into(), |f| f.to_string());
                return Err(Error::Invalid(format!("stamp input has format {format}, this program reads {FORMAT}")));
            }
        }
        serde_json::from_value(value).map_err(|e| Error::Invalid(format!("stamp input: {e}")))
    }
}

/// All of `homelab stamp`: rendered YAML in, stamped YAML out. Documents that the stamp does not change keep their text.
pub fn run(yaml: &str, input: &StampInput, injector: &dyn PodInjector) -> Result<String, Error> {
    let mut out = String::new();
    let documents = stream::documents(yaml)?;
    let pods: Vec<_> = documents.iter().flat_map(|document| pods(&document.object)).collect();
    for document in documents {
        let mut objects = vec![document.object.clone()];
        all(&mut objects, &pods, input, injector)?;
        for object in objects {
            out.push_str("---\n");
            if object == document.object {
                out.push_str(document.text);
            } else {
                // JSON is YAML without its traps: no string can be read as a number or as `no`.
                let text = serde_json::to_string_pretty(&object);
                out.push_str(&text.map_err(|e| Error::Invalid(format!("stamped object: {e}")))?);
            }
            out.push('\n');
        }
    }
    Ok(out)
}

/// Stamps every pod template among `objects`, hook Jobs included; objects of unknown kinds stay as they are.
pub fn stamp(objects: &mut Vec<Value>, input: &StampInput, injector: &dyn PodInjector) -> Result<(), Error> {
    let pods: Vec<_> = objects.iter().flat_map(pods).collect();
    all(objects, &pods, input, injector)
}

/// [`stamp`], where `pods` has the labels of all pods of the release.
fn all(
    objects: &mut Vec<Value>,
    pods: &[BTreeMap<String, String>],
    input: &StampInput,
    injector: &dyn PodInjector,
) -> Result<(), Error> {
    if input.mode == Mode::Idle {
        objects.retain_mut(idle::keep);
    }
    for object in objects.iter_mut() {
        match object.get_mut("items").and_then(Value::as_array_mut) {
            Some(items) => all(items, pods, input, injector)?,
            None => {
                pin_service(object, pods, input);
                one(object, input, injector)?;
            }
        }
    }
    Ok(())
}

/// Labels of the pods that an object, or a list's items, makes.
fn pods(object: &Value) -> Vec<BTreeMap<String, String>> {
    match object.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().flat_map(pods).collect(),
        None => preflight::pod_labels(object).into_iter().collect(),
    }
}

/// Lets a Service of a colour select the pods of this revision only. One that selects pods which are not stamped, say
/// an operator's, is left alone.
fn pin_service(object: &mut Value, pods: &[BTreeMap<String, String>], input: &StampInput) {
    let Some(service) = preflight::service(object).filter(|_| input.colour.is_some()) else { return };
    let mut selector = service.selector;
    selector.remove(label::REVISION);
    if pods.iter().any(|labels| preflight::selects(&selector, labels)) {
        object["spec"]["selector"][label::REVISION] = json!(input.revision);
    }
}

/// The key of a workload's replica count, equal for both colours: the release name in the object's name becomes `*`.
pub fn replica_key(kind: &str, name: &str, release: &str) -> String {
    format!("{kind}/{}", name.replacen(release, "*", 1))
}

fn one(object: &mut Value, input: &StampInput, injector: &dyn PodInjector) -> Result<(), Error> {
    if let Mode::Serving(replicas) = &input.mode {
        set_replicas(object, replicas, &input.release);
    }
    let kind = text(object, "kind").to_owned();
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(template) = template(object) else { return Ok(()) };
    let context = |message: String| Error::Invalid(format!("{kind} {name}: {message}"));
    label_template(template, input).map_err(context)?;
    if !matches!(kind.as_str(), "Job" | "CronJob") {
        pre_stop(template);
    }
    if !input.secrets.is_empty() {
        injector.inject(template, &input.secrets).map_err(|e| context(e.message))?;
    }
    Ok(())
}

/// The pod template of a workload; a Pod is its own.
pub(crate) fn template(object: &mut Value) -> Option<&mut Value> {
    let pointer = template_pointer(text(object, "apiVersion"), text(object, "kind"))?;
    object.pointer_mut(pointer).filter(|template| template.is_object())
}

/// Versions of secrets that pod templates are stamped with, by path; the least where they differ.
pub fn carried<'a>(objects: impl IntoIterator<Item = &'a Value>) -> BTreeMap<String, u64> {
    let mut carried = BTreeMap::new();
    for object in objects {
        let Some(pointer) = template_pointer(text(object, "apiVersion"), text(object, "kind")) else { continue };
        let annotations = object.pointer(pointer).map(|template| &template["metadata"]["annotations"]);
        let stamped = annotations.and_then(|annotations| annotations[annotation::SECRETS].as_str()).unwrap_or_default();
        for (path, version) in stamped.split(',').filter_map(|entry| entry.rsplit_once('@')) {
            let Ok(version) = version.parse::<u64>() else { continue };
            carried
                .entry(path.to_owned())
                .and_modify(|least: &mut u64| *least = version.min(*least))
                .or_insert(version);
        }
    }
    carried
}

/// Where a built-in kind has its pod template.
pub(crate) fn template_pointer(api_version: &str, kind: &str) -> Option<&'static str> {
    match (api_version, kind) {
        ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("v1", "ReplicationController")
        | ("batch/v1", "Job") => Some("/spec/template"),
        ("batch/v1", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        ("v1", "Pod") => Some(""),
        _ => None,
    }
}

fn label_template(template: &mut Value, input: &StampInput) -> Result<(), String> {
    let metadata = child(template, "metadata")?;
    let labels = as_map(child(metadata, "labels")?)?;
    labels.insert(label::APP.into(), json!(input.app));
    labels.insert(label::REVISION.into(), json!(input.revision));
    if let Some(colour) = input.colour {
        labels.insert(label::COLOUR.into(), json!(colour.as_str()));
    }
    if !input.secrets.is_empty() {
        let versions: Vec<_> = input.secrets.iter().map(|s| format!("{}@{}", s.path, s.version)).collect();
        let annotations = as_map(child(metadata, "annotations")?)?;
        annotations.insert(annotation::SECRETS.into(), json!(versions.join(",")));
    }
    Ok(())
}

/// Lets each container without a `preStop` sleep, as far as the pod's grace period leaves room.
fn pre_stop(template: &mut Value) {
    let grace = template.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(30);
    let seconds = PRE_STOP.min(grace - 1);
    let containers = template.pointer_mut("/spec/containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter(|_| seconds > 0) {
        let Ok(lifecycle) = child(container, "lifecycle") else { continue };
        if lifecycle.get("preStop").is_none_or(Value::is_null) {
            lifecycle["preStop"] = json!({"sleep": {"seconds": seconds}});
        }
    }
}

fn set_replicas(object: &mut Value, replicas: &BTreeMap<String, i32>, release: &str) {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let key = replica_key(text(object, "kind"), name, release);
    if let Some(count) = replicas.get(&key)
        && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.insert("replicas".into(), json!(count));
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The object under `key`, made if it is missing or null.
fn child<'a>(parent: &'a mut Value, key: &str) -> Result<&'a mut Value, String> {
    let parent = as_map(parent)?;
    let child = parent.entry(key).or_insert(Value::Null);
    if child.is_null() {
        *child = Value::Object(Map::new());
    }
    Ok(child)
}

fn as_map(value: &mut Value) -> Result<&mut Map<String, Value>, String> {
    value.as_object_mut().ok_or_else(|| "has something else where an object belongs in its pod template".into())
}

#[cfg(test)]
mod tests;
