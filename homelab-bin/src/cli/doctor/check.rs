//! What is wrong, from what was seen. Pure.

use std::collections::BTreeSet;

use homelab_core::meta::label;
use homelab_secrets::inject::OPTED_IN;
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use serde::Serialize;
use serde_json::Value;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Good,
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) about: String,
    pub(super) level: Level,
    /// What is so, and what to do about it.
    pub(super) words: String,
}

impl Finding {
    pub(super) fn good(about: impl Into<String>, words: impl Into<String>) -> Self {
        Self { about: about.into(), level: Level::Good, words: words.into() }
    }

    pub(super) fn warning(about: impl Into<String>, words: impl Into<String>) -> Self {
        Self { about: about.into(), level: Level::Warning, words: words.into() }
    }

    pub(super) fn bad(about: impl Into<String>, words: impl Into<String>) -> Self {
        Self { about: about.into(), level: Level::Bad, words: words.into() }
    }
}

/// What makes pods, or a pod that nothing makes.
pub(super) struct Workload {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

/// What our own pod needs before it starts.
pub(super) struct Needs<'a> {
    /// Namespaces whose pods are never injected.
    pub(super) left_alone: &'a [String],
    /// Who makes the volume of the store, if it is on one.
    pub(super) provisioner: Option<&'a str>,
}

/// Opted-in pods that can not be: homelab's own start needs them, so after a power cut each waits for the other.
pub(super) fn opted_in(workloads: &[Workload], needs: &Needs<'_>) -> Vec<Finding> {
    let mut findings: Vec<_> = workloads.iter().filter(|w| is_opted_in(w)).filter_map(|w| problem(w, needs)).collect();
    if findings.is_empty() {
        let count = workloads.iter().filter(|workload| is_opted_in(workload)).count();
        findings
            .push(Finding::good("opted-in pods", format!("{count} workloads ask for secrets; our start needs none")));
    }
    findings
}

fn is_opted_in(workload: &Workload) -> bool {
    let labels = workload.template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
    labels.and_then(|labels| labels.get(OPTED_IN.0)).is_some_and(|value| value == OPTED_IN.1)
}

fn problem(workload: &Workload, needs: &Needs<'_>) -> Option<Finding> {
    let Workload { kind, namespace, name, .. } = workload;
    let about = format!("{kind} {namespace}/{name}");
    if needs.left_alone.contains(namespace) {
        let words = format!(
            "asks for secrets by label {}, but pods of namespace {namespace} never get them: take the label away",
            label::INJECT
        );
        return Some(Finding::bad(about, words));
    }
    let what = needed_for(workload, needs)?;
    let words = format!(
        "asks for secrets, and homelab itself needs it to start ({what}): after a power cut each would wait for the other. Take \
         label {} away and give it a SecretSync's Secret, or none",
        label::INJECT
    );
    Some(Finding::bad(about, words))
}

fn needed_for(workload: &Workload, needs: &Needs<'_>) -> Option<&'static str> {
    let labels = workload.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    let named = |keys: &[&str], names: &[&str]| {
        keys.iter().filter_map(|key| labels.get(*key)).any(|value| names.contains(&value.as_str()))
    };
    let keys = ["k8s-app", "app", "app.kubernetes.io/name"];
    if named(&keys, &["kube-dns", "coredns", "node-local-dns"]) {
        return Some("names: it is the cluster's DNS");
    }
    let spec = workload.template.spec.as_ref()?;
    if mounts(spec, &["/etc/cni/net.d", "/opt/cni/bin"]) {
        return Some("network: it sets up the pods' network");
    }
    let makes_volumes = needs.provisioner.is_some_and(|provisioner| speaks_of(spec, provisioner));
    if makes_volumes || mounts(spec, &["/var/lib/kubelet/plugins", "/var/lib/kubelet/plugins_registry"]) {
        return Some("volume: it attaches or makes volumes");
    }
    None
}

fn mounts(spec: &PodSpec, folders: &[&str]) -> bool {
    let paths = spec.volumes.iter().flatten().filter_map(|volume| Some(volume.host_path.as_ref()?.path.as_str()));
    paths.map(|path| path.trim_end_matches('/')).any(|path| {
        folders
            .iter()
            .any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    })
}

fn speaks_of(spec: &PodSpec, word: &str) -> bool {
    spec.containers.iter().any(|container| {
        let args = container.args.iter().flatten().chain(container.command.iter().flatten());
        let values = container.env.iter().flatten().filter_map(|env| env.value.as_ref());
        args.chain(values).any(|text| text.contains(word))
    })
}

/// Fields that a schema should have and does not: `helm upgrade` leaves definitions as they are.
pub(super) fn missing_fields(should: &Value, is: &Value) -> BTreeSet<String> {
    fn fields(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{name}");
            fields(inner, &path, found);
            found.insert(path);
        }
        if let Some(items) = schema.get("items") {
            fields(items, &format!("{path}[]"), found);
        }
    }
    let (mut wanted, mut there) = (BTreeSet::new(), BTreeSet::new());
    fields(should, "", &mut wanted);
    fields(is, "", &mut there);
    wanted.difference(&there).cloned().collect()
}

/// What the store says of itself (`sys/homelab/keys`).
pub(super) fn store(keys: &Value) -> Vec<Finding> {
    let about = "store";
    let mut findings = Vec::new();
    match keys.pointer("/rollback/state").and_then(Value::as_str).unwrap_or_default() {
        "fresh" => {}
        "unwatched" => findings
            .push(Finding::warning(about, "nobody keeps a copy of its head: a store that is put back is not noticed")),
        other => findings
            .push(Finding::bad(about, format!("its head: {other}; nothing is written: see `homelab secrets status`"))),
    }
    if keys.get("opens_alone") != Some(&Value::Bool(true)) {
        let words = "no slot opens by itself: after a power cut it stays sealed until somebody runs `homelab secrets unseal`, and \
                     every pod that needs a secret waits";
        findings.push(Finding::warning(about, words));
    }
    if findings.is_empty() {
        findings.push(Finding::good(about, "open, and opens by itself after a power cut"));
    }
    findings
}

/// What would bring the store back if its disk were gone: a key elsewhere that is known to work, and backups.
pub(super) fn recovery(keys: &Value) -> Vec<Finding> {
    let slots: Vec<_> = keys["slots"].as_array().into_iter().flatten().collect();
    let elsewhere = |slot: &&&Value| slot["opens_alone"] != true || slot["kind"] == "age identity";
    let (about, mut findings) = ("recovery", Vec::new());
    match slots.iter().filter(elsewhere).count() {
        0 => findings.push(Finding::warning(
            about,
            "only keys on this machine open the store: `homelab secrets rekey recovery` makes one to keep elsewhere",
        )),
        _ if slots.iter().all(|slot| slot["proved"].is_null()) => findings.push(Finding::warning(
            about,
            "that somebody's key opens a backup was never seen: `homelab secrets backup FILE --verify-recovery FILE`",
        )),
        _ => {}
    }
    let backups: Vec<_> = keys["backups"].as_array().into_iter().flatten().collect();
    if backups.is_empty() {
        let words =
            "no backups are scheduled (the chart's `backup.to`); `homelab secrets backup FILE` takes one by hand";
        findings.push(Finding::warning("backups", words));
    }
    findings.extend(backups.iter().map(|backup| scheduled(backup)));
    if findings.iter().all(|finding| finding.about != about) {
        findings.push(Finding::good(about, "a key that is kept elsewhere was seen to open a backup"));
    }
    findings
}

fn scheduled(backup: &Value) -> Finding {
    let text = |field: &str| backup[field].as_str();
    let about = format!("backups to {}", text("to").unwrap_or("?"));
    let last =
        text("last").map_or_else(|| "none was made yet".into(), |at| format!("the last one was looked after at {at}"));
    match text("error") {
        Some(error) => Finding::bad(about, format!("{error}; {last}")),
        None if backup["same_disk"] == true => {
            Finding::warning(about, format!("{last}, on the disk of the store: when it goes, both go"))
        }
        None => Finding::good(about, last),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(namespace: &str, labels: Value, spec: Value) -> Workload {
        let template = json!({"metadata": {"labels": labels}, "spec": spec});
        let template = serde_json::from_value(template).expect("a template");
        Workload { kind: "Deployment", namespace: namespace.into(), name: "x".into(), template }
    }

    #[test]
    fn what_our_start_needs_can_not_wait_for_our_secrets() {
        let opted = |more: Value| {
            let mut labels = json!({"homelab.dev/inject": "true"});
            labels.as_object_mut().expect("labels").extend(more.as_object().cloned().unwrap_or_default());
            labels
        };
        let plain = json!({"containers": []});
        let on_host = |path: &str| json!({"containers": [], "volumes": [{"name": "v", "hostPath": {"path": path}}]});
        let arg = json!({"containers": [{"name": "c", "args": ["--driver=driver.example.io"]}]});
        for (what, workload, word) in [
            ("plain", workload("web", opted(json!({})), plain.clone()), ""),
            ("not opted in", workload("kube-system", json!({"k8s-app": "kube-dns"}), plain.clone()), ""),
            ("left alone", workload("kube-system", opted(json!({})), plain.clone()), "never get them"),
            ("dns", workload("dns", opted(json!({"k8s-app": "coredns"})), plain), "names"),
            ("cni", workload("net", opted(json!({})), on_host("/etc/cni/net.d/")), "network"),
            ("csi", workload("csi", opted(json!({})), on_host("/var/lib/kubelet/plugins/x")), "volume"),
            ("provisioner", workload("csi", opted(json!({})), arg), "volume"),
            ("a folder beside", workload("a", opted(json!({})), on_host("/var/lib/kubelet/plugins-of-mine")), ""),
        ] {
            let left_alone = ["kube-system".to_owned()];
            let needs = Needs { left_alone: &left_alone, provisioner: Some("driver.example.io") };
            let [found] = opted_in(&[workload], &needs).try_into().expect("one finding");
            assert_eq!(found.level == Level::Bad, !word.is_empty(), "{what}: {found:?}");
            assert!(found.words.contains(word), "{what}: {found:?}");
        }
    }

    #[test]
    fn fields_that_an_older_definition_lacks_are_named() {
        let should =
            json!({"properties": {"spec": {"properties": {"a": {}, "b": {"items": {"properties": {"c": {}}}}}}}});
        let is =
            json!({"properties": {"spec": {"properties": {"a": {}, "b": {"items": {"properties": {}}}}, "old": {}}}});
        assert_eq!(missing_fields(&should, &is), BTreeSet::from([".spec.b[].c".to_owned()]));
        assert!(missing_fields(&should, &should).is_empty());
    }

    #[test]
    fn a_store_says_what_a_power_cut_would_do() {
        let levels = |keys: Value| store(&keys).iter().map(|finding| finding.level).collect::<Vec<_>>();
        assert_eq!(levels(json!({"opens_alone": true, "rollback": {"state": "fresh"}})), [Level::Good]);
        assert_eq!(levels(json!({"opens_alone": false, "rollback": {"state": "fresh"}})), [Level::Warning]);
        assert_eq!(levels(json!({"opens_alone": true, "rollback": {"state": "rolled_back"}})), [Level::Bad]);
        assert_eq!(levels(json!({})), [Level::Bad, Level::Warning]);
    }
    #[test]
    fn a_home_that_could_not_come_back_is_told_before_it_has_to() {
        let told = |keys: Value| {
            let findings = recovery(&keys);
            findings.into_iter().map(|finding| (finding.about, finding.level)).collect::<Vec<_>>()
        };
        let (file, paper) =
            (json!({"kind": "key file", "opens_alone": true}), json!({"kind": "recovery key", "opens_alone": false}));
        let proved = json!({"kind": "recovery key", "opens_alone": false, "proved": "2026-11-24T12:00:00Z"});
        let nas = json!({"to": "/nas", "last": "2026-11-24T12:00:00Z", "same_disk": false});
        let (own, full) =
            (json!({"to": "/own", "same_disk": true}), json!({"to": "/full", "error": "no space is left"}));
        let warning = |about: &str| (about.to_owned(), Level::Warning);
        assert_eq!(told(json!({"slots": [file]})), [warning("recovery"), warning("backups")]);
        assert_eq!(
            told(json!({"slots": [file, paper], "backups": [own]})),
            [warning("recovery"), warning("backups to /own")]
        );
        let good = |about: &str| (about.to_owned(), Level::Good);
        let all = told(json!({"slots": [file, proved], "backups": [nas, full]}));
        assert_eq!(all, [good("backups to /nas"), ("backups to /full".into(), Level::Bad), good("recovery")]);
    }
}
