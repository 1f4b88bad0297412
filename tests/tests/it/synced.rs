//! SecretSync: a Kubernetes Secret from the store.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homelab_tests::case::{Case, LIMIT};
use homelab_tests::{cluster::condition, wait};
use serde_json::{Value, json};

const OURS: &str = "homelab.dev/v1alpha1";

/// What `default` may do: read the namespace's secrets, and keep Secrets.
async fn allow(case: &Case) -> Result<()> {
    let ns = &case.namespace;
    let rules = json!([{"serviceAccounts": ["default"], "paths": [format!("kv/{ns}/*")], "capabilities": ["read"]}]);
    let meta = json!({"name": "sync", "namespace": ns});
    case.cluster
        .apply(&json!({"apiVersion": OURS, "kind": "SecretPolicy", "metadata": meta, "spec": {"rules": rules}}))
        .await?;
    let verbs = json!(["get", "create", "patch", "delete"]);
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": verbs}]);
    let rbac = "rbac.authorization.k8s.io";
    case.cluster
        .apply(&json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": meta, "rules": rules}))
        .await?;
    let role = json!({"apiGroup": rbac, "kind": "Role", "name": "sync"});
    let subjects = json!([{"kind": "ServiceAccount", "name": "default", "namespace": ns}]);
    let binding = json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": meta, "roleRef": role, "subjects": subjects});
    case.cluster.apply(&binding).await?;
    case.says("SecretPolicy", "sync", ("Ready", "True", "")).await.map(drop)
}

async fn sync(case: &Case, name: &str, spec: Value) -> Result<()> {
    let meta = json!({"name": name, "namespace": case.namespace});
    let object = json!({"apiVersion": OURS, "kind": "SecretSync", "metadata": meta, "spec": spec});
    case.cluster.apply(&object).await.map(drop)
}

/// Waits until a key of a Secret has this value; gives the Secret.
async fn holds(case: &Case, secret: &str, key: &str, value: &str) -> Result<Value> {
    let id = ("v1", "Secret", case.namespace.as_str(), secret);
    let encoded = STANDARD.encode(value);
    case.cluster.wait_for(id, &format!("with the expected {key}"), LIMIT, |s| s["data"][key] == encoded).await
}

async fn ready(case: &Case, name: &str, version: &str) -> Result<()> {
    let id = (OURS, "SecretSync", case.namespace.as_str(), name);
    let version = format!("kv/{}/{version}", case.namespace);
    let good = |o: &Value| {
        condition(o, "Ready").0 == "True"
            && o["status"]["versions"].as_array().is_some_and(|v| v.contains(&json!(version)))
    };
    case.cluster.wait_for(id, &format!("Ready with {version}"), LIMIT, good).await.map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_secret_follows_the_store_is_repaired_and_goes_with_its_sync() -> Result<()> {
    let case = Case::new("sync").await?;
    let ns = case.namespace.clone();
    allow(&case).await?;
    let path = format!("kv/{ns}/db");
    let spec = json!({
        "target": {"labels": {"team": "a"}},
        "data": [{"key": "PASSWORD", "path": path, "property": "password"}],
        "template": {"secrets": [{"name": "db", "path": path}], "data": {"url": "postgres://web:${db.password|url}@pg/web"}},
    });
    sync(&case, "web", spec.clone()).await?;
    let missing = case.says("SecretSync", "web", ("Ready", "False", "SecretNotFound")).await?;
    ensure!(missing.contains(&format!("homelab kv put {path}")), "{missing}");
    case.put("db", "password=planted/one").await?;
    let made = holds(&case, "web", "PASSWORD", "planted/one").await?;
    ready(&case, "web", "db@1").await?;
    ensure!(made["data"]["url"] == STANDARD.encode("postgres://web:planted%2Fone@pg/web"), "the template");
    ensure!(made["metadata"]["labels"]["team"] == "a", "{}", made["metadata"]["labels"]);
    let writers = made["metadata"]["managedFields"].to_string();
    ensure!(writers.contains(r#""manager":"homelab-secrets""#), "{writers}");

    // Equal content in a new version: nothing is written.
    let version = made["metadata"]["resourceVersion"].clone();
    case.put("db", "password=planted/one").await?;
    ready(&case, "web", "db@2").await?;
    let same = holds(&case, "web", "PASSWORD", "planted/one").await?;
    ensure!(same["metadata"]["resourceVersion"] == version, "equal content was written again");

    case.put("db", "password=planted/two").await?;
    holds(&case, "web", "PASSWORD", "planted/two").await?;

    // Edited and deleted by hand.
    let edit = format!(r#"{{"data":{{"PASSWORD":"{}"}}}}"#, STANDARD.encode("by-hand"));
    case.cluster.kubectl(["patch", "secret", "web", "-n", &ns, "-p", &edit]).await?;
    holds(&case, "web", "PASSWORD", "planted/two").await?;
    case.cluster.delete("v1", "Secret", &ns, "web").await?;
    let again = holds(&case, "web", "PASSWORD", "planted/two").await?;
    ensure!(again["metadata"]["uid"] != made["metadata"]["uid"], "it is another one");

    // Another name: the earlier Secret goes.
    let mut renamed = spec.clone();
    renamed["target"]["name"] = json!("web-db");
    sync(&case, "web", renamed.clone()).await?;
    holds(&case, "web-db", "PASSWORD", "planted/two").await?;
    case.gone(("v1", "Secret", &ns, "web")).await?;

    // An orphan stays, what is not orphaned goes.
    renamed["deletion"] = json!("orphan");
    sync(&case, "web", renamed).await?;
    sync(&case, "gone", json!({"dataFrom": [{"path": path}]})).await?;
    holds(&case, "gone", "password", "planted/two").await?;
    let orphan = |s: &Value| s["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty);
    case.cluster.wait_for(("v1", "Secret", &ns, "web-db"), "without an owner", LIMIT, orphan).await?;
    for name in ["web", "gone"] {
        case.cluster.delete(OURS, "SecretSync", &ns, name).await?;
    }
    case.gone(("v1", "Secret", &ns, "gone")).await?;
    holds(&case, "web-db", "PASSWORD", "planted/two").await?;

    unseen(&case).await?;
    case.finish().await
}

/// No planted value is in the daemon's log or an Event.
async fn unseen(case: &Case) -> Result<()> {
    let encoded = STANDARD.encode("planted");
    let encoded = encoded.trim_end_matches('=');
    let log = case.daemon.log();
    ensure!(!log.contains("planted") && !log.contains(&encoded[..8]), "a value is in the daemon's log");
    let events = case.cluster.list("events.k8s.io/v1", "Event", &case.namespace, "").await?;
    let syncs = case.cluster.list(OURS, "SecretSync", &case.namespace, "").await?;
    let told = format!("{events:?} {syncs:?}");
    ensure!(!told.contains("planted") && !told.contains(&encoded[..8]), "a value is in an Event or a status");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn what_can_not_be_synced_says_why_and_leaves_what_is_there() -> Result<()> {
    let case = Case::new("syncbad").await?;
    let ns = case.namespace.clone();
    let path = format!("kv/{ns}/db");
    case.put("db", "password=planted-one").await?;
    sync(&case, "web", json!({"dataFrom": [{"path": path}]})).await?;
    let denied = case.says("SecretSync", "web", ("Stalled", "True", "AccessDenied")).await?;
    ensure!(denied.contains(&format!("{ns}/default may not read {path}")), "{denied}");
    case.told("SecretSync", "web", "may not read").await?;

    // May read the store, may not write Secrets: nothing is written with the daemon's own rights.
    let rules = json!([{"serviceAccounts": ["default"], "paths": [format!("kv/{ns}/*")], "capabilities": ["read"]}]);
    let meta = json!({"name": "sync", "namespace": ns});
    let policy = json!({"apiVersion": OURS, "kind": "SecretPolicy", "metadata": meta, "spec": {"rules": rules}});
    case.cluster.apply(&policy).await?;
    let id = (OURS, "SecretSync", ns.as_str(), "web");
    let by_role = |o: &Value| condition(o, "Ready").2.contains("RoleBinding");
    case.cluster.wait_for(id, "denied by the API server", LIMIT, by_role).await?;
    ensure!(case.cluster.get("v1", "Secret", &ns, "web").await?.is_none(), "written without the account's right");
    allow(&case).await?;
    holds(&case, "web", "password", "planted-one").await?;

    // A Secret of somebody else, and one of another SecretSync.
    let meta = json!({"name": "foreign", "namespace": ns});
    case.cluster
        .apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"password": "mine"}}))
        .await?;
    sync(&case, "foreign", json!({"dataFrom": [{"path": path}]})).await?;
    let said = case.says("SecretSync", "foreign", ("Stalled", "True", "NotOurs")).await?;
    ensure!(said.contains("kubectl label secret foreign"), "{said}");
    holds(&case, "foreign", "password", "mine").await?;
    sync(&case, "second", json!({"target": {"name": "web"}, "dataFrom": [{"path": path}]})).await?;
    let said = case.says("SecretSync", "second", ("Stalled", "True", "TargetTaken")).await?;
    ensure!(said.contains(&format!("SecretSync {ns}/web")), "{said}");

    // What does not render, is missing or does not fit leaves the good Secret as it is.
    let template = |text: &str| json!({"template": {"secrets": [{"name": "db", "path": path}], "data": {"t": text}}});
    for (spec, reason) in [
        (template("${db.none}"), "InvalidTemplate"),
        (json!({"data": [{"key": "a", "path": path, "property": "none"}]}), "KeyNotFound"),
        (json!({"data": [{"key": "a", "path": path, "property": "password", "version": 7}]}), "SecretNotFound"),
        (json!({"data": [{"key": "a", "path": path, "property": "password", "decode": "base64"}]}), "InvalidValue"),
        (json!({"target": {"type": "kubernetes.io/tls"}, "dataFrom": [{"path": path}]}), "TypeDiffers"),
    ] {
        sync(&case, "web", spec).await?;
        case.says("SecretSync", "web", ("Stalled", "True", reason)).await?;
        holds(&case, "web", "password", "planted-one").await?;
    }
    // The API server itself refuses what can never be right.
    for spec in [
        json!({}),
        json!({"data": [{"key": "a b", "path": path}]}),
        json!({"dataFrom": [{"path": path}], "refresh": "1s"}),
    ] {
        let refused = sync(&case, "web", spec.clone()).await;
        ensure!(refused.is_err(), "{spec} was taken");
    }
    immutable(&case, &path).await?;
    owned(&case, &path).await?;
    unseen(&case).await?;
    case.finish().await
}

async fn immutable(case: &Case, path: &str) -> Result<()> {
    let ns = &case.namespace;
    sync(case, "web", json!({"dataFrom": [{"path": path}]})).await?;
    ready(case, "web", "db@1").await?;
    case.cluster.kubectl(["patch", "secret", "web", "-n", ns, "-p", r#"{"immutable":true}"#]).await?;
    case.put("db", "password=planted-two").await?;
    let said = case.says("SecretSync", "web", ("Stalled", "True", "Immutable")).await?;
    ensure!(said.contains("kubectl delete secret web"), "{said}");
    case.cluster.delete("v1", "Secret", ns, "web").await?;
    holds(case, "web", "password", "planted-two").await.map(drop)
}

/// Fields that another program applies are not taken from it.
async fn owned(case: &Case, path: &str) -> Result<()> {
    let ns = &case.namespace;
    sync(case, "shared", json!({"dataFrom": [{"path": path}]})).await?;
    holds(case, "shared", "password", "planted-two").await?;
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shared", "namespace": ns},
        "data": {"password": STANDARD.encode("theirs")}});
    let file = tempfile::NamedTempFile::new()?;
    tokio::fs::write(file.path(), theirs.to_string()).await?;
    let name = file.path().display().to_string();
    let apply = ["apply", "--server-side", "--field-manager=other-program", "--force-conflicts", "-f", &name];
    case.cluster.kubectl(apply).await?;
    let said = case.says("SecretSync", "shared", ("Stalled", "True", "Conflict")).await?;
    ensure!(said.contains("other-program"), "{said}");
    let kept = wait::until("the other program's value", LIMIT, async || {
        let secret = case.cluster.get("v1", "Secret", ns, "shared").await.map_err(|e| e.to_string())?;
        secret.ok_or_else(|| "it is gone".to_owned())
    });
    let kept = kept.await.context("look at the shared Secret")?;
    ensure!(kept["data"]["password"] == STANDARD.encode("theirs"), "it was overruled");
    Ok(())
}

async fn may(case: &Case, capabilities: &[&str]) -> Result<()> {
    let ns = &case.namespace;
    let rule =
        json!({"serviceAccounts": ["default"], "paths": [format!("kv/{ns}/made")], "capabilities": capabilities});
    let meta = json!({"name": "make", "namespace": ns});
    let policy = json!({"apiVersion": OURS, "kind": "SecretPolicy", "metadata": meta, "spec": {"rules": [rule]}});
    case.cluster.apply(&policy).await.map(drop)
}

async fn rotate(case: &Case, word: &str) -> Result<()> {
    let annotation = format!("homelab.dev/rotate={word}");
    let args = ["annotate", "--overwrite", "secretsync", "made", "-n", &case.namespace, &annotation];
    case.cluster.kubectl(args).await.map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn what_is_not_there_is_generated_rotated_on_request_and_never_written_over() -> Result<()> {
    let case = Case::new("generate").await?;
    let path = format!("kv/{}/made", case.namespace);
    allow(&case).await?;
    let values = json!([
        {"key": "user", "text": "web"}, {"key": "password", "password": {"length": 20}}, {"key": "id", "uuid": {}},
        {"key": "signing", "keyPair": {}},
    ]);
    let spec = json!({"generate": [{"path": path, "values": values}], "dataFrom": [{"path": path}]});
    sync(&case, "made", spec).await?;
    let denied = case.says("SecretSync", "made", ("Ready", "False", "AccessDenied")).await?;
    ensure!(denied.contains("create") && denied.contains(&path), "{denied}");

    may(&case, &["create"]).await?;
    ready(&case, "made", "made@1").await?;
    let first = holds(&case, "made", "user", "web").await?["data"].clone();
    let text = |data: &Value, key: &str| -> Result<String> {
        Ok(String::from_utf8(STANDARD.decode(data[key].as_str().context("a key is there")?)?)?)
    };
    ensure!(text(&first, "password")?.len() == 20 && text(&first, "id")?.len() == 36, "lengths");
    ensure!(text(&first, "signing")?.starts_with("-----BEGIN PRIVATE KEY-----"), "a private key");
    ensure!(text(&first, "signing.pub")?.starts_with("-----BEGIN PUBLIC KEY-----"), "and its public half");

    rotate(&case, "monday").await?;
    let denied = case.says("SecretSync", "made", ("Ready", "False", "AccessDenied")).await?;
    ensure!(denied.contains("update"), "{denied}");
    may(&case, &["create", "update"]).await?;
    ready(&case, "made", "made@2").await?;
    let second = holds(&case, "made", "user", "web").await?["data"].clone();
    ensure!(["password", "id", "signing"].iter().all(|key| first[key] != second[key]), "all of them are new");

    case.put("made", "password=mine").await?;
    holds(&case, "made", "password", "mine").await?;
    rotate(&case, "tuesday").await?;
    wait::stays("a person's value", std::time::Duration::from_secs(3), async || {
        let secret = case.cluster.get("v1", "Secret", &case.namespace, "made").await;
        match secret {
            Ok(Some(secret)) if secret["data"]["password"] == STANDARD.encode("mine") => Ok(()),
            other => Err(format!("{:?}", other.map(|found| found.is_some()))),
        }
    })
    .await?;
    let log = case.daemon.log();
    for value in [text(&first, "password")?, text(&second, "id")?] {
        ensure!(!log.contains(&value), "a value is in the daemon's log");
    }
    case.finish().await
}
