//! On a real cluster with the real helm.
#![expect(clippy::disallowed_methods, reason = "a test has a clock and an environment")]

use std::collections::BTreeMap;

use homelab_core::meta::{Account, ObjectRef};
use k8s_openapi::api::apps::v1::{Deployment as Workload, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::*;
use crate::archive;
use crate::deployer::{Colour, ReleaseStatus};
use crate::ports::{InjectedSecret, SecretTarget};
use crate::revision::RevisionRecord;

const CHART: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "{{ .Values.image }}", env: [{name: RELEASE, value: "{{ .Values.me }}"}]}]
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: {{ .Release.Name }}}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {mode: "0644"}
"#;

const SLOW_HOOK: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: {{ .Release.Name }}-hook, annotations: {helm.sh/hook: pre-upgrade, helm.sh/hook-delete-policy: before-hook-creation}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: "homelab.dev/pause:1"}]}}}
"#;

struct World {
    client: Client,
    helm: HelmDeployer,
    namespace: String,
}

impl World {
    async fn new(name: &str, role: &str) -> Self {
        // Another test of the process has installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kube = kube::Config::infer().await.unwrap();
        let clients = Clients::new(kube.clone()).unwrap();
        let client = clients.own();
        let stamp = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/stamp");
        let helm = std::env::var_os("HOMELAB_HELM").map_or_else(|| "helm".into(), PathBuf::from);
        let config = HelmConfig { stamp_args: vec![], ..HelmConfig::new(helm, stamp, Value::Null) };
        let namespace = format!("helm-{name}-{:x}", Timestamp::now().as_microsecond());
        make::<Namespace>(Api::all(client.clone()), json!({"metadata": {"name": namespace}})).await;
        make::<k8s_openapi::api::core::v1::ServiceAccount>(
            Api::namespaced(client.clone(), &namespace),
            json!({"metadata": {"name": "deployer"}}),
        )
        .await;
        let binding = json!({
            "metadata": {"name": "deployer"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": namespace}],
        });
        make::<k8s_openapi::api::rbac::v1::RoleBinding>(Api::namespaced(client.clone(), &namespace), binding).await;
        Self { helm: HelmDeployer::start(&kube, clients, config).unwrap(), client, namespace }
    }

    fn slot(&self, colour: Colour) -> SlotRef {
        SlotRef {
            app: ObjectRef::namespaced("homelab.dev", "App", &self.namespace, "web"),
            app_uid: "u".into(),
            release: format!("web-{colour}"),
            colour: Some(colour),
            account: Account::new(&self.namespace, "deployer"),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn settled(&self, slot: &SlotRef, what: &str, good: impl Fn(&SlotState) -> bool) -> SlotState {
        let mut last = SlotState::default();
        for _ in 0..300 {
            last = self.helm.observe(slot).await.unwrap();
            if good(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{what}: {last:#?}");
    }

    async fn end(self) {
        Api::<Namespace>::all(self.client).delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }
}

async fn make<K>(api: Api<K>, object: Value)
where
    K: serde::Serialize + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

fn revision(id: &str, templates: &[&str], values: Value, version: u64) -> RevisionRecord {
    let mut files: archive::Files =
        [("Chart.yaml".to_owned(), b"apiVersion: v2\nname: demo\nversion: 0.1.0\n".to_vec())].into();
    files.insert("values.yaml".into(), b"replicas: 1\nimage: homelab.dev/pause:1\nme: ${homelab.release}\n".to_vec());
    for (n, template) in templates.iter().enumerate() {
        files.insert(format!("templates/{n}.yaml"), template.as_bytes().to_vec());
    }
    let target = SecretTarget::Files("/run/secrets/db".into());
    RevisionRecord {
        format: 1,
        id: id.into(),
        chart: "demo 0.1.0".into(),
        archive: archive::pack(&files).unwrap(),
        values,
        secrets: vec![InjectedSecret { path: "kv/web/db".into(), version, keys: vec![], target }],
        source: "test".into(),
        reason: "a test".into(),
        created: Timestamp::UNIX_EPOCH,
    }
}

fn serving(revision: RevisionRecord) -> Deployment {
    Deployment { revision, mode: Mode::Serving(BTreeMap::new()) }
}

fn is_ready(state: &SlotState) -> bool {
    state.waiting.is_empty() && state.failed.is_empty() && state.drift.is_empty()
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_release_lives() {
    let world = World::new("life", "admin").await;
    let slot = world.slot(Colour::Blue);
    assert_eq!(world.helm.observe(&slot).await.unwrap(), SlotState::default());

    // The first revision comes up, stamped.
    let values = json!({"me": "${homelab.release}"});
    world.helm.deploy(&slot, &serving(revision("aaaaaaaaaa", &[CHART], values.clone(), 1))).await.unwrap();
    let state = world.settled(&slot, "the first revision", is_ready).await;
    let release = state.release.unwrap();
    assert_eq!((release.number, release.status, release.idle), (1, ReleaseStatus::Deployed, false));
    assert_eq!(release.revision.as_deref(), Some("aaaaaaaaaa"));
    assert_eq!(state.replicas, [("Deployment/*".to_owned(), 1)].into());
    assert_eq!(state.services[0].name, "web-blue");
    let selector = "homelab.dev/app=web,homelab.dev/colour=blue,homelab.dev/revision=aaaaaaaaaa";
    let pods = world.api::<Pod>().list(&ListParams::default().labels(selector)).await.unwrap();
    let pod = serde_json::to_value(&pods.items[0]).unwrap();
    assert_eq!(pod["metadata"]["annotations"]["homelab.dev/secrets"], "kv/web/db@1");
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["value"], "web-blue");
    let config = world.api::<ConfigMap>().get("web-blue").await.unwrap();
    assert_eq!(config.data.unwrap()["mode"], "0644", "strings survive the stamp");

    // A secret-only change is a new ReplicaSet of the same chart.
    world.helm.deploy(&slot, &serving(revision("bbbbbbbbbb", &[CHART], values.clone(), 2))).await.unwrap();
    world.settled(&slot, "the second revision", is_ready).await;
    assert_eq!(world.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items.len(), 2);

    drift_is_repaired(&world, &slot).await;

    // Idle: nothing runs, and it is the same release.
    let idle = Deployment { revision: revision("bbbbbbbbbb", &[CHART], values.clone(), 2), mode: Mode::Idle };
    world.helm.deploy(&slot, &idle).await.unwrap();
    let state = world.settled(&slot, "idle", is_ready).await;
    assert!(state.release.unwrap().idle);
    assert_eq!(state.replicas["Deployment/*"], 0);

    // Serving again, with as many pods as the other colour had.
    let again = Deployment { mode: Mode::Serving([("Deployment/*".to_owned(), 2)].into()), ..idle };
    let rendered = world.helm.render(&slot, &again).await.unwrap();
    let deployment = rendered.iter().find(|o| o["kind"] == "Deployment").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(deployment["metadata"]["namespace"], world.namespace.as_str());
    world.helm.deploy(&slot, &again).await.unwrap();
    let state = world.settled(&slot, "two pods", is_ready).await;
    assert_eq!(state.replicas["Deployment/*"], 2);

    world.helm.remove(&slot).await.unwrap();
    world.helm.remove(&slot).await.unwrap();
    assert_eq!(world.helm.observe(&slot).await.unwrap(), SlotState::default());
    world.end().await;
}

async fn drift_is_repaired(world: &World, slot: &SlotRef) {
    let api = world.api::<Workload>();
    api.delete("web-blue", &DeleteParams::default()).await.unwrap();
    world.api::<ConfigMap>().delete("web-blue", &DeleteParams::default()).await.unwrap();
    let state = world.settled(slot, "drift", |s| s.drift.len() == 2).await;
    assert!(
        state.drift.iter().any(|d| d.starts_with("Deployment.apps") && d.ends_with("is missing")),
        "{:?}",
        state.drift
    );
    world.helm.repair(slot).await.unwrap();
    world.settled(slot, "repaired", is_ready).await;

    let params = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
    let edit = json!({"data": {"mode": "0777", "more": "x"}});
    world.api::<ConfigMap>().patch("web-blue", &params, &Patch::Merge(&edit)).await.unwrap();
    let state = world.settled(slot, "an edit", |s| !s.drift.is_empty()).await;
    assert_eq!(
        state.drift,
        [format!("ConfigMap {}/web-blue was changed: .data.mode by kubectl-edit", world.namespace)]
    );
    world.helm.repair(slot).await.unwrap();
    world.settled(slot, "repaired", is_ready).await;

    // An autoscaler, or a person with `kubectl scale`, is no drift.
    api.patch_scale("web-blue", &params, &Patch::Merge(&json!({"spec": {"replicas": 2}}))).await.unwrap();
    let state = world.settled(slot, "scaled", |s| s.waiting.is_empty() && s.replicas["Deployment/*"] == 2).await;
    assert_eq!(state.drift, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_killed_helm_is_healed() {
    let world = World::new("kill", "admin").await;
    let slot = world.slot(Colour::Green);
    world.helm.deploy(&slot, &serving(revision("aaaaaaaaaa", &[CHART], Value::Null, 1))).await.unwrap();
    // Its hook never ends; the daemon is told to stop.
    let slow = serving(revision("bbbbbbbbbb", &[CHART, SLOW_HOOK], Value::Null, 1));
    let killed = tokio::time::timeout(Duration::from_secs(8), world.helm.deploy(&slot, &slow)).await;
    assert!(killed.is_err());
    let state = world.helm.observe(&slot).await.unwrap();
    assert_eq!(state.release.unwrap().status, ReleaseStatus::Pending);
    world.helm.deploy(&slot, &serving(revision("cccccccccc", &[CHART], Value::Null, 1))).await.unwrap();
    let state = world.settled(&slot, "healed", is_ready).await;
    let release = state.release.unwrap();
    assert_eq!((release.revision.as_deref(), release.number), (Some("cccccccccc"), 4));

    // The same for an install.
    let slot = world.slot(Colour::Blue);
    let slow = SLOW_HOOK.replace("pre-upgrade", "pre-install");
    let slow = serving(revision("bbbbbbbbbb", &[CHART, &slow], Value::Null, 1));
    let killed = tokio::time::timeout(Duration::from_secs(8), world.helm.deploy(&slot, &slow)).await;
    assert!(killed.is_err());
    world.helm.deploy(&slot, &serving(revision("cccccccccc", &[CHART], Value::Null, 1))).await.unwrap();
    world.settled(&slot, "healed", is_ready).await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn bad_input_is_named_and_nothing_is_written() {
    let world = World::new("bad", "admin").await;
    let slot = world.slot(Colour::Blue);
    let failure = async |template: &str, values: Value| {
        let deployment = serving(revision("aaaaaaaaaa", &[template], values, 1));
        let error = world.helm.deploy(&slot, &deployment).await.unwrap_err();
        format!("{:?}: {error}", error.class())
    };
    let said = failure("a: {{ .Values.x", Value::Null).await;
    assert!(said.starts_with("Invalid: helm template web-blue: parse error at (demo/templates/0.yaml:1)"), "{said}");
    let said = failure("a: {{ required \"set x\" .Values.x }}", Value::Null).await;
    assert!(said.starts_with("Invalid: ") && said.contains("set x"), "{said}");
    let said = failure(&CHART.replace("replicas:", "replicaz:"), Value::Null).await;
    assert!(said.starts_with("Invalid: ") && said.contains("replicaz"), "{said}");
    let stamp =
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: {metadata: {labels: []}}}}";
    let said = failure(stamp, Value::Null).await;
    assert_eq!(said, "Invalid: Deployment d: has something else where an object belongs in its pod template");
    let secrets = world.api::<Secret>().list(&ListParams::default()).await.unwrap();
    assert!(secrets.items.is_empty(), "{:?}", secrets.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>());

    let image = serving(revision("bbbbbbbbbb", &[CHART], json!({"image": "homelab.dev/none:1"}), 1));
    world.helm.deploy(&slot, &image).await.unwrap();
    let state = world.settled(&slot, "an image that does not exist", |s| !s.failed.is_empty()).await;
    assert!(state.failed[0].contains("homelab.dev/none:1"), "{:?}", state.failed);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn definitions_of_a_chart_come_before_its_objects() {
    use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let world = World::new("crds", "admin").await;
    let group = format!("{}.example.com", world.namespace);
    let binding = json!({
        "metadata": {"name": world.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": world.namespace}],
    });
    make::<ClusterRoleBinding>(Api::all(world.client.clone()), binding).await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("rockets.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": "Rocket", "plural": "rockets"}, "versions": [{
            "name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        }]},
    });
    let rocket = format!(
        "apiVersion: {group}/v1\nkind: Rocket\nmetadata: {{name: {{{{ .Release.Name }}}}}}\nspec: {{crew: 2}}\n"
    );
    let mut revision = revision("aaaaaaaaaa", &[&rocket], Value::Null, 1);
    let mut files = archive::unpack(&revision.archive).unwrap();
    files.insert("crds/rocket.yaml".into(), definition.to_string().into_bytes());
    revision.archive = archive::pack(&files).unwrap();

    let slot = world.slot(Colour::Blue);
    let deployment = serving(revision);
    assert_eq!(world.helm.render(&slot, &deployment).await.unwrap()[0]["kind"], "Rocket");
    world.helm.deploy(&slot, &deployment).await.unwrap();
    world.settled(&slot, "a rocket", is_ready).await;
    world.helm.deploy(&slot, &deployment).await.unwrap();

    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    definitions.delete(&format!("rockets.{group}"), &DeleteParams::default()).await.unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(world.client.clone());
    bindings.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn an_account_without_rights_is_told() {
    let world = World::new("denied", "view").await;
    let slot = world.slot(Colour::Blue);
    let error = world.helm.deploy(&slot, &serving(revision("aaaaaaaaaa", &[CHART], Value::Null, 1))).await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    let text = error.to_string();
    assert!(text.contains(&format!("system:serviceaccount:{}:deployer", world.namespace)), "{text}");
    world.end().await;
}
