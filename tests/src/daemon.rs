//! `homelab` on this host: the daemon, to start, kill and start again, and the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use homelab_core::process::{Output, Program};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::cluster::{Cluster, documents};
use crate::wait;

/// The program `homelab`: `HOMELAB_BIN`, else what cargo built.
pub fn binary() -> Result<PathBuf> {
    let named = std::env::var_os("HOMELAB_BIN").filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder =
        || std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::workspace().join("target"), PathBuf::from);
    let file = named.unwrap_or_else(|| folder().join("debug/homelab"));
    if !file.is_file() {
        bail!(
            "{} does not exist: build it (`cargo build -p homelab-bin`) or name another by HOMELAB_BIN",
            file.display()
        );
    }
    Ok(file)
}

/// `homelab ARGS`, as an administrator.
pub fn homelab(cluster: &Cluster) -> Result<Program> {
    Ok(cluster.program("HOMELAB_BIN", &binary()?.to_string_lossy()).timeout(Duration::from_secs(180)))
}

/// Ports of one daemon.
#[derive(Clone, Copy, Debug)]
struct Ports {
    secrets: u16,
    admission: u16,
    hooks: u16,
    metrics: u16,
}

/// A daemon of its own namespaces, on this host. It is killed when dropped.
pub struct Daemon {
    /// The namespace that it counts as its own, and watches.
    pub namespace: String,
    /// Store and log; they go with it.
    data: TempDir,
    logs: PathBuf,
    ports: Ports,
    command: Vec<OsString>,
    kubeconfig: PathBuf,
    child: Option<Child>,
    /// The test passed: its log is of no interest.
    quiet: bool,
}

impl Daemon {
    /// Starts one for `namespace` and waits until it leads; a flag in `more` takes the place of the same one of ours.
    pub async fn start(cluster: &Cluster, namespace: &str, more: &[&str]) -> Result<Self> {
        install(cluster).await?;
        owner(cluster, namespace).await?;
        let data = TempDir::new()?;
        let [secrets, admission, hooks, metrics] = free_ports()?;
        let ports = Ports { secrets, admission, hooks, metrics };
        let folder = data.path().join("data").display().to_string();
        let mut command: Vec<OsString> = vec![binary()?.into()];
        let args = [
            "daemon".to_owned(),
            format!("--namespaces={namespace}"),
            format!("--daemon-namespace={namespace}"),
            format!("--data-dir={folder}"),
            format!("--listen-secrets=0.0.0.0:{secrets}"),
            format!("--listen-admission=0.0.0.0:{admission}"),
            format!("--listen-hooks=0.0.0.0:{hooks}"),
            format!("--listen-metrics=0.0.0.0:{metrics}"),
            format!("--advertise-secrets-url={}", cluster.host_url("https", secrets)),
            format!("--webhook-url={}", cluster.host_url("https", admission)),
            "--lease-duration=5s".to_owned(),
        ];
        let replaced = |arg: &String| more.iter().any(|m| m.split('=').next() == arg.split('=').next());
        command.extend(args.into_iter().filter(|arg| !replaced(arg)).map(OsString::from));
        command.extend(more.iter().map(OsString::from));
        let logs = data.path().join("daemon.log");
        let kubeconfig = cluster.kubeconfig.clone();
        let mut daemon =
            Self { namespace: namespace.into(), data, logs, ports, command, kubeconfig, child: None, quiet: false };
        daemon.restart().await?;
        Ok(daemon)
    }

    /// Starts it again after [`Daemon::kill`] or [`Daemon::stop`], with its data.
    pub async fn restart(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready().await
    }

    /// Starts it again and waits for nothing.
    pub fn launch(&mut self) -> Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.logs)?;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).env("KUBECONFIG", &self.kubeconfig).env("RUST_LOG", "info,homelab=debug");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        self.child = Some(command.spawn().with_context(|| format!("can not start {}", self.command[0].display()))?);
        Ok(())
    }

    /// Waits until it is not ready, and says `why`.
    pub async fn not_ready(&self, why: &str) -> Result<()> {
        let client = reqwest::Client::new();
        let url = format!("http://127.0.0.1:{}/readyz", self.ports.metrics);
        wait::until(&format!("the daemon to wait for {why}"), Duration::from_secs(60), async || {
            let response = client.get(&url).send().await.map_err(|e| e.to_string())?;
            let status = response.status();
            let text = response.text().await.unwrap_or_default();
            // At its start it waits for more than that.
            if !status.is_success() && text.contains(why) { Ok(()) } else { Err(format!("{status} {text}")) }
        })
        .await
    }

    /// Waits until it leads and lacks nothing.
    pub async fn wait_ready(&self) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.ports.metrics);
        let client = reqwest::Client::new();
        let waited = wait::until("the daemon to be ready", Duration::from_secs(60), async || {
            match client.get(&url).send().await {
                Ok(response) if response.status().is_success() => Ok(()),
                Ok(response) => Err(format!("{} {}", response.status(), response.text().await.unwrap_or_default())),
                Err(error) => Err(error.to_string()),
            }
        });
        waited.await.with_context(|| format!("its log ends:\n{}", self.log_end()))
    }

    /// kill -9, waited for.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Asks it to stop (SIGTERM); it must end within `limit`.
    pub async fn stop(&mut self, limit: Duration) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let id = child.id().context("the daemon has already ended")?.to_string();
        Program::new("/bin/kill").args(["-TERM", &id]).run_ok().await?;
        let status = tokio::time::timeout(limit, child.wait()).await.context("the daemon does not stop")??;
        anyhow::ensure!(status.success(), "the daemon stopped with {status}; its log ends:\n{}", self.log_end());
        Ok(())
    }

    /// Its process; none after a kill.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The test passed: nobody needs the log.
    pub fn hush(&mut self) {
        self.quiet = true;
    }

    /// Where webhooks of a forge go.
    pub fn hooks_url(&self, cluster: &Cluster) -> String {
        cluster.host_url("http", self.ports.hooks)
    }

    /// Where the secret server is.
    pub fn secrets_url(&self, cluster: &Cluster) -> String {
        cluster.host_url("https", self.ports.secrets)
    }

    /// Where the admission webhook is.
    pub fn admission_url(&self, cluster: &Cluster) -> String {
        cluster.host_url("https", self.ports.admission)
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.logs).unwrap_or_default()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// `homelab ARGS` against this daemon.
    pub async fn cli<'a>(&self, cluster: &Cluster, args: impl IntoIterator<Item = &'a str>) -> Result<Output> {
        Ok(self.program(cluster)?.args(args).run().await?)
    }

    /// `homelab` against this daemon.
    pub fn program(&self, cluster: &Cluster) -> Result<Program> {
        let program = homelab(cluster)?.env("HOMELAB_DAEMON_NAMESPACE", &self.namespace);
        Ok(program.env("HOMELAB_ADDR", self.secrets_url(cluster)))
    }
}

impl Drop for Daemon {
    /// A test that did not pass shows the log.
    fn drop(&mut self) {
        if !self.quiet {
            #[expect(clippy::print_stderr, reason = "a failed test shows the daemon's log")]
            {
                eprintln!("--- the log of the daemon of {} ends:\n{}", self.namespace, self.log_end());
            }
        }
    }
}

/// Our kinds and admission policies, from the program and the chart that are tested. One after the other is fine.
pub async fn install(cluster: &Cluster) -> Result<()> {
    let crds = homelab(cluster)?.arg("print-crds").run_ok().await?.text();
    cluster.apply_yaml(&crds).await?;
    for object in documents(&crds)? {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let id = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", name);
        cluster.wait_healthy(id, Duration::from_secs(30)).await?;
    }
    let chart = crate::workspace().join("charts/homelab").display().to_string();
    let policies = cluster.helm(["template", "tests", &chart, "--show-only", "templates/admission.yaml"]).await?;
    cluster.apply_yaml(&policies.text()).await
}

/// The owner's account of a daemon's namespace, with all rights there and in the store, as the chart makes it.
async fn owner(cluster: &Cluster, namespace: &str) -> Result<()> {
    let yaml = include_str!("daemon/owner.yaml").replace("NAMESPACE", namespace);
    cluster.apply_yaml(&yaml).await
}

/// Ports that nobody listens on now.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = std::net::TcpListener::bind(("0.0.0.0", 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
