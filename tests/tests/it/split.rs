//! Secrets in a process of their own: the daemon that rolls them out asks it over HTTPS.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homelab_tests::case::{Case, ask};
use homelab_tests::cluster::Cluster;
use homelab_tests::daemon::Daemon;
use homelab_tests::forge::Forge;
use homelab_tests::wait;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(150);

/// A case whose `daemon` keeps secrets, and the other one.
struct Split {
    case: Case,
    rollouts: Daemon,
    /// Holds the token.
    _folder: tempfile::TempDir,
}

impl Split {
    async fn new() -> Result<Self> {
        let cluster = Cluster::from_env().await?;
        let namespace = cluster.namespace("split").await?;
        let flag = format!("--daemon-account={namespace}/homelab");
        let keeper = Daemon::start(&cluster, &namespace, &["--enable=secrets", &flag]).await?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("token");
        tokio::fs::write(&file, bound_token(&cluster, &namespace).await?).await?;
        let flags = [
            "--enable=gitops,rollout".to_owned(),
            format!("--secrets-token={}", file.display()),
            format!("--advertise-secrets-url={}", keeper.secrets_url(&cluster)),
        ];
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let rollouts = Daemon::start(&cluster, &namespace, &flags).await?;
        let forge = Forge::start(cluster.host).await?;
        let repo = forge.create("home").await?;
        Ok(Self { case: Case { cluster, namespace, daemon: keeper, forge, repo }, rollouts, _folder: folder })
    }

    async fn finish(mut self) -> Result<()> {
        self.case.finish().await?;
        self.rollouts.hush();
        Ok(())
    }
}

/// A token of a pod of the daemon's ServiceAccount, as the chart projects it into that pod.
async fn bound_token(cluster: &Cluster, namespace: &str) -> Result<String> {
    let meta = json!({"name": "homelab", "namespace": namespace});
    cluster.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})).await?;
    let container = json!({"name": "app", "image": "homelab.dev/testapp:dev", "imagePullPolicy": "IfNotPresent"});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": meta,
        "spec": {"serviceAccountName": "homelab", "containers": [container]},
    });
    cluster.apply(&pod).await?;
    let args = ["create", "token", "homelab", "-n", namespace, "--audience=homelab", "--duration=1h"];
    let bound = ["--bound-object-kind=Pod", "--bound-object-name=homelab"];
    Ok(cluster.kubectl(args.into_iter().chain(bound)).await?.text())
}

async fn serves(url: &str, secret: &str, version: &str) -> Result<()> {
    wait::until(&format!("version {version} with {secret}"), LIMIT, async || match ask(url).await {
        Ok(answer) if answer["secret"]["password"] == secret && answer["version"] == version => Ok(()),
        Ok(answer) => Err(answer.to_string()),
        Err(error) => Err(format!("{error:#}")),
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn rollouts_ask_a_secret_server_elsewhere_and_wait_while_it_is_away() -> Result<()> {
    let mut split = Split::new().await?;
    let url = split.case.running().await?;
    serves(&url, "first", "1").await?;
    split.case.put("db", "password=second").await?;
    serves(&url, "second", "1").await?;
    split.case.settled().await?;

    // Nobody keeps secrets: what serves goes on, nothing new is begun, and the App says what it waits for.
    split.case.daemon.kill().await?;
    split.case.change("VERSION: \"1\"", "VERSION: \"2\"").await?;
    let why = split.case.says("App", "web", ("Reconciling", "True", "SecretsUnavailable")).await?;
    ensure!(
        why.contains("does not answer") && why.contains(&split.case.daemon.secrets_url(&split.case.cluster)),
        "{why}"
    );
    serves(&url, "second", "1").await?;

    // It comes back without knowing any token, and with it what was waited for.
    split.case.daemon.restart().await?;
    serves(&url, "second", "2").await?;
    split.case.settled().await?;
    split.case.put("db", "password=third").await?;
    serves(&url, "third", "2").await?;
    split.case.settled().await?;

    let log = split.rollouts.log();
    ensure!(!log.contains("password") && !log.contains("eyJ"), "a secret or token is in the daemon's log");
    split.finish().await.context("clean up")
}
