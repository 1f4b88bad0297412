//! A daemon and External Secrets' controller, both of one namespace.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use homelab_tests::case::Case;
use homelab_tests::cluster::condition;
use homelab_tests::wait;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// Longest wait for anything that should happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub(crate) case: Case,
    controller: Controller,
}

/// External Secrets, killed when dropped.
struct Controller {
    _child: Child,
    log: PathBuf,
    _folder: tempfile::TempDir,
    passed: bool,
}

/// Somebody with a token of the secret server.
pub(crate) struct Admin {
    client: reqwest::Client,
    server: String,
    pub(crate) token: String,
}

impl World {
    pub(crate) async fn new(stem: &str) -> Result<Self> {
        let case = Case::new(stem).await?;
        let program = std::env::var_os("HOMELAB_TEST_EXTERNAL_SECRETS").map(PathBuf::from);
        let program = program.context("run `cargo xtask test --suite external-secrets`")?;
        let folder = program.parent().context("a program is in a folder")?.display().to_string();
        // The definitions of its kinds lie beside it.
        case.cluster.kubectl(["apply", "--server-side", "--force-conflicts", "-f", &folder]).await?;
        for kind in ["secretstores", "externalsecrets", "pushsecrets"] {
            let name = format!("{kind}.external-secrets.io");
            let id = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", name.as_str());
            case.cluster.wait_healthy(id, LIMIT).await?;
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "eso", "namespace": case.namespace}});
        case.cluster.apply(&account).await?;
        let controller = Controller::start(&program, &case)?;
        Ok(Self { case, controller })
    }

    pub(crate) fn ns(&self) -> &str {
        &self.case.namespace
    }

    pub(crate) fn server(&self) -> String {
        self.case.daemon.secrets_url(&self.case.cluster)
    }

    pub(crate) async fn apply(&self, object: &Value) -> Result<()> {
        self.case.cluster.apply(object).await.map(drop)
    }

    pub(crate) async fn secret(&self, name: &str, key: &str, value: &str) -> Result<()> {
        let meta = json!({"name": name, "namespace": self.ns()});
        self.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {key: value}})).await
    }

    /// Waits until an object of External Secrets is Ready.
    pub(crate) async fn ready(&self, kind: &str, name: &str) -> Result<()> {
        self.stands(kind, name, "True").await
    }

    /// Waits until it says that it can not be.
    pub(crate) async fn fails(&self, kind: &str, name: &str) -> Result<()> {
        self.stands(kind, name, "False").await
    }

    async fn stands(&self, kind: &str, name: &str, status: &str) -> Result<()> {
        let version = if kind == "PushSecret" { "v1alpha1" } else { "v1" };
        let id = (format!("external-secrets.io/{version}"), kind, self.ns(), name);
        let id = (id.0.as_str(), id.1, id.2, id.3);
        let good = |object: &Value| condition(object, "Ready").0 == status;
        self.case.cluster.wait_for(id, &format!("Ready={status}"), LIMIT, good).await.map(drop)
    }

    /// Waits until a Secret holds this.
    pub(crate) async fn holds(&self, name: &str, key: &str, value: &str) -> Result<()> {
        let encoded = STANDARD.encode(value);
        let good = |secret: &Value| secret["data"][key] == encoded.as_str();
        self.case.cluster.wait_for(("v1", "Secret", self.ns(), name), "the value", LIMIT, good).await.map(drop)
    }

    /// Waits until the secret server has this.
    pub(crate) async fn stored(&self, name: &str, key: &str, value: &str) -> Result<()> {
        let path = format!("kv/{}/{name}", self.ns());
        wait::until(&format!("{path} to be written"), LIMIT, async || {
            let got = self.case.daemon.cli(&self.case.cluster, ["kv", "get", &path, "--field", key]).await;
            let got = got.map_err(|error| format!("{error:#}"))?;
            if got.text() == value { Ok(()) } else { Err(format!("{} {}", got.text(), got.complaint())) }
        })
        .await
    }

    /// Waits for an Event with this text.
    pub(crate) async fn told(&self, kind: &str, name: &str, text: &str) -> Result<()> {
        self.case.told(kind, name, text).await
    }

    /// The audience of a token that nobody said an audience for.
    pub(crate) async fn own_audience(&self) -> Result<String> {
        let token = self.case.cluster.kubectl(["create", "token", "eso", "-n", self.ns()]).await?.text();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).context("a token has three parts")?)?;
        let claims: Value = serde_json::from_slice(&claims)?;
        Ok(claims["aud"][0].as_str().context("a token has an audience")?.to_owned())
    }

    /// The owner, as they use Vault's API.
    pub(crate) async fn admin(&self) -> Result<Admin> {
        let args = ["create", "token", "homelab-admin", "-n", self.ns(), "--audience=homelab"];
        let jwt = self.case.cluster.kubectl(args).await?.text();
        let map = self.case.cluster.get("v1", "ConfigMap", self.ns(), "homelab-ca").await?;
        let map = map.context("there is no ConfigMap homelab-ca")?;
        let ca = reqwest::Certificate::from_pem(map["data"]["ca.crt"].as_str().unwrap_or_default().as_bytes())?;
        let client = reqwest::Client::builder().add_root_certificate(ca).build()?;
        let mut admin = Admin { client, server: self.server(), token: String::new() };
        let login = json!({"jwt": jwt, "role": "homelab-admin"});
        let made = admin.call("POST", "auth/kubernetes/login", login).await?;
        admin.token = made["auth"]["client_token"].as_str().context("a login gives a token")?.to_owned();
        Ok(admin)
    }

    pub(crate) async fn finish(mut self) -> Result<()> {
        for kind in ["pushsecrets", "externalsecrets", "secretstores"] {
            self.case.cluster.kubectl(["delete", kind, "--all", "-n", &self.case.namespace, "--timeout=60s"]).await?;
        }
        self.controller.passed = true;
        self.case.finish().await
    }
}

impl Admin {
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let mut request = self.client.request(method.parse()?, format!("{}/v1/{path}", self.server));
        if !self.token.is_empty() {
            request = request.header("X-Vault-Token", &self.token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{method} {path}: {status} {text}");
        if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }
}

impl Controller {
    fn start(program: &PathBuf, case: &Case) -> Result<Self> {
        let folder = tempfile::TempDir::new()?;
        let log = folder.path().join("controller.log");
        let file = std::fs::File::create(&log)?;
        let mut command = Command::new(program);
        command.args([
            &format!("--namespace={}", case.namespace),
            "--metrics-addr=0",
            "--live-addr=127.0.0.1:0",
            "--store-requeue-interval=5s",
            "--enable-cluster-store-reconciler=false",
            "--enable-cluster-external-secret-reconciler=false",
            "--enable-cluster-push-secret-reconciler=false",
        ]);
        command.env("KUBECONFIG", &case.cluster.kubeconfig).stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("can not start {}", program.display()))?;
        Ok(Self { _child: child, log, _folder: folder, passed: false })
    }
}

impl Drop for Controller {
    /// A test that did not pass shows what the controller said.
    fn drop(&mut self) {
        if !self.passed {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            #[expect(clippy::print_stderr, reason = "a failed test shows the controller's log")]
            {
                eprintln!("--- External Secrets' log ends:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
        }
    }
}
