//! The loop against a real API server, with engine and ports in memory.
#![expect(clippy::disallowed_methods, reason = "writes a chart")]

use std::sync::Arc;
use std::time::Duration;

use homelab_core::client::Clients;
use homelab_core::condition;
use homelab_core::events::Events;
use homelab_core::meta::{annotation, label};
use homelab_core::watch::Watches;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Cases, Context, run};
use crate::api::v1alpha1::App;
use crate::ports::Holder;
use crate::testing::{FolderArtifacts, MemoryDeployer, MemorySecrets, MemoryTraffic};

struct World {
    client: kube::Client,
    namespace: String,
    user: String,
    deployer: MemoryDeployer,
    traffic: MemoryTraffic,
    secrets: MemorySecrets,
    _chart: tempfile::TempDir,
}

impl World {
    async fn new(name: &str) -> (Self, Context) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::infer().await.unwrap();
        let clients = Clients::new(config).unwrap();
        let client = clients.own();
        let params = PatchParams::apply("homelab-test").force();
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for crd in crate::api::crds() {
            crds.patch(&crd.name_any(), &params, &Patch::Apply(&crd)).await.unwrap();
        }
        while Api::<App>::all(client.clone()).list(&ListParams::default().limit(1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = format!("rollout-{name}-{:x}", jiff::Timestamp::now().as_microsecond());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        namespaces.patch(&namespace, &params, &Patch::Apply(&object)).await.unwrap();
        let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), &namespace);
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "default-admin"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]});
        bindings.patch("default-admin", &params, &Patch::Apply(&binding)).await.unwrap();
        let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
        let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.unwrap();
        let user = review.status.and_then(|status| status.user_info?.username).unwrap();
        let chart = tempfile::tempdir().unwrap();
        std::fs::write(chart.path().join("Chart.yaml"), "name: web\nversion: 1.0.0\n").unwrap();
        let world = Self {
            client: client.clone(),
            namespace: namespace.clone(),
            user,
            deployer: MemoryDeployer::default(),
            traffic: MemoryTraffic::default(),
            secrets: MemorySecrets::default(),
            _chart: chart,
        };
        world.endpoints("web-blue").await;
        world.endpoints("web-green").await;
        let context = Context {
            watches: Watches::new(client.clone()),
            events: Events::new(client, "homelab-rollout", "test"),
            clients,
            namespaces: vec![namespace],
            deployer: Arc::new(world.deployer.clone()),
            traffic: Arc::new(world.traffic.clone()),
            secrets: Arc::new(world.secrets.clone()),
            artifacts: Arc::new(FolderArtifacts(world._chart.path().into())),
            cases: Cases::default(),
        };
        (world, context)
    }

    async fn end(self) {
        Api::<Namespace>::all(self.client).delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }

    async fn endpoints(&self, service: &str) {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": true}}], "ports": []});
        api.patch(service, &PatchParams::apply("homelab-test").force(), &Patch::Apply(&slice)).await.unwrap();
    }

    fn apps(&self) -> Api<App> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn apply(&self, tree: &str, spec: Value) {
        let app = json!({"apiVersion": "homelab.dev/v1alpha1", "kind": "App",
            "metadata": {"name": "web", "annotations": {annotation::SOURCE: format!("{}/home@{tree}", self.namespace)}}, "spec": spec});
        self.apps().patch("web", &PatchParams::apply("git").force(), &Patch::Apply(&app)).await.unwrap();
    }

    /// Writes a request in our own name: where the install's policy is in force, no other is let through.
    async fn ask(&self, verb: &str) {
        let text = format!("{verb};by={}", self.user);
        let patch = json!({"metadata": {"annotations": {annotation::REQUEST: text}}});
        self.apps().patch("web", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    async fn until(&self, what: &str, holds: impl Fn(&App) -> bool) -> App {
        for _ in 0..300 {
            let app = self.apps().get_opt("web").await.unwrap();
            if let Some(app) = app.filter(&holds) {
                return app;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what}: {:#?}", self.apps().get_opt("web").await.unwrap().and_then(|app| app.status));
    }
}

fn spec() -> Value {
    json!({
        "helm": {"chart": "./charts/web", "values": {"replicas": 2}},
        "secrets": [{"path": "kv/web/db", "as": {"files": "/run/secrets/db"}}],
        "routes": [{"port": "http"}],
        "strategy": {"blueGreen": {"steps": [50, 100], "keepWarm": "1h"}},
        "gates": [{"name": "me", "approval": {}}],
    })
}

fn phase(app: &App) -> &str {
    app.status.as_ref().map_or("", |status| &status.phase)
}

fn active(app: &App) -> (Option<String>, String) {
    app.status
        .as_ref()
        .and_then(|status| status.active.clone())
        .map(|active| (active.colour, active.revision))
        .unwrap_or_default()
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn an_app_lives() {
    let (world, context) = World::new("lives").await;
    let controller = tokio::spawn(run(context, std::future::pending()));

    world.apply("t1", spec()).await;
    let app = world.until("a missing secret is named", |app| phase(app) == "Stalled").await;
    assert!(app.status.unwrap().message.contains("kv/web/db does not exist"));

    world.secrets.put("kv/web/db", "one");
    world.until("approval is waited for", |app| phase(app) == "Waiting").await;
    world.ask("id=1;verb=approve").await;
    let first = world.until("the first revision serves", |app| phase(app) == "Serving").await;
    assert_eq!(active(&first).0.as_deref(), Some("blue"));
    let status = first.status.as_ref().unwrap();
    assert!(condition::is_true(&status.conditions, condition::READY));
    assert_eq!(status.last_request.as_ref().unwrap().outcome, "accepted");

    world.secrets.put("kv/web/db", "two");
    world.until("a changed secret is a new revision", |app| phase(app) == "Waiting").await;
    world.ask("id=2;verb=promote").await;
    let second =
        world.until("green serves", |app| phase(app) == "Serving" && active(app).0.as_deref() == Some("green")).await;
    assert!(condition::is_true(&second.status.as_ref().unwrap().conditions, crate::status::WARM));
    let reasons: Vec<_> = second.status.as_ref().unwrap().history.iter().map(|entry| entry.reason.clone()).collect();
    assert_eq!(reasons, ["secret kv/web/db is now version 2", "first revision"]);

    world.ask("id=3;verb=rollback;reason=too slow").await;
    let back =
        world.until("blue serves again", |app| active(app) == active(&first) && phase(app) == "RolledBack").await;
    assert_eq!(
        back.status.unwrap().last_request.unwrap().message,
        format!("rolled back to revision {} by {}: too slow", active(&first).1, world.user)
    );

    world
        .deployer
        .change(&format!("{}/web-blue", world.namespace), |state| state.drift = vec!["Deployment web".into()]);
    world.endpoints("web-other").await;
    world
        .until("drift is repaired", |_| {
            world.deployer.state(&format!("{}/web-blue", world.namespace)).is_some_and(|state| state.drift.is_empty())
        })
        .await;

    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let kept = secrets.list(&ListParams::default().labels(&format!("{}=web", label::APP))).await.unwrap();
    assert_eq!(kept.items.len(), 2);
    assert_eq!(
        world.secrets.pins().keys().map(|Holder { app, .. }| app.name.clone()).collect::<Vec<_>>(),
        ["web", "web"]
    );

    world.apps().delete("web", &DeleteParams::default()).await.unwrap();
    for _ in 0..300 {
        if world.apps().get_opt("web").await.unwrap().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(world.secrets.pins().is_empty() && !world.traffic.state(&format!("{}/web", world.namespace)).exists);
    assert!(world.deployer.state(&format!("{}/web-blue", world.namespace)).is_none());
    controller.abort();
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn the_api_server_names_mistakes() {
    let (world, _) = World::new("cel").await;
    let with = |change: fn(&mut Value)| {
        let mut spec = spec();
        change(&mut spec);
        serde_json::from_value::<App>(
            json!({"apiVersion": "homelab.dev/v1alpha1", "kind": "App", "metadata": {"name": "web"}, "spec": spec}),
        )
        .unwrap()
    };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    world.apps().create(&dry, &with(|_| ())).await.unwrap();
    for (app, part) in [
        (with(|spec| spec["routes"] = json!([])), "blueGreen needs exactly one entry in routes"),
        (with(|spec| spec["strategy"]["blueGreen"]["steps"] = json!([50, 10, 100])), "steps rise from 1 to 100"),
        (with(|spec| spec["strategy"]["blueGreen"]["steps"] = json!([50])), "the last is 100"),
        (with(|spec| spec["helm"]["chart"] = json!("oci://x/y")), "relative folder"),
        (with(|spec| spec["gates"] = json!([{"name": "a"}])), "exactly one of http and approval"),
        (with(|spec| spec["secrets"][0]["as"] = json!({"files": "/x", "env": "X_"})), "exactly one of files and env"),
        (
            with(|spec| spec["strategy"] = json!({"blueGreen": {}, "rolling": {}})),
            "exactly one of blueGreen and rolling",
        ),
        (with(|spec| spec["strategy"]["blueGreen"]["keepWarm"] = json!("soon")), "as in 1h30m"),
        (
            with(|spec| {
                spec["strategy"] = json!({"rolling": {}});
                spec["routes"][0]["hosts"] = json!(["a.example"]);
            }),
            "need strategy blueGreen",
        ),
    ] {
        let error = world.apps().create(&dry, &app).await.unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    world.end().await;
}
