//! The copy of the store's head in a ConfigMap: the cluster's etcd is not put back together with the store's volume.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use homelab_core::client::explain;
use homelab_core::meta::manager;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::Error;
use crate::head::HeadCopy;
use crate::store::HeadWitness;

const KEY: &str = "head";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps the copy in one ConfigMap.
#[derive(Clone)]
pub struct ClusterWitness {
    maps: Api<ConfigMap>,
    name: String,
    namespace: String,
}

impl fmt::Debug for ClusterWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterWitness({self})")
    }
}

impl fmt::Display for ClusterWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigMap {}/{}", self.namespace, self.name)
    }
}

impl ClusterWitness {
    /// In the ConfigMap `name` in `namespace`, on which `client` needs `get`, `create` and `patch`.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { maps: Api::namespaced(client, namespace), name: name.into(), namespace: namespace.into() }
    }

    async fn ask<T>(&self, what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        let answer = tokio::time::timeout(TIMEOUT, call).await;
        let answer = answer.map_err(|_| Error::Backend(format!("{self} can not be {what}: no answer in 10 s")))?;
        answer.map_err(|error| Error::Backend(format!("{self} can not be {what}: {}", explain(&error))))
    }
}

#[async_trait]
impl HeadWitness for ClusterWitness {
    async fn read(&self) -> Result<Option<HeadCopy>, Error> {
        let map = self.ask("read", self.maps.get_opt(&self.name)).await?;
        let text = map.and_then(|map| map.data).and_then(|mut data| data.remove(KEY));
        text.map(|text| HeadCopy::from_json(text.as_bytes())).transpose()
    }

    async fn write(&self, copy: &HeadCopy) -> Result<(), Error> {
        let text = String::from_utf8(copy.to_json()?).map_err(|_| Error::Bug("a copy of a head is no text".into()))?;
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": self.name }, "data": { KEY: text },
        });
        let params = PatchParams::apply(manager::SECRETS);
        self.ask("written", self.maps.patch(&self.name, &params, &Patch::Apply(&map))).await.map(drop)
    }
}

#[cfg(feature = "server")]
#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use kube::client::Body;

    use super::*;

    /// As much of an API server as there is to one ConfigMap.
    fn server(kept: Arc<Mutex<Option<serde_json::Value>>>, broken: bool) -> Client {
        let answer = move |request: axum::http::Request<Body>| {
            let kept = kept.clone();
            async move {
                let path = "/api/v1/namespaces/homelab/configmaps/head-copy";
                assert_eq!(request.uri().path(), path);
                if request.method() == "PATCH" && !broken {
                    assert!(request.uri().query().unwrap_or_default().contains("fieldManager="));
                    let body = request.into_body().collect_bytes().await.unwrap();
                    *kept.lock().unwrap() = Some(serde_json::from_slice(&body).unwrap());
                }
                let (status, body) = match (broken, kept.lock().unwrap().clone()) {
                    (false, Some(map)) => (200, map),
                    (false, None) => (
                        404,
                        json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "none"}),
                    ),
                    (true, _) => (
                        403,
                        json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "may not"}),
                    ),
                };
                let response =
                    axum::http::Response::builder().status(status).body(Body::from(body.to_string().into_bytes()));
                Ok::<_, Infallible>(response.unwrap())
            }
        };
        Client::new(tower::service_fn(answer), "homelab")
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let witness = ClusterWitness::new(server(Arc::default(), false), "homelab", "head-copy");
        crate::testing::witness_contract(&witness).await;
    }

    #[tokio::test]
    async fn a_refusal_is_no_missing_copy() {
        let witness = ClusterWitness::new(server(Arc::default(), true), "homelab", "head-copy");
        let refused = witness.read().await.unwrap_err().to_string();
        assert!(refused.starts_with("ConfigMap homelab/head-copy can not be read: "), "{refused}");
    }
}
