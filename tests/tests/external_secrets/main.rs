//! External Secrets' own controller against the daemon's secret server: its Vault provider, as its users set it up.
//!
//! Run by `cargo xtask test --suite external-secrets`, which has the program and a cluster.

mod objects;
mod world;

use anyhow::{Context as _, Result, ensure};
use homelab_tests::wait;
use serde_json::{Value, json};

use objects::{by_policy, external, pushed, store};
use world::{LIMIT, World};

#[tokio::test]
async fn a_serviceaccount_reads_finds_and_pushes_what_its_secretpolicy_allows() -> Result<()> {
    let world = World::new("eso-policy").await?;
    let ns = world.ns();
    world.apply(&by_policy(ns, &["create", "read", "update", "delete", "list"])).await?;
    world.case.says("SecretPolicy", "eso", ("Ready", "True", "")).await?;
    world.case.put("db", "password=first").await?;
    // The role needs not be written: what the account may do is what the SecretPolicy says.
    let login = json!({"kubernetes": {"mountPath": "kubernetes", "role": "homelab-eso",
        "serviceAccountRef": {"name": "eso", "audiences": ["homelab"]}}});
    world.apply(&store(ns, "homelab", &world.server(), &login)).await?;
    world.ready("SecretStore", "homelab").await?;

    let one =
        json!({"data": [{"secretKey": "word", "remoteRef": {"key": format!("{ns}/db"), "property": "password"}}]});
    world.apply(&external(ns, "one", "homelab", &one)).await?;
    world.holds("one", "word", "first").await?;
    world.case.put("db", "password=second").await?;
    world.holds("one", "word", "second").await?;
    let older = json!({"data": [{"secretKey": "word",
        "remoteRef": {"key": format!("{ns}/db"), "property": "password", "version": "1"}}]});
    world.apply(&external(ns, "older", "homelab", &older)).await?;
    world.holds("older", "word", "first").await?;

    let all = json!({"dataFrom": [{"extract": {"key": format!("{ns}/db")}}]});
    world.apply(&external(ns, "all", "homelab", &all)).await?;
    world.holds("all", "password", "second").await?;
    let found = json!({"dataFrom": [{"find": {"path": ns, "name": {"regexp": "db$"}}}]});
    world.apply(&external(ns, "found", "homelab", &found)).await?;
    world.holds("found", &format!("{ns}_db"), r#"{"password":"second"}"#).await?;

    world.secret("source", "token", "pushed-once").await?;
    world.apply(&pushed(ns, "push", "homelab", ("source", "token"), &format!("{ns}/pushed"))).await?;
    world.ready("PushSecret", "push").await?;
    world.stored("pushed", "token", "pushed-once").await?;
    world.secret("source", "token", "pushed-twice").await?;
    world.stored("pushed", "token", "pushed-twice").await?;

    let other = json!({"data": [{"secretKey": "word", "remoteRef": {"key": "other/db", "property": "password"}}]});
    world.apply(&external(ns, "denied", "homelab", &other)).await?;
    world.fails("ExternalSecret", "denied").await?;
    let advice = "add to a ClusterSecretPolicy";
    world.told("ExternalSecret", "denied", advice).await?;
    world.finish().await
}

#[tokio::test]
async fn roles_of_vaults_language_let_in_who_they_name() -> Result<()> {
    let world = World::new("eso-roles").await?;
    let ns = world.ns();
    world.case.put("db", "password=first").await?;
    let admin = world.admin().await?;
    let policy = format!(r#"path "kv/data/{ns}/*" {{ capabilities = ["read"] }}"#);
    admin.call("PUT", "sys/policies/acl/eso", json!({"policy": policy})).await?;

    // Without `audiences` External Secrets sends a token that is made for the API server.
    let audience = world.own_audience().await?;
    let role = json!({"audience": audience, "bound_service_account_names": "eso",
        "bound_service_account_namespaces": ns, "token_policies": "eso", "token_ttl": "10m"});
    let made = admin.call("POST", "auth/kubernetes/role/eso", role).await?;
    ensure!(made["warnings"].to_string().contains("API server's own"), "{made}");
    let login = json!({"kubernetes": {"mountPath": "kubernetes", "role": "eso", "serviceAccountRef": {"name": "eso"}}});
    world.apply(&store(ns, "own-audience", &world.server(), &login)).await?;
    world.ready("SecretStore", "own-audience").await?;

    admin.call("POST", "sys/auth/approle", json!({"type": "approle"})).await?;
    admin.call("POST", "auth/approle/role/eso", json!({"token_policies": "eso"})).await?;
    let id = admin.call("GET", "auth/approle/role/eso/role-id", Value::Null).await?;
    let given = admin.call("POST", "auth/approle/role/eso/secret-id", json!({})).await?;
    world.secret("approle", "id", text(&given, "secret_id")?).await?;
    let login = json!({"appRole": {"path": "approle", "roleId": text(&id, "role_id")?,
        "secretRef": {"name": "approle", "key": "id"}}});
    world.apply(&store(ns, "approle", &world.server(), &login)).await?;
    world.ready("SecretStore", "approle").await?;

    world.secret("token", "token", &admin.token).await?;
    let login = json!({"tokenSecretRef": {"name": "token", "key": "token"}});
    world.apply(&store(ns, "token", &world.server(), &login)).await?;
    world.ready("SecretStore", "token").await?;

    for (name, by) in [("a", "own-audience"), ("b", "approle"), ("c", "token")] {
        let wish = json!({"data": [{"secretKey": "word",
            "remoteRef": {"key": format!("{ns}/db"), "property": "password"}}]});
        world.apply(&external(ns, name, by, &wish)).await?;
        world.holds(name, "word", "first").await?;
    }
    world.secret("token", "token", "hls.nonsense").await?;
    world.apply(&store(ns, "nonsense", &world.server(), &login)).await?;
    world.fails("SecretStore", "nonsense").await?;

    // Reading alone does not let it push.
    world.secret("source", "token", "never").await?;
    world.apply(&pushed(ns, "push", "approle", ("source", "token"), &format!("{ns}/pushed"))).await?;
    world.fails("PushSecret", "push").await?;
    wait::until("nothing to be pushed", LIMIT, async || {
        let path = format!("kv/{ns}/pushed");
        let got = world.case.daemon.cli(&world.case.cluster, ["kv", "get", &path]).await.map_err(|e| e.to_string())?;
        if got.status.success() { Err("it was pushed".into()) } else { Ok(()) }
    })
    .await?;
    world.finish().await
}

fn text<'a>(answer: &'a Value, name: &str) -> Result<&'a str> {
    answer["data"][name].as_str().with_context(|| format!("the answer has no {name}"))
}
