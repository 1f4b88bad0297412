//! A cluster, a Git server with the example of a home, and a folder in another place.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homelab_core::process::{Output, Program};
use homelab_tests::cluster::Cluster;
use homelab_tests::daemon::homelab;
use homelab_tests::forge::Forge;
use homelab_tests::repo::Repo;
use homelab_tests::{case, wait, workspace};

const SYSTEM: &str = "homelab";
const LIMIT: Duration = Duration::from_secs(150);

pub(crate) struct Home {
    pub(crate) cluster: Cluster,
    pub(crate) repo: Repo,
    /// Where backups go.
    pub(crate) backups: Repo,
    pub(crate) elsewhere: PathBuf,
    /// The store's directory on the node.
    disk: PathBuf,
    _forge: Forge,
}

impl Home {
    /// With a disk of its own.
    pub(crate) async fn new(disk: &str) -> Result<Self> {
        let cluster = Cluster::from_env().await.context("run `cargo xtask test --suite disaster`")?;
        let elsewhere = std::env::var_os("HOMELAB_TEST_ELSEWHERE").map(PathBuf::from);
        let elsewhere = elsewhere.context("HOMELAB_TEST_ELSEWHERE is not set")?;
        let forge = Forge::start(cluster.host).await?;
        let repo = forge.create("home").await?;
        repo.copy(&workspace().join("examples/home"), ".")?;
        repo.push("a home").await?;
        let backups = forge.create("backups").await?;
        Ok(Self { cluster, repo, backups, disk: elsewhere.join(disk), elsewhere, _forge: forge })
    }

    fn program(&self, args: &[&str]) -> Result<Program> {
        Ok(homelab(&self.cluster)?.env("HOMELAB_DAEMON_NAMESPACE", SYSTEM).args(args.iter().copied()))
    }

    pub(crate) async fn cli(&self, args: &[&str]) -> Result<Output> {
        self.program(args)?.run_ok().await.with_context(|| format!("homelab {}", args.join(" ")))
    }

    fn bootstrapping(&self, more: &[&str]) -> Result<Program> {
        let place = format!("storage.hostPath={}", self.disk.display());
        let helm = std::env::var("HOMELAB_HELM").context("HOMELAB_HELM is not set")?;
        let to = format!("backup.to={{{}}}", self.backup_place());
        let values = [
            "image.tag=dev",
            "agent.image.tag=dev",
            "storage.type=hostPath",
            &place,
            &to,
            "backup.every=3s",
            "backup.keep=2",
        ];
        let mut args = vec!["bootstrap", "--helm", &helm, "--timeout", "4m"];
        args.extend(values.into_iter().flat_map(|value| ["--set", value]));
        args.extend(more);
        Ok(self.program(&args)?.timeout(Duration::from_secs(300)))
    }

    pub(crate) async fn bootstrap(&self, more: &[&str]) -> Result<Output> {
        self.bootstrapping(more)?.run_ok().await.with_context(|| format!("homelab bootstrap {}", more.join(" ")))
    }

    /// The repository of the backups, as homelab is told of it.
    pub(crate) fn backup_place(&self) -> String {
        format!("git+{}#main", self.backups.url)
    }

    /// Waits for a scheduled backup that was made after now; gives its file.
    pub(crate) async fn backed_up(&self) -> Result<PathBuf> {
        let names = async || -> Result<Vec<PathBuf>> {
            if !self.backups.pull().await? {
                return Ok(Vec::new());
            }
            let entries = std::fs::read_dir(self.backups.path("."))?.map(|entry| Ok(entry?.path()));
            let files: Vec<_> = entries.collect::<Result<_>>()?;
            Ok(files.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "backup")).collect())
        };
        let before = names().await?;
        wait::until("a backup", LIMIT, async || {
            let now = names().await.map_err(|error| format!("{error:#}"))?;
            let new = now.iter().find(|file| !before.contains(file)).cloned();
            if now.len() > 2 {
                Err(format!("more are kept than were asked for: {now:?}"))
            } else {
                new.ok_or("none".into())
            }
        })
        .await
    }

    pub(crate) async fn refused(&self, more: &[&str], why: &str) -> Result<()> {
        let output = self.bootstrapping(more)?.run().await?;
        ensure!(!output.status.success() && output.complaint().contains(why), "{}", output.complaint());
        Ok(())
    }

    /// Waits until the App answers with this password.
    pub(crate) async fn serves(&self, password: &str) -> Result<()> {
        let service = self.cluster.get("v1", "Service", "web", "web").await?.context("there is no Service web")?;
        let url = format!("http://{}/", service["spec"]["clusterIP"].as_str().unwrap_or_default());
        wait::until("the App to serve its secret", LIMIT, async || {
            let answer = case::ask(&url).await.map_err(|error| format!("{error:#}"))?;
            if answer["secret"]["password"] == password { Ok(()) } else { Err(answer.to_string()) }
        })
        .await
    }

    /// Another pod takes the daemon's place.
    pub(crate) async fn restart_daemon(&self) -> Result<()> {
        self.cluster.kubectl(["rollout", "restart", "deployment", "homelab", "-n", SYSTEM]).await?;
        self.cluster.kubectl(["rollout", "status", "deployment", "homelab", "-n", SYSTEM, "--timeout=120s"]).await?;
        Ok(())
    }
}
