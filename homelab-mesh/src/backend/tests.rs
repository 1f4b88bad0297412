//! The contract on a real cluster: real pods, EndpointSlices and field managers.
#![expect(clippy::disallowed_methods, reason = "a test has a clock")]

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::choose::{Mesh, Routers};
use super::gateway::GatewayRouter;
use super::service::ServiceRouter;
use crate::api::gateway::HTTPRoute;
use crate::router::TrafficRouter;
use crate::split::{Backend, Route};
use crate::testing::{World, backend, contract, route};

struct Cluster {
    client: Client,
    namespace: String,
    router: Box<dyn TrafficRouter>,
    gateway: bool,
}

async fn client() -> Client {
    // A second test of the process has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::try_default().await.unwrap()
}

fn now() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

impl Cluster {
    async fn new(name: &str, router: impl FnOnce(Client) -> Box<dyn TrafficRouter>, gateway: bool) -> Self {
        let client = client().await;
        let namespace = format!("mesh-{name}-{:x}", now() as u64);
        let cluster = Self { router: router(client.clone()), client, namespace, gateway };
        cluster
            .apply::<Namespace>(
                None,
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace}}),
            )
            .await;
        for colour in ["blue", "green"] {
            let b = backend(colour, 0);
            let spec = json!({"selector": b.selector, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
            let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": b.service}, "spec": spec});
            cluster.apply::<Service>(Some(&cluster.namespace), &service).await;
        }
        cluster
    }

    async fn apply<K>(&self, namespace: Option<&str>, object: &Value)
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let url = K::url_path(&(), namespace);
        let path = format!("{url}/{}?fieldManager=test&force=true", object["metadata"]["name"].as_str().unwrap());
        let request = http::Request::patch(path).header("content-type", "application/apply-patch+yaml");
        let request = request.body(object.to_string().into_bytes()).unwrap();
        let _: Value = self.client.request(request).await.unwrap();
    }

    async fn end(self) {
        let api: Api<Namespace> = Api::all(self.client);
        api.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }

    /// Plays the controller of the Gateway.
    async fn accept(&self) {
        let api: Api<HTTPRoute> = Api::namespaced(self.client.clone(), &self.namespace);
        let Some(http) = api.get_opt("web").await.unwrap() else { return };
        let condition = |type_: &str| {
            json!({"type": type_, "status": "True", "reason": type_, "message": "", "lastTransitionTime": "2026-11-01T00:00:00Z",
                   "observedGeneration": http.metadata.generation})
        };
        let parent = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw", "namespace": "infra", "sectionName": "https"});
        let status = json!({"status": {"parents": [{
            "parentRef": parent, "controllerName": "example.com/test", "conditions": [condition("Accepted"), condition("ResolvedRefs")],
        }]}});
        api.patch_status("web", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }
}

#[async_trait]
impl World for Cluster {
    fn router(&self) -> &dyn TrafficRouter {
        self.router.as_ref()
    }

    fn route(&self) -> Route {
        route(&self.namespace)
    }

    fn backend(&self, name: &str, weight: u8) -> Backend {
        Backend { target_port: json!(8080), ..backend(name, weight) }
    }

    async fn ready(&self, colour: &str, count: u32) {
        let mut labels = json!(backend(colour, 0).selector);
        labels["homelab.dev/app"] = json!("web");
        labels["homelab.dev/colour"] = json!(colour);
        for n in 0..count {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("{colour}-{n}"), "labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "a", "image": "homelab.dev/pause:1"}]},
            });
            self.apply::<Pod>(Some(&self.namespace), &pod).await;
        }
        for _ in 0..300 {
            let seen = self.router.observe(&self.route()).await.unwrap();
            if seen.ready_endpoints.get(colour) == Some(&count) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("pods of {colour} never became ready");
    }

    async fn edit(&self) {
        let params = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
        if self.gateway {
            let api: Api<HTTPRoute> = Api::namespaced(self.client.clone(), &self.namespace);
            api.patch("web", &params, &Patch::Merge(&json!({"spec": {"rules": []}}))).await.unwrap();
        } else {
            let api: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
            api.patch("web", &params, &Patch::Merge(&json!({"spec": {"selector": {"by": "hand"}}}))).await.unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_service_keeps_the_contract() {
    let cluster = Cluster::new("svc", |c| Box::new(ServiceRouter::new(c)), false).await;
    contract(&cluster).await;
    cluster.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_service_of_somebody_else_is_left_alone() {
    let cluster = Cluster::new("other", |c| Box::new(ServiceRouter::new(c)), false).await;
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    cluster.apply::<Service>(Some(&cluster.namespace), &service).await;
    let split = crate::split::Split::new(vec![backend("blue", 100)], vec![], "blue@1").unwrap();
    let error = cluster.router.apply(&cluster.route(), &split, None, false).await.unwrap_err();
    let expected =
        format!("Service {}/web exists and belongs to test; rename it, or rename the App", cluster.namespace);
    assert_eq!(error.to_string(), expected);
    assert!(cluster.router.release(&cluster.route()).await.unwrap().is_empty());
    cluster.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_gateway_keeps_the_contract() {
    let cluster = Cluster::new("gw", |c| Box::new(GatewayRouter::new(c)), true).await;
    install_http_route(&cluster).await;
    let controller = async {
        loop {
            cluster.accept().await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = contract(&cluster) => {}
        () = controller => {}
    }
    let routers = Routers::new(cluster.client.clone());
    let caps = |r: std::sync::Arc<dyn TrafficRouter>| r.capabilities().weights;
    assert!(caps(routers.choose(Mesh::Auto, &cluster.route()).await.unwrap()));
    let inner = Route { parents: vec![], ..cluster.route() };
    assert!(!caps(routers.choose(Mesh::Auto, &inner).await.unwrap()));
    cluster.end().await;
}

/// A stand-in for the Gateway API's own definition where that is missing. It stays.
async fn install_http_route(cluster: &Cluster) {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    if api.get_opt("httproutes.gateway.networking.k8s.io").await.unwrap().is_none() {
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "httproutes.gateway.networking.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, a test's stand-in"}},
            "spec": {
                "group": "gateway.networking.k8s.io", "scope": "Namespaced",
                "names": {"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute", "listKind": "HTTPRouteList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": schema}],
            },
        });
        cluster.apply::<CustomResourceDefinition>(None, &definition).await;
    }
    let routes: Api<HTTPRoute> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    for _ in 0..100 {
        if routes
            .list(&kube::api::ListParams::default())
            .await
            .is_ok_and(|l| l.items.iter().all(|r| !r.name_any().is_empty()))
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("HTTPRoute is not served");
}
