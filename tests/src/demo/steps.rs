//! The steps, as README's first command promises them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use homelab_core::health::health;

use super::app::APP;
use super::output::say;
use super::{APP_FILE, Demo, ROLLOUT, Repaired, SYSTEM, WEB, kill};
use crate::cluster::condition;
use crate::load::{Intensity, Load};
use crate::wait;

/// How long only the new answer must be seen after a switch.
const SURE: Duration = Duration::from_secs(3);

impl Demo {
    /// Step 1: a secret, a repository, a GitSync; version 1 answers with the secret in it.
    pub(super) async fn first_version(&mut self) -> Result<String> {
        say("homelab kv put kv/web/db password=first");
        self.homelab(["kv", "put", "kv/web/db", "password=first"]).await?;
        let example = crate::workspace().join("examples/home");
        self.repo.copy(&example, ".")?;
        let placeholder = "https://git.example.org/me/home.git";
        self.repo.replace("homelab/gitsync.yaml", placeholder, &self.repo.url)?;
        self.repo.replace("homelab/gitsync.yaml", "interval: 1m", "interval: 5s")?;
        let commit = self.repo.push("Run the first version").await?;
        say(format!("git push ({commit:.10}), kubectl apply -f homelab/gitsync.yaml"));
        self.cluster.apply_yaml(&std::fs::read_to_string(self.repo.path("homelab/gitsync.yaml"))?).await?;
        let app = self.settled().await?;
        say(condition(&app, "Ready").2);
        let apex = self.apex().await?;
        let address = apex["spec"]["clusterIP"].as_str().unwrap_or_default();
        self.url = format!("http://{address}/");
        let load = Load::start(&self.url, Intensity::default())?;
        let wanted = "of version 1 with secret password=first";
        load.wait_for(wanted, Duration::ZERO, Duration::from_secs(20), |a| {
            a.version == "1" && a.secret == "password=first"
        })
        .await?;
        self.load = Some(load);
        Ok("pushed; version 1 answers with the first secret in it".into())
    }

    /// Step 2: another value of the secret is a new revision; the old pods keep theirs.
    pub(super) async fn changed_secret(&self) -> Result<String> {
        let before = self.active().await?;
        let since = self.load()?.elapsed();
        say("homelab kv put kv/web/db password=second");
        self.homelab(["kv", "put", "kv/web/db", "password=second"]).await?;
        let new = |secret: &str| secret == "password=second";
        let seen = self.load()?.wait_for("with the new secret", since, ROLLOUT, |a| new(&a.secret)).await?;
        say(format!("the first answer with the new secret came after {:.1} s", (seen - since).as_secs_f32()));
        self.load()?.wait_until_only("with the new secret", SURE, ROLLOUT, |a| new(&a.secret)).await?;
        self.settled().await?;
        let after = self.active().await?;
        ensure!(before != after, "the colour did not change: {after} serves");
        let kept = self.ask(&before).await?;
        ensure!(
            kept["secret"]["password"] == "first",
            "the warm {before} pods do not have their own secret any more: {kept}"
        );
        Ok(format!("{after} took over with the new secret; {before} is warm and still has the old one"))
    }

    /// Step 3: another version.
    pub(super) async fn second_version(&self) -> Result<String> {
        let seen = self.push_version("VERSION: \"1\"", "VERSION: \"2\"", "2").await?;
        self.settled().await?;
        Ok(format!("pushed; {} took over after its gate, {seen:.1} s after the push", self.active().await?))
    }

    /// Commits `to` instead of `from`, pushes, and waits until only `version` answers; seconds until its first answer.
    async fn push_version(&self, from: &str, to: &str, version: &str) -> Result<f32> {
        self.repo.replace(APP_FILE, from, to)?;
        let since = self.load()?.elapsed();
        let commit = self.repo.push(&format!("Run version {version}")).await?;
        say(format!("git push ({commit:.10})"));
        let what = format!("of version {version}");
        let seen = self.load()?.wait_for(&what, since, ROLLOUT, |a| a.version == version).await?;
        self.load()?.wait_until_only(&what, SURE, ROLLOUT, |a| a.version == version).await?;
        Ok((seen - since).as_secs_f32())
    }

    /// Step 4: a version whose gate fails is never given traffic, is not retried, and the idle colour is made good again.
    pub(super) async fn failing_gate(&self) -> Result<String> {
        let active = self.active().await?;
        self.repo.replace(APP_FILE, "VERSION: \"2\"", "VERSION: \"3\"\n        HEALTH_STATUS: \"500\"")?;
        self.repo.push("Run version 3, which is unwell").await?;
        let (_, message) = self.says("Failed", ROLLOUT).await?;
        say(format!("Failed: {message}"));
        let status = self.homelab(["app", "status", WEB, "-n", WEB]).await?.text();
        say(&status);
        ensure!(
            status.contains("smoke") && status.contains("500"),
            "`homelab app status` does not name check and answer"
        );
        let (_, warm) = self.says("Warm", ROLLOUT).await?;
        say(format!("Warm: {warm}"));
        let failed = async || {
            let app = self.cluster.get(APP.0, APP.1, APP.2, APP.3).await.ok().flatten().unwrap_or_default();
            let same = condition(&app, "Failed").0 == "True" && condition(&app, "Reconciling").0 != "True";
            if same { Ok(()) } else { Err(crate::cluster::summary(&app)) }
        };
        wait::stays("the failed revision is left alone", Duration::from_secs(12), failed).await?;
        ensure!(self.active().await? == active, "{active} no longer serves");
        let bad = self.load()?.report().answers.into_iter().find(|(answer, _)| answer.version == "3");
        ensure!(bad.is_none(), "version 3 was given traffic");
        let idle = self.ask(&self.idle().await?).await?;
        ensure!(idle["version"] == "1", "the idle colour does not hold the last good revision: {idle}");
        Ok(format!(
            "version 3 was never given traffic; {active} stayed; the idle colour holds the last good revision again"
        ))
    }

    /// Step 5: back to the earlier revision, quickly because it is warm.
    pub(super) async fn rollback(&self) -> Result<String> {
        let since = self.load()?.elapsed();
        say("homelab app rollback web -n web");
        self.homelab(["app", "rollback", WEB, "-n", WEB, "--reason", "demo"]).await?;
        let old = |a: &crate::load::Answer| a.version == "1" && a.secret == "password=second";
        let seen = self.load()?.wait_for("of version 1 with its secret", since, ROLLOUT, old).await?;
        self.load()?.wait_until_only("of version 1 with its secret", SURE, ROLLOUT, old).await?;
        let took = (seen - since).as_secs_f32();
        Ok(format!("the earlier revision answers with its secret version, {took:.1} s after the command"))
    }

    /// Step 6: what is deleted by hand comes back.
    pub(super) async fn repair(&self) -> Result<String> {
        let idle = format!("{WEB}-{}", self.idle().await?);
        let mut took = Vec::new();
        for (api_version, kind, name) in [("v1", "ConfigMap", "settings"), ("apps/v1", "Deployment", idle.as_str())] {
            let before = self.cluster.get(api_version, kind, WEB, name).await?.unwrap_or_default();
            let start = Instant::now();
            self.cluster.delete(api_version, kind, WEB, name).await?;
            let other = |object: &serde_json::Value| object["metadata"]["uid"] != before["metadata"]["uid"];
            self.cluster.wait_for((api_version, kind, WEB, name), "made again", ROLLOUT, other).await?;
            say(format!("{kind} {name} deleted and made again in {:.1} s", start.elapsed().as_secs_f32()));
            took.push(format!("{kind} after {:.1} s", start.elapsed().as_secs_f32()));
        }
        Ok(format!("deleted objects came back: {}", took.join(", ")))
    }

    /// Step 6: Git goes back, and the cluster follows.
    pub(super) async fn git_revert(&self) -> Result<String> {
        let since = self.load()?.elapsed();
        let commit = self.repo.revert().await?;
        say(format!("git revert, git push ({commit:.10})"));
        let seen = self.load()?.wait_for("of version 2", since, ROLLOUT, |a| a.version == "2").await?;
        self.load()?.wait_until_only("of version 2", SURE, ROLLOUT, |a| a.version == "2").await?;
        self.settled().await?;
        Ok(format!("git revert: version 2 answers again, {:.1} s after the push", (seen - since).as_secs_f32()))
    }

    /// Step 6: the daemon dies in the middle of a switch, and goes on where it was.
    pub(super) async fn kill_in_switch(&self) -> Result<String> {
        self.repo.replace(APP_FILE, "VERSION: \"2\"", "VERSION: \"4\"")?;
        self.repo.push("Run version 4").await?;
        wait::often("the middle of a switch", ROLLOUT, Duration::from_millis(30), async || {
            match self.in_switch().await {
                Ok(true) => Ok(()),
                Ok(false) => Err("traffic has not been moved".into()),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await?;
        kill::kill_daemon(&self.cluster).await?;
        ensure!(self.in_switch().await?, "the switch was over before the daemon was killed");
        say("kill -9 of the daemon while traffic moves");
        let start = Instant::now();
        self.load()?.wait_until_only("of version 4", SURE, ROLLOUT, |a| a.version == "4").await?;
        let id = ("apps/v1", "Deployment", SYSTEM, "homelab");
        self.cluster.wait_healthy(id, ROLLOUT).await?;
        wait::until("the switch to be finished", ROLLOUT, async || match self.in_switch().await {
            Ok(false) => Ok(()),
            Ok(true) => Err("the new colour serves but does not count as active".into()),
            Err(error) => Err(format!("{error:#}")),
        })
        .await?;
        self.settled().await?;
        Ok(format!("killed in the middle of a switch; it was finished {:.1} s later", start.elapsed().as_secs_f32()))
    }

    /// Last, outside the count: the Deployment that serves is deleted.
    pub(super) async fn lose_active(&self) -> Result<Repaired> {
        let name = format!("{WEB}-{}", self.active().await?);
        say(format!("Outside the count: Deployment {name}, which serves, is deleted"));
        let id = ("apps/v1", "Deployment", WEB, name.as_str());
        let before = self.cluster.get(id.0, id.1, id.2, id.3).await?.unwrap_or_default();
        let load = Load::start(&self.url, Intensity { timeout: Duration::from_secs(2), ..Intensity::default() })?;
        let start = Instant::now();
        self.cluster.delete(id.0, id.1, id.2, id.3).await?;
        let whole = |o: &serde_json::Value| o["metadata"]["uid"] != before["metadata"]["uid"] && health(o).is_current();
        self.cluster.wait_for(id, "made again and healthy", ROLLOUT, whole).await?;
        let after = start.elapsed();
        load.wait_for("after the repair", load.elapsed(), ROLLOUT, |_| true).await?;
        tokio::time::sleep(Duration::from_secs(6)).await;
        Ok(Repaired { after, failed: load.stop().await.failed })
    }
}
