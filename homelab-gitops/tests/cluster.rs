//! The controller against a real API server.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: it runs git, says how long each thing took, and ends by panicking"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homelab_core::client::{Clients, Kinds};
use homelab_core::events::Events;
use homelab_core::watch::Watches;
use homelab_gitops::api::v1alpha1::GitSync;
use homelab_gitops::backend::gix::GixSource;
use homelab_gitops::controller::{self, Context};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};

struct World {
    client: Client,
    namespace: String,
    repo: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<()>>,
}

fn git(dir: &Path, args: &[&str]) {
    let config = ["-c", "user.name=t", "-c", "user.email=t@t"];
    let output = Command::new("git").current_dir(dir).args(config).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl World {
    async fn new(name: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config::infer().await.expect("a kubeconfig of a cluster");
        let client = Client::try_from(config).unwrap();
        let namespace = format!("gitops-{name}-{:x}", unique());
        let force = PatchParams::apply("homelab-gitops-test").force();
        for crd in homelab_gitops::api::crds() {
            Api::<CustomResourceDefinition>::all(client.clone())
                .patch(&crd.name_any(), &force, &Patch::Apply(&crd))
                .await
                .unwrap();
        }
        // Where the kind is new, the API server serves it a moment later.
        while Api::<GitSync>::all(client.clone()).list(&ListParams::default().limit(1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let repo = tempfile::tempdir().unwrap();
        git(repo.path(), &["init", "--quiet", "--initial-branch=main", "home"]);
        let mut world = Self { client, namespace, repo, stop: None, task: None };
        world.bind().await;
        world.start().await;
        world
    }

    /// The account of the GitSync may do everything.
    async fn bind(&self) {
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": self.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": self.namespace}],
        }))
        .unwrap();
        Api::<ClusterRoleBinding>::all(self.client.clone()).create(&PostParams::default(), &binding).await.unwrap();
    }

    async fn start(&mut self) {
        let config = Config::infer().await.unwrap();
        let clients = Clients::new(config).unwrap();
        let own = clients.own();
        let source = GixSource::new(self.repo.path().join("data")).with_local(self.repo.path());
        let context = Context {
            kinds: Arc::new(Kinds::new(own.clone())),
            watches: Watches::new(own.clone()),
            events: Events::new(own, "homelab-gitops", "test"),
            clients,
            source: Arc::new(source),
            sealed: None,
            namespaces: Some(vec![self.namespace.clone()]),
        };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        self.stop = Some(stop);
        self.task = Some(tokio::spawn(async move {
            controller::run(context, async move { drop(stopped.await) }).await.unwrap();
        }));
    }

    fn push(&self, files: &[(&str, Option<&str>)]) {
        let work = self.repo.path().join("home");
        for (path, text) in files {
            let file = work.join(path);
            match text {
                Some(text) => {
                    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                    std::fs::write(file, text.replace("NAMESPACE", &self.namespace)).unwrap();
                }
                None => std::fs::remove_file(file).unwrap(),
            }
        }
        git(&work, &["add", "-A"]);
        git(&work, &["commit", "--quiet", "--allow-empty", "-m", "change"]);
    }

    fn syncs(&self) -> Api<GitSync> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn configs(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn sync(&self, spec: Value) {
        let mut spec = spec;
        let url = format!("file://{}/home", self.repo.path().display());
        spec.as_object_mut().unwrap().entry("url").or_insert_with(|| url.into());
        let object: GitSync = serde_json::from_value(json!({
            "apiVersion": "homelab.dev/v1alpha1", "kind": "GitSync", "metadata": {"name": "home"}, "spec": spec,
        }))
        .unwrap();
        self.syncs().create(&PostParams::default(), &object).await.unwrap();
    }

    /// Waits until Ready has this status and its reason and message hold this text; returns the GitSync.
    async fn ready(&self, status: &str, text: &str) -> GitSync {
        let start = Instant::now();
        let mut last = String::new();
        while start.elapsed() < Duration::from_secs(40) {
            let sync = self.syncs().get("home").await.unwrap();
            let conditions = sync.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
            if let Some(ready) = conditions.iter().find(|c| c.type_ == "Ready") {
                last = format!("{} {} {}", ready.status, ready.reason, ready.message);
                if ready.status == status && last.contains(text) {
                    println!("  {:?}: {last}", start.elapsed());
                    return sync;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("wanted Ready={status} {text}, last was: {last}");
    }

    async fn until(&self, what: &str, mut check: impl AsyncFnMut(&Self) -> bool) {
        let start = Instant::now();
        while !check(self).await {
            assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("  {:?}: {what}", start.elapsed());
    }

    /// Asks for a poll.
    async fn poke(&self) {
        let now = format!("{:?}", std::time::SystemTime::now());
        let patch = json!({"metadata": {"annotations": {"homelab.dev/sync-requested-at": now}}});
        self.syncs().patch("home", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn end(mut self) {
        if let (Some(stop), Some(task)) = (self.stop.take(), self.task.take()) {
            let _ = stop.send(());
            tokio::time::timeout(Duration::from_secs(10), task).await.expect("it stops").unwrap();
        }
        for sync in self.syncs().list(&ListParams::default()).await.unwrap() {
            let patch = json!({"metadata": {"finalizers": null}});
            let _ = self.syncs().patch(&sync.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        }
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        let _ = bindings.delete(&self.namespace, &DeleteParams::default()).await;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let _ = namespaces.delete(&self.namespace, &DeleteParams::default()).await;
    }
}

/// Not taken by any test before, so that one cluster can serve many runs.
fn unique() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros()
}

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: {value}}}\n")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn a_repository_is_held() {
    let world = World::new("held").await;
    world.push(&[
        ("apps/a.yaml", Some(&config("a", "one"))),
        ("apps/b.yaml", Some(&config("b", "one"))),
        ("README.md", Some("hi")),
    ]);
    world.sync(json!({"path": "apps", "interval": "5m", "prune": true})).await;
    let sync = world.ready("True", "2 objects, all healthy").await;
    let status = sync.status.unwrap();
    assert_eq!(status.last_applied_revision, status.last_attempted_revision);
    assert_eq!(sync.metadata.annotations.unwrap()["applyset.kubernetes.io/contains-group-kinds"], "ConfigMap");
    let a = world.configs().get("a").await.unwrap();
    assert_eq!(a.annotations()["homelab.dev/account"], format!("{}/default", world.namespace));
    assert_eq!(a.managed_fields()[0].manager.as_deref(), Some("homelab-gitops"));

    println!("drift");
    world.configs().delete("a", &DeleteParams::default()).await.unwrap();
    world.until("a deleted object is back", async |w| w.configs().get_opt("a").await.unwrap().is_some()).await;
    let edit = json!({"data": {"key": "edited", "other": "mine"}});
    world
        .configs()
        .patch(
            "b",
            &PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() },
            &Patch::Merge(edit),
        )
        .await
        .unwrap();
    world
        .until("a changed field is undone", async |w| w.configs().get("b").await.unwrap().data.unwrap()["key"] == "one")
        .await;
    assert_eq!(world.configs().get("b").await.unwrap().data.unwrap()["other"], "mine", "fields of others stay");

    println!("push, prune");
    world.push(&[("apps/a.yaml", Some(&config("a", "two"))), ("apps/b.yaml", None)]);
    world.poke().await;
    world.until("a change arrives", async |w| w.configs().get("a").await.unwrap().data.unwrap()["key"] == "two").await;
    world.until("what is gone from Git is gone", async |w| w.configs().get_opt("b").await.unwrap().is_none()).await;
    let sync = world.ready("True", "1 objects").await;
    assert_eq!(
        sync.status.unwrap().last_handled_sync,
        sync.metadata.annotations.unwrap().get("homelab.dev/sync-requested-at").cloned()
    );

    println!("nothing moves when nothing changes");
    let before = world.syncs().get("home").await.unwrap().resource_version();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.syncs().get("home").await.unwrap().resource_version(), before);

    println!("deletion");
    world.syncs().delete("home", &DeleteParams::default()).await.unwrap();
    world
        .until("the GitSync and what it held are gone", async |w| {
            w.syncs().get_opt("home").await.unwrap().is_none() && w.configs().get_opt("a").await.unwrap().is_none()
        })
        .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn every_mistake_is_named_and_changes_nothing() {
    let world = World::new("mistakes").await;
    world.push(&[("a.yaml", Some(&config("a", "one")))]);
    world.sync(json!({"interval": "5m", "prune": true})).await;
    world.ready("True", "1 objects").await;

    println!("a broken file");
    world.push(&[("bad.yaml", Some("apiVersion: v1\nkind: [\n")), ("a.yaml", Some(&config("a", "two")))]);
    world.poke().await;
    world.ready("False", "RenderFailed bad.yaml:").await;
    assert_eq!(world.configs().get("a").await.unwrap().data.unwrap()["key"], "one", "nothing is written");
    world.configs().delete("a", &DeleteParams::default()).await.unwrap();
    world.until("drift is repaired meanwhile", async |w| w.configs().get_opt("a").await.unwrap().is_some()).await;

    println!("an unknown field");
    let typo = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replica: 1\n  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}\n";
    world.push(&[("bad.yaml", None), ("web.yaml", Some(typo))]);
    world.poke().await;
    world.ready("False", "ObjectInvalid web.yaml:1: Deployment.apps").await;
    assert_eq!(world.configs().get("a").await.unwrap().data.unwrap()["key"], "one", "nothing is written");

    println!("a missing namespace");
    world.push(&[(
        "web.yaml",
        Some("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: NAMESPACE-nowhere}\n"),
    )]);
    world.poke().await;
    world.ready("False", "put the Namespace into Git").await;

    println!("an empty folder");
    world.push(&[("web.yaml", None), ("a.yaml", None)]);
    world.poke().await;
    world.ready("False", "PathEmpty").await;
    assert!(world.configs().get_opt("a").await.unwrap().is_some(), "nothing is deleted");

    println!("mended");
    world.push(&[("a.yaml", Some(&config("a", "three")))]);
    world.poke().await;
    world.ready("True", "1 objects").await;

    println!("no rights");
    let bindings: Api<ClusterRoleBinding> = Api::all(world.client.clone());
    bindings.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.push(&[("a.yaml", Some(&config("a", "four")))]);
    world.poke().await;
    world.ready("False", "AccountNotAllowed").await;
    world.bind().await;

    println!("Git is down");
    std::fs::rename(world.repo.path().join("home"), world.repo.path().join("away")).unwrap();
    world.poke().await;
    world.ready("False", "UrlRefused").await;
    std::fs::rename(world.repo.path().join("away"), world.repo.path().join("home")).unwrap();
    world.poke().await;
    world.ready("True", "1 objects").await;

    println!("wrong URL, bad credentials");
    for (spec, text) in [
        (json!({"url": "http://127.0.0.1:1/x.git"}), "GitUnreachable"),
        (json!({"url": "http://no-such-host.invalid/x.git"}), "HostNotFound"),
        (json!({"secretRef": {"name": "nowhere"}, "url": "http://127.0.0.1:1/x.git"}), "Secret"),
    ] {
        let patch = json!({"spec": spec});
        world.syncs().patch("home", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        world.ready("False", text).await;
    }
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    let reasons: Vec<String> =
        events.list(&ListParams::default()).await.unwrap().into_iter().filter_map(|e| e.reason).collect();
    for reason in ["RenderFailed", "ObjectInvalid", "PathEmpty", "GitUnreachable"] {
        assert!(reasons.iter().any(|r| r == reason), "{reason} in {reasons:?}");
    }
    world.end().await;
}

const CRD: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: GROUP}\nspec:\n  group: things.test\n  scope: Namespaced\n  names: {kind: KIND, plural: PLURAL, singular: SINGULAR}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}\n";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn a_kind_its_object_and_their_namespace_come_in_one_commit() {
    let world = World::new("kinds").await;
    let id = unique();
    let (kind, plural) = (format!("Thing{id}"), format!("thing{id}s"));
    let crd = CRD
        .replace("GROUP", &format!("{plural}.things.test"))
        .replace("KIND", &kind)
        .replace("PLURAL", &plural)
        .replace("SINGULAR", &kind.to_lowercase());
    let thing = format!(
        "apiVersion: things.test/v1\nkind: {kind}\nmetadata: {{name: one, namespace: NAMESPACE-new}}\nspec: {{size: 1}}\n"
    );
    world.push(&[
        ("a-thing.yaml", Some(&thing)),
        ("b-namespace.yaml", Some("apiVersion: v1\nkind: Namespace\nmetadata: {name: NAMESPACE-new, annotations: {homelab.dev/prune: confirm}}\n")),
        ("c-crd.yaml", Some(&crd)),
    ]);
    world.sync(json!({"interval": "5m", "prune": true})).await;
    world.ready("True", "3 objects").await;

    println!("a wrong custom resource is refused by the dry-run of its stage");
    world.push(&[("a-thing.yaml", Some(&thing.replace("size: 1", "sise: 1")))]);
    world.poke().await;
    world.ready("False", "ObjectInvalid a-thing.yaml:1").await;

    println!("a kind that nobody knows waits, the rest is applied");
    world.push(&[
        ("a-thing.yaml", Some(&thing)),
        ("other.yaml", Some("apiVersion: nowhere.test/v1\nkind: Nothing\nmetadata: {name: x}\n")),
        ("cm.yaml", Some(&config("a", "one"))),
    ]);
    world.poke().await;
    world.until("the rest is applied", async |w| w.configs().get_opt("a").await.unwrap().is_some()).await;
    world.ready("Unknown", "does not know this kind").await;

    println!("data asks before it goes");
    world.push(&[("a-thing.yaml", None), ("b-namespace.yaml", None), ("other.yaml", None), ("c-crd.yaml", None)]);
    world.poke().await;
    let sync = world.ready("True", "objects").await;
    assert!(sync.status.unwrap().waiting_for.iter().any(|w| w.contains("prune-confirmed=")));
    let resource = kube::discovery::ApiResource::from_gvk_with_plural(
        &kube::core::GroupVersionKind::gvk("things.test", "v1", &kind),
        &plural,
    );
    let things: Api<DynamicObject> =
        Api::namespaced_with(world.client.clone(), &format!("{}-new", world.namespace), &resource);
    world.until("the custom resource is pruned", async |_| things.get_opt("one").await.unwrap().is_none()).await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let new = namespaces.get(&format!("{}-new", world.namespace)).await.unwrap();
    let confirm = json!({"metadata": {"annotations": {"homelab.dev/prune-confirmed": new.uid().unwrap()}}});
    namespaces.patch(&new.name_any(), &PatchParams::default(), &Patch::Merge(confirm)).await.unwrap();
    world
        .until("the Namespace is deleted once a person agreed", async |w| {
            let namespaces: Api<Namespace> = Api::all(w.client.clone());
            namespaces.get_opt(&new.name_any()).await.unwrap().is_none_or(|n| n.metadata.deletion_timestamp.is_some())
        })
        .await;
    let crds: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let _ = crds.delete(&format!("{plural}.things.test"), &DeleteParams::default()).await;
    world.end().await;
}
