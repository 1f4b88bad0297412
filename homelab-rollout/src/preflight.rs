//! Whether a chart can stand twice, and which Service of it gets the traffic. Pure, from the rendered objects, before
//! anything is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use homelab_core::meta::ObjectRef;
use serde_json::Value;

use crate::deployer::ServiceInfo;
use crate::error::Error;
use crate::stamp;

/// What one colour renders to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Release name.
    pub release: String,
    /// Stamped objects.
    pub objects: Vec<Value>,
}

/// Why a chart can not stand twice, and what to set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// One object would belong to both colours.
    Shared(ObjectRef),
    /// An object of the whole cluster.
    ClusterScoped(ObjectRef),
    /// Data on a volume.
    Volume(ObjectRef),
    /// A Service of one colour would send to pods of the other.
    Selector {
        /// The Service.
        service: ObjectRef,
        /// Workload of the other colour.
        pods: ObjectRef,
    },
    /// A host name in both.
    Host {
        /// The object of one colour.
        object: ObjectRef,
        /// The host.
        host: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared(object) => write!(
                f,
                "{object} would belong to both colours, its name does not follow the release: set fullnameOverride to \
                 ${{homelab.release}}, or whichever value of the chart names it"
            ),
            Self::ClusterScoped(object) => write!(
                f,
                "{object} belongs to the whole cluster and can not stand twice: switch it off in the values \
                 (often rbac.clusterRole, crds.enabled or serviceAccount.create) and apply it beside the App"
            ),
            Self::Volume(object) => write!(
                f,
                "{object} holds data, which two colours can not share: set persistence.enabled to false, or use \
                 strategy rolling"
            ),
            Self::Selector { service, pods } => write!(
                f,
                "{service} would also select the pods of {pods} of the other colour: set nameOverride to \
                 ${{homelab.release}}, or whichever value makes its selector follow the release"
            ),
            Self::Host { object, host } => write!(
                f,
                "{object} takes the host {host} for both colours: set ingress.enabled to false and name the host in \
                 routes[].hosts"
            ),
        }
    }
}

/// Everything that keeps the chart from standing twice, each once.
pub fn check(blue: &Rendered, green: &Rendered) -> Vec<Problem> {
    let mut found = BTreeSet::new();
    let blues: BTreeSet<_> = blue.objects.iter().filter_map(ObjectRef::of).collect();
    for object in &green.objects {
        let Some(reference) = ObjectRef::of(object) else { continue };
        if is_cluster_scoped(&reference) {
            found.insert(Problem::ClusterScoped(reference));
        } else if has_volume(object) {
            found.insert(Problem::Volume(reference));
        } else if blues.contains(&reference) {
            found.insert(Problem::Shared(reference));
        }
    }
    found.extend(selectors(blue, green));
    found.extend(selectors(green, blue));
    found.extend(hosts(blue, green));
    found.into_iter().collect()
}

fn is_cluster_scoped(object: &ObjectRef) -> bool {
    matches!(
        object.kind.as_str(),
        "CustomResourceDefinition"
            | "Namespace"
            | "ClusterRole"
            | "ClusterRoleBinding"
            | "PersistentVolume"
            | "StorageClass"
            | "PriorityClass"
            | "RuntimeClass"
            | "IngressClass"
            | "GatewayClass"
            | "CSIDriver"
            | "APIService"
            | "ValidatingWebhookConfiguration"
            | "MutatingWebhookConfiguration"
            | "ValidatingAdmissionPolicy"
            | "ValidatingAdmissionPolicyBinding"
    )
}

fn has_volume(object: &Value) -> bool {
    let templates = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    object["kind"] == "PersistentVolumeClaim" || templates.is_some_and(|t| !t.is_empty())
}

fn selectors(one: &Rendered, other: &Rendered) -> Vec<Problem> {
    let pods: Vec<_> = other.objects.iter().filter_map(|o| Some((ObjectRef::of(o)?, pod_labels(o)?))).collect();
    let services = one.objects.iter().filter_map(|o| Some((ObjectRef::of(o)?, service(o)?)));
    services
        .flat_map(|(reference, info)| {
            let matched = pods.iter().filter(move |(_, labels)| selects(&info.selector, labels));
            matched.map(move |(pods, _)| Problem::Selector { service: reference.clone(), pods: pods.clone() })
        })
        .collect()
}

fn hosts(blue: &Rendered, green: &Rendered) -> Vec<Problem> {
    let of = |object: &Value| -> Vec<String> {
        let rules = object.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten();
        let names = object.pointer("/spec/hostnames").and_then(Value::as_array).into_iter().flatten();
        rules.filter_map(|r| r.get("host")).chain(names).filter_map(Value::as_str).map(Into::into).collect()
    };
    let taken: BTreeSet<String> = blue.objects.iter().flat_map(of).collect();
    let with_hosts = green.objects.iter().filter_map(|o| Some((ObjectRef::of(o)?, of(o))));
    with_hosts
        .flat_map(|(object, hosts)| hosts.into_iter().map(move |host| Problem::Host { object: object.clone(), host }))
        .filter(|problem| matches!(problem, Problem::Host { host, .. } if taken.contains(host)))
        .collect()
}

/// The Services among `objects` that select pods.
pub fn services(objects: &[Value]) -> Vec<ServiceInfo> {
    objects.iter().filter_map(service).filter(|s| !s.selector.is_empty()).collect()
}

/// The Service that gets the traffic of a route, and its port as (number, pods' port).
///
/// It has the route's port and selects a pod of the release; `wanted` names it, as it is or with the App's name in
/// place of the release's. More than one is [`Error::Invalid`] with their names.
pub fn backend(
    app: &str,
    release: &str,
    objects: &[Value],
    wanted: Option<&str>,
    port: &Value,
) -> Result<(ServiceInfo, u16, Value), Error> {
    let pods: Vec<_> = objects.iter().filter_map(pod_labels).collect();
    let mut all = services(objects);
    all.retain(|s| pods.iter().any(|labels| selects(&s.selector, labels)));
    pick(app, release, &all, wanted, port)
}

/// [`backend`] for Services that are known to select pods of the release.
pub fn pick(
    app: &str,
    release: &str,
    services: &[ServiceInfo],
    wanted: Option<&str>,
    port: &Value,
) -> Result<(ServiceInfo, u16, Value), Error> {
    let named = |s: &&ServiceInfo| wanted.is_none_or(|w| s.name == w || s.name.replacen(release, app, 1) == w);
    let fitting: Vec<_> = services
        .iter()
        .filter(named)
        .filter_map(|s| {
            let (_, number, target) =
                s.ports.iter().find(|(name, number, _)| is_port(port, name.as_deref(), *number))?;
            Some((s, *number, target.clone()))
        })
        .collect();
    match fitting.as_slice() {
        [(info, number, target)] => Ok(((*info).clone(), *number, target.clone())),
        [] => Err(Error::Invalid(none_fits(release, services, wanted, port))),
        many => {
            let names: Vec<_> = many.iter().map(|(s, _, _)| s.name.as_str()).collect();
            Err(Error::Invalid(format!(
                "more than one Service of release {release} has port {}: {}; name one in routes[].service",
                text(port),
                names.join(", ")
            )))
        }
    }
}

fn none_fits(release: &str, services: &[ServiceInfo], wanted: Option<&str>, port: &Value) -> String {
    let ports = |s: &ServiceInfo| {
        let each = s
            .ports
            .iter()
            .map(|(name, number, _)| name.as_ref().map_or_else(|| number.to_string(), |n| format!("{n}={number}")));
        format!("{} ({})", s.name, each.collect::<Vec<_>>().join(", "))
    };
    let has: Vec<_> = services.iter().map(ports).collect();
    let has =
        if has.is_empty() { "it has none that selects its pods".into() } else { format!("it has {}", has.join(", ")) };
    let wanted = wanted.map(|w| format!(" named {w}")).unwrap_or_default();
    format!("no Service{wanted} of release {release} has port {}; {has}", text(port))
}

fn is_port(wanted: &Value, name: Option<&str>, number: u16) -> bool {
    match wanted {
        Value::String(text) => name == Some(text) || text.parse() == Ok(number),
        other => other.as_u64() == Some(u64::from(number)),
    }
}

fn text(port: &Value) -> String {
    port.as_str().map_or_else(|| port.to_string(), Into::into)
}

/// A Service as far as routes know it; None for other kinds.
pub(crate) fn service(object: &Value) -> Option<ServiceInfo> {
    let is = object["apiVersion"] == "v1" && object["kind"] == "Service" && object["spec"]["type"] != "ExternalName";
    let spec = object.get("spec").filter(|_| is)?;
    let port = |p: &Value| {
        let number = u16::try_from(p.get("port")?.as_u64()?).ok()?;
        let target = p.get("targetPort").filter(|t| !t.is_null()).cloned().unwrap_or_else(|| number.into());
        Some((p.get("name").and_then(Value::as_str).map(Into::into), number, target))
    };
    Some(ServiceInfo {
        name: object.pointer("/metadata/name")?.as_str()?.into(),
        ports: spec.get("ports").and_then(Value::as_array).into_iter().flatten().filter_map(port).collect(),
        selector: strings(spec.get("selector")),
    })
}

/// Labels of the pods that a workload makes; Jobs do not serve.
pub(crate) fn pod_labels(object: &Value) -> Option<BTreeMap<String, String>> {
    let kind = object["kind"].as_str()?;
    let pointer = stamp::template_pointer(object["apiVersion"].as_str()?, kind)?;
    (!matches!(kind, "Job" | "CronJob")).then(|| strings(object.pointer(&format!("{pointer}/metadata/labels"))))
}

/// Whether a selector takes pods with these labels; an empty one takes none.
pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn strings(map: Option<&Value>) -> BTreeMap<String, String> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests;
