//! Asks the Service of a colour over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use homelab_core::client::{chain, explain};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};

use crate::gate::http::{Answer, HttpCheck};
use crate::gate::{Gate, GateTarget, Verdict};

/// Most bytes of a body that are read.
const MOST: usize = 1 << 20;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// One HTTP gate of an App.
///
/// The Service's address comes from the API, not from DNS: so it works outside the cluster too, wherever its service
/// network is routed, and a resolver's cache is no part of the verdict.
pub struct HttpGate {
    client: Client,
    check: HttpCheck,
}

impl HttpGate {
    /// The gate `check`; Services are looked up with the rights of `client`.
    pub fn new(client: Client, check: HttpCheck) -> Self {
        Self { client, check }
    }

    async fn address(&self, target: &GateTarget) -> Result<SocketAddr, String> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), &target.namespace);
        let what = || format!("Service {}/{}", target.namespace, target.service);
        let service = api.get(&target.service).await.map_err(|e| format!("{}: {}", what(), explain(&e)))?;
        let ip = service.spec.and_then(|s| s.cluster_ip).and_then(|ip| ip.parse::<IpAddr>().ok());
        let ip = ip.ok_or_else(|| format!("{} has no cluster address to ask", what()))?;
        Ok(SocketAddr::new(ip, target.port))
    }

    async fn attempt(&self, http: &reqwest::Client, url: &str) -> Verdict {
        let answer = async {
            let mut response = http.get(url).send().await?;
            let status = response.status().as_u16();
            let mut body = vec![];
            while body.len() < MOST
                && let Some(chunk) = response.chunk().await?
            {
                body.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>(Answer { status, body })
        };
        match answer.await {
            Ok(answer) => self.check.judge(url, &answer),
            Err(error) => Verdict::Failure(format!("GET {url} failed: {}", chain(&error.without_url()))),
        }
    }
}

#[async_trait]
impl Gate for HttpGate {
    async fn ask(&self, target: &GateTarget) -> Verdict {
        let url = self.check.url(target);
        let address = match self.address(target).await {
            Ok(address) => address,
            Err(message) => return Verdict::Inconclusive(format!("GET {url} can not be asked: {message}")),
        };
        let host = format!("{}.{}.svc", target.service, target.namespace);
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = match builder.resolve(&host, address).timeout(self.check.timeout).build() {
            Ok(http) => http,
            Err(error) => return Verdict::Inconclusive(format!("no HTTP client: {}", chain(&error))),
        };
        let attempts = self.check.attempts.max(1);
        for attempt in 1.. {
            match self.attempt(&http, &url).await {
                Verdict::Failure(_) if attempt < attempts => tokio::time::sleep(PAUSE).await,
                Verdict::Failure(detail) if attempts > 1 => {
                    return Verdict::Failure(format!("{detail} ({attempts} attempts)"));
                }
                verdict => return verdict,
            }
        }
        Verdict::Inconclusive(format!("GET {url} was not asked"))
    }
}

#[cfg(test)]
mod tests;
