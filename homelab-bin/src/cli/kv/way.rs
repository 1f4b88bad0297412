//! How `homelab kv` finds the daemon by a kubeconfig, and who it is then.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use homelab_core::meta::{Account, TOKEN_AUDIENCE};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::Api;
use kube::api::PostParams;

use crate::cli::cluster::{Cluster, failed};
use crate::cli::forward::{self, Forward};

/// ConfigMap in which the daemon publishes its CA and its address.
const CA: &str = "homelab-ca";
/// The secret server's port in the daemon's pod.
const PORT: u16 = 8200;

/// How the daemon's secret server is reached.
pub(super) struct Way {
    pub(super) address: String,
    pub(super) ca: Option<Vec<u8>>,
    /// The name in its certificate, and the port that leads to its pod.
    pub(super) forward: Option<(String, Forward)>,
}

impl Way {
    /// By `address` if there is one, else through a ready pod, else where the daemon says that it is. The CA is the one
    /// that the daemon published.
    pub(super) async fn find(cluster: &Cluster, address: Option<String>) -> Result<Self> {
        let mut published = published(cluster).await;
        if let Some(address) = address {
            let ca = published.ok().and_then(|mut data| data.remove("ca.crt")).map(String::into_bytes);
            return Ok(Self { address, ca, forward: None });
        }
        let data = published.as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let ca = data.remove("ca.crt").map(String::into_bytes);
        let address =
            data.remove("address").context("the ConfigMap homelab-ca has no address; does the daemon run?")?;
        let Some(forward) = forward::open_secrets(cluster.client.clone(), &cluster.daemon, PORT).await? else {
            if address.contains(".svc:") {
                bail!(
                    "no pod of the daemon is ready in namespace {0}; look at it with `kubectl -n {0} get pods`, or set HOMELAB_ADDR",
                    cluster.daemon
                );
            }
            return Ok(Self { address, ca, forward: None });
        };
        let host = host(&address).with_context(|| format!("the daemon's address {address} is no URL"))?;
        Ok(Self { address: format!("https://{host}:{}", forward.address.port()), ca, forward: Some((host, forward)) })
    }
}

/// What the daemon says about itself.
async fn published(cluster: &Cluster) -> Result<BTreeMap<String, String>> {
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.daemon);
    let action = format!("read ConfigMap {}/{CA}, where the daemon says where it is", cluster.daemon);
    let Some(map) = maps.get_opt(CA).await.map_err(|error| failed(&action, &error))? else {
        bail!(
            "there is no ConfigMap {}/{CA}, so no daemon ever ran there; install it, name its namespace with --daemon-namespace, or set HOMELAB_ADDR",
            cluster.daemon
        );
    };
    Ok(map.data.unwrap_or_default())
}

/// A token of a ServiceAccount, for our audience only and for ten minutes.
pub(in crate::cli) async fn service_account_token(cluster: &Cluster, account: &Account) -> Result<String> {
    let accounts = Api::<ServiceAccount>::namespaced(cluster.client.clone(), &account.namespace);
    let spec = TokenRequestSpec {
        audiences: Some(vec![TOKEN_AUDIENCE.into()]),
        expiration_seconds: Some(600),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let action = format!("ask for a token of ServiceAccount {account}");
    let answer = accounts.create_token_request(&account.name, &PostParams::default(), &request).await;
    let answer = answer.map_err(|error| failed(&action, &error))?;
    answer.status.and_then(|status| status.token).with_context(|| format!("{action}: the answer has none"))
}

/// The host name of a URL.
fn host(url: &str) -> Option<String> {
    reqwest::Url::parse(url).ok()?.host_str().map(ToOwned::to_owned)
}
