//! The cluster that a command talks to, by kubectl's flags.
#![expect(clippy::disallowed_methods, reason = "a command looks at the clock")]

use std::time::Duration;

use anyhow::{Context as _, Result};
use homelab_core::client::explain;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::args::Global;

/// Namespace in which the chart's documents install the daemon.
const DAEMON_NAMESPACE: &str = "homelab";

/// A cluster, and the namespaces that the flags name.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// Namespace of `-n`, or of the kubeconfig's context.
    pub(crate) namespace: String,
    /// Namespace of the daemon.
    pub(crate) daemon: String,
}

impl Cluster {
    pub(crate) async fn connect(global: &Global) -> Result<Self> {
        let config = config(global).await?;
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).context("prepare the connection to the API server")?;
        let daemon = global.daemon_namespace.clone().unwrap_or_else(|| DAEMON_NAMESPACE.to_owned());
        Ok(Self { client, namespace, daemon })
    }

    /// The name that the API server knows us by: requests must carry it.
    pub(crate) async fn username(&self) -> Result<String> {
        let review = Api::<SelfSubjectReview>::all(self.client.clone())
            .create(&kube::api::PostParams::default(), &SelfSubjectReview::default())
            .await
            .map_err(|error| failed("ask the API server who we are", &error))?;
        review
            .status
            .and_then(|status| status.user_info)
            .and_then(|user| user.username)
            .context("the API server did not say who we are (SelfSubjectReview without a user name)")
    }
}

/// The client's configuration by the flags; the namespace of `-n` is its default namespace.
pub(crate) async fn config(global: &Global) -> Result<Config> {
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match (&global.kubeconfig, &global.context) {
        (Some(file), _) => {
            let kubeconfig = Kubeconfig::read_from(file).with_context(|| format!("read kubeconfig {}", file.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.context("use the kubeconfig")?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.context("use the kubeconfig's context")?,
        (None, None) => Config::infer().await.context(
            "find a cluster: there is neither a kubeconfig nor a pod's account; give --kubeconfig FILE or set KUBECONFIG",
        )?,
    };
    if let Some(namespace) = &global.namespace {
        config.default_namespace.clone_from(namespace);
    }
    if let Some(user) = &global.as_user {
        config.auth_info.impersonate = Some(user.clone());
        config.auth_info.impersonate_groups = Some(global.as_groups.clone()).filter(|groups| !groups.is_empty());
    }
    config.connect_timeout = Some(Duration::from_secs(10));
    if !global.request_timeout.is_zero() {
        config.read_timeout = Some(global.request_timeout);
    }
    Ok(config)
}

/// What was attempted, and the API server's answer in one line.
pub(crate) fn failed(action: &str, error: &kube::Error) -> anyhow::Error {
    anyhow::anyhow!("{action}: {}", explain(error))
}

/// The time now.
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
