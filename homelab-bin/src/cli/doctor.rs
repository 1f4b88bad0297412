//! `homelab doctor`: is everything there, and would it come back after a power cut?

mod check;

use anyhow::{Result, bail};
use homelab_secrets::inject::policy_name;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, PodTemplateSpec};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::check::{Finding, Level, Needs, Workload};
use super::cluster::{Cluster, failed};
use super::kv::Client;
use super::output::{self, Table, state};
use crate::args::{Global, Output, Server};
use crate::daemon::settings::cluster_name;

/// Version of what `-o json` prints.
const FORMAT: u32 = 1;
/// What the chart keeps in front of our kinds, by the ends of the names.
const POLICIES: [&str; 3] = ["-requests.homelab.dev", "-account.homelab.dev", "-nudge.homelab.dev"];

pub(crate) async fn run(global: &Global, server: &Server, out: Output) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let mut findings = vec![leading(&cluster).await?];
    findings.extend(kinds(&cluster).await?);
    findings.extend(admission(&cluster).await?);
    findings.extend(store(global, server).await);
    findings.extend(opted_in(&cluster).await?);
    match out.format {
        Some(format) => output::data(&json!({ "format": FORMAT, "findings": findings }), format)?,
        None => table(&findings).print("nothing was looked at")?,
    }
    match findings.iter().filter(|finding| finding.level == Level::Bad).count() {
        0 => Ok(()),
        1 => bail!("one thing needs you; the table says what to do"),
        count => bail!("{count} things need you; the table says what to do"),
    }
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(["ABOUT", "STATE", "WHAT"]);
    for Finding { about, level, words } in findings {
        let level = match level {
            Level::Good => state("good", Some(true)),
            Level::Warning => state("warning", None),
            Level::Bad => state("BAD", Some(false)),
        };
        table.row([about.clone(), level, words.clone()]);
    }
    table
}

async fn leading(cluster: &Cluster) -> Result<Finding> {
    let daemon = super::status::daemon(cluster).await?;
    let words = daemon.words.trim_start_matches("daemon: ").to_owned();
    Ok(if daemon.alive { Finding::good("daemon", words) } else { Finding::bad("daemon", words) })
}

async fn list<K>(cluster: &Cluster) -> Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let all = Api::<K>::all(cluster.client.clone()).list(&ListParams::default()).await;
    Ok(all.map_err(|error| failed(&format!("list {}", K::plural(&())), &error))?.items)
}

/// Our definitions, as this program has them.
async fn kinds(cluster: &Cluster) -> Result<Vec<Finding>> {
    let there: Vec<CustomResourceDefinition> = list(cluster).await?;
    let fix = "`homelab print-crds | kubectl apply --server-side -f -`";
    let schema = |crd: &CustomResourceDefinition| {
        let version = crd.spec.versions.last().and_then(|version| version.schema.clone());
        serde_json::to_value(version.and_then(|schema| schema.open_api_v3_schema)).unwrap_or(Value::Null)
    };
    let mut findings = Vec::new();
    for wanted in super::crds::crds() {
        let about = format!("kind {}", wanted.spec.names.kind);
        let Some(found) = there.iter().find(|crd| crd.name_any() == wanted.name_any()) else {
            findings.push(Finding::bad(about, format!("its definition is not there: {fix}")));
            continue;
        };
        if let Some(field) = check::missing_fields(&schema(&wanted), &schema(found)).first() {
            let words = format!("its definition is older than this program and lacks {field}: {fix}");
            findings.push(Finding::bad(about, words));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::good("kinds", "all definitions are there, as this program has them"));
    }
    Ok(findings)
}

/// The webhook with the CA that is published, and the policies.
async fn admission(cluster: &Cluster) -> Result<Vec<Finding>> {
    let name = cluster_name(&cluster.daemon);
    let webhooks: Vec<MutatingWebhookConfiguration> = list(cluster).await?;
    let policies: Vec<ValidatingAdmissionPolicy> = list(cluster).await?;
    let bindings: Vec<ValidatingAdmissionPolicyBinding> = list(cluster).await?;
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.daemon);
    let map = maps.get_opt("homelab-ca").await.map_err(|error| failed("read ConfigMap homelab-ca", &error))?;
    let ca = map.and_then(|map| map.data?.remove("ca.crt")).unwrap_or_default();
    let about = format!("webhook {name}");
    let restart = "restart the daemon, which writes it";
    let mut findings = Vec::new();
    match webhooks.iter().find(|webhook| webhook.name_any() == name) {
        None => {
            findings.push(Finding::bad(&about, format!("it is not there, so opted-in pods get no secrets: {restart}")))
        }
        Some(found) => {
            let bundle = found.webhooks.iter().flatten().find_map(|hook| hook.client_config.ca_bundle.clone());
            if bundle.is_some_and(|bundle| bundle.0 != ca.as_bytes()) {
                findings
                    .push(Finding::bad(&about, format!("it believes another CA than ConfigMap homelab-ca: {restart}")));
            }
        }
    }
    let injected = policy_name(&name);
    for wanted in POLICIES.into_iter().chain([injected.as_str()]) {
        let is = |found: &str| found == wanted || (wanted.starts_with('-') && found.ends_with(wanted));
        let there = policies.iter().any(|policy| is(&policy.name_any()));
        let bound = bindings.iter().any(|binding| is(&binding.name_any()));
        if !there || !bound {
            let words = "the policy or its binding is not there: `helm upgrade` (…homelab.dev) or a restart of the daemon makes it";
            findings.push(Finding::bad(format!("policy …{}", wanted.trim_start_matches('-')), words));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::good("admission", "webhook and policies are there, with the CA that is published"));
    }
    Ok(findings)
}

async fn store(global: &Global, server: &Server) -> Vec<Finding> {
    let asked = async {
        let client = Client::connect(global, server).await?;
        client.call(Method::GET, "sys/homelab/keys", None, "look at the store").await
    };
    match asked.await {
        Ok(answer) => [check::store(&answer["data"]), check::recovery(&answer["data"])].concat(),
        Err(error) => vec![Finding::bad("store", output::chain(&error))],
    }
}

async fn opted_in(cluster: &Cluster) -> Result<Vec<Finding>> {
    let mut workloads = Vec::new();
    for found in list::<Deployment>(cluster).await? {
        workloads.extend(workload("Deployment", &found, found.spec.clone().map(|spec| spec.template)));
    }
    for found in list::<StatefulSet>(cluster).await? {
        workloads.extend(workload("StatefulSet", &found, found.spec.clone().map(|spec| spec.template)));
    }
    for found in list::<DaemonSet>(cluster).await? {
        workloads.extend(workload("DaemonSet", &found, found.spec.clone().map(|spec| spec.template)));
    }
    for found in list::<Pod>(cluster).await?.into_iter().filter(|pod| pod.owner_references().is_empty()) {
        let template = PodTemplateSpec { metadata: Some(found.metadata.clone()), spec: found.spec.clone() };
        workloads.extend(workload("Pod", &found, Some(template)));
    }
    let provisioner = provisioner(cluster).await?;
    let left_alone = ["kube-system".to_owned(), cluster.daemon.clone()];
    Ok(check::opted_in(&workloads, &Needs { left_alone: &left_alone, provisioner: provisioner.as_deref() }))
}

fn workload<K: Resource>(kind: &'static str, object: &K, template: Option<PodTemplateSpec>) -> Option<Workload> {
    let meta = object.meta();
    let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    Some(Workload { kind, namespace, name, template: template? })
}

/// Who makes the volume of our namespace, if there is one.
async fn provisioner(cluster: &Cluster) -> Result<Option<String>> {
    let claims = Api::<PersistentVolumeClaim>::namespaced(cluster.client.clone(), &cluster.daemon);
    let claims = claims.list(&ListParams::default()).await;
    let claims = claims.map_err(|error| failed("list our PersistentVolumeClaims", &error))?.items;
    let Some(class) = claims.iter().find_map(|claim| claim.spec.as_ref()?.storage_class_name.clone()) else {
        return Ok(None);
    };
    let classes: Vec<StorageClass> = list(cluster).await?;
    Ok(classes.into_iter().find(|found| found.name_any() == class).map(|found| found.provisioner))
}
