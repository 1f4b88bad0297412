//! What the App's objects say.

use std::time::Duration;

use anyhow::{Context, Result};
use homelab_core::meta::{annotation, label};
use homelab_core::process::Output;
use serde_json::Value;

use super::{Demo, ROLLOUT, SYSTEM, WEB};
use crate::cluster::condition;
use crate::daemon::homelab;

/// The App.
pub(super) const APP: (&str, &str, &str, &str) = ("homelab.dev/v1alpha1", "App", WEB, WEB);

impl Demo {
    /// `homelab ARGS`, as a person would type it.
    pub(super) async fn homelab<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<Output> {
        let program = homelab(&self.cluster)?.env("HOMELAB_DAEMON_NAMESPACE", SYSTEM);
        Ok(program.args(args).run_ok().await?)
    }

    /// Waits until the App says that it serves and does nothing else.
    pub(super) async fn settled(&self) -> Result<Value> {
        let calm = |app: &Value| {
            let seen = app["status"]["observedGeneration"] == app["metadata"]["generation"];
            seen && condition(app, "Ready").0 == "True" && condition(app, "Reconciling").0 != "True"
        };
        self.cluster.wait_for(APP, "serving and at rest", ROLLOUT, calm).await
    }

    /// Waits until a condition of the App is True; returns reason and message.
    pub(super) async fn says(&self, type_: &str, limit: Duration) -> Result<(String, String)> {
        let app = self.cluster.wait_for(APP, type_, limit, |app| condition(app, type_).0 == "True").await?;
        let (_, reason, message) = condition(&app, type_);
        Ok((reason, message))
    }

    /// The apex Service.
    pub(super) async fn apex(&self) -> Result<Value> {
        self.cluster.get("v1", "Service", WEB, WEB).await?.context("the App has no Service of its own name")
    }

    /// The colour that serves, from the apex Service.
    pub(super) async fn active(&self) -> Result<String> {
        let apex = self.apex().await?;
        let active = apex["metadata"]["annotations"][annotation::ACTIVE].as_str().unwrap_or_default();
        let colour = active.split('@').next().unwrap_or_default().to_owned();
        anyhow::ensure!(colour == "blue" || colour == "green", "the Service says active: {active:?}");
        Ok(colour)
    }

    /// The colour that does not.
    pub(super) async fn idle(&self) -> Result<String> {
        Ok(if self.active().await? == "blue" { "green".into() } else { "blue".into() })
    }

    /// Whether traffic has been given to another colour than the one that counts as active: the middle of a switch.
    pub(super) async fn in_switch(&self) -> Result<bool> {
        let apex = self.apex().await?;
        let active = apex["metadata"]["annotations"][annotation::ACTIVE].as_str().unwrap_or_default();
        let serving = apex["spec"]["selector"][label::COLOUR].as_str().unwrap_or_default();
        Ok(!serving.is_empty() && !active.starts_with(serving))
    }

    /// Asks one colour's own Service.
    pub(super) async fn ask(&self, colour: &str) -> Result<Value> {
        let name = format!("{WEB}-{colour}");
        let service =
            self.cluster.get("v1", "Service", WEB, &name).await?.with_context(|| format!("no Service {name}"))?;
        let address = service["spec"]["clusterIP"].as_str().unwrap_or_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        Ok(client.get(format!("http://{address}/")).send().await?.error_for_status()?.json().await?)
    }
}
