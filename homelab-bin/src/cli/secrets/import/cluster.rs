//! Secrets of the cluster that External Secrets fills.

use anyhow::{Context as _, Result, bail};
use homelab_secrets::transfer::external::{self, ExternalSecret, PathFrom as Naming};
use homelab_secrets::transfer::{Entry, kubernetes};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::discovery;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::args::{Global, Import, PathFrom};
use crate::cli::cluster::{Cluster, failed};
use crate::cli::output;

const GROUP: &str = "external-secrets.io";
const KIND: &str = "ExternalSecret";

/// The secrets of a namespace, or of all.
pub(super) async fn entries(global: &Global, args: &Import) -> Result<Vec<Entry>> {
    let naming = match args.path_from {
        PathFrom::Secret => Naming::Secret,
        PathFrom::RemoteRef => Naming::RemoteRef,
    };
    of(&Cluster::connect(global).await?, args.all_namespaces, naming).await
}

async fn of(cluster: &Cluster, all: bool, naming: Naming) -> Result<Vec<Entry>> {
    let (mut entries, mut missing) = (Vec::new(), Vec::new());
    for object in external_secrets(cluster, all).await? {
        let object = serde_json::to_value(object).context("read an ExternalSecret")?;
        let external_secret = ExternalSecret::read(&object)?;
        match values(cluster, external_secret.target()).await? {
            Some(values) => entries.extend(external_secret.entries(values, naming)?),
            None => missing.push(format!("{}/{}", external_secret.target().0, external_secret.target().1)),
        }
    }
    if !missing.is_empty() {
        output::note(&format!("passed by what External Secrets has not filled yet: {}", missing.join(", ")));
    }
    Ok(external::merged(entries)?)
}

async fn external_secrets(cluster: &Cluster, all: bool) -> Result<Vec<DynamicObject>> {
    let action = "list ExternalSecrets";
    let resource = served(cluster).await?;
    let api: Api<DynamicObject> = match all {
        true => Api::all_with(cluster.client.clone(), &resource),
        false => Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource),
    };
    let found = api.list(&ListParams::default()).await.map_err(|error| failed(action, &error))?.items;
    if found.is_empty() {
        let place = if all { "the cluster".to_owned() } else { format!("namespace {} (-A: all)", cluster.namespace) };
        bail!("there is no ExternalSecret in {place}");
    }
    Ok(found)
}

/// The newest version of the kind that the cluster serves.
async fn served(cluster: &Cluster) -> Result<ApiResource> {
    let group = discovery::group(&cluster.client, GROUP).await.map_err(|error| {
        failed("look for External Secrets (has this cluster its CustomResourceDefinitions?)", &error)
    })?;
    let kind = group.recommended_kind(KIND).map(|(resource, _)| resource);
    kind.with_context(|| format!("the cluster serves {GROUP}, and no {KIND}"))
}

async fn values(cluster: &Cluster, (namespace, name): (&str, &str)) -> Result<Option<serde_json::Map<String, Value>>> {
    let api = Api::<Secret>::namespaced(cluster.client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|error| failed(&format!("read Secret {namespace}/{name}"), &error))?;
    let Some(secret) = found else { return Ok(None) };
    let title = format!("Secret {namespace}/{}", secret.name_any());
    let Value::Object(object) = serde_json::to_value(secret).with_context(|| format!("read {title}"))? else {
        return Ok(None);
    };
    kubernetes::values(&object).map(Some).map_err(|why| anyhow::anyhow!("{title}: {why}"))
}

#[cfg(test)]
mod tests {
    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// An API server with one ExternalSecret that is filled and one that is not.
    async fn answer(request: Request<Body>) -> Result<Response<Body>, std::convert::Infallible> {
        let version = json!({"groupVersion": "external-secrets.io/v1", "version": "v1"});
        let external = |name: &str| {
            json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name, "namespace": "web"},
                "spec": {"data": [{"secretKey": "PASSWORD", "remoteRef": {"key": "home/db", "property": "password"}}]},
            })
        };
        let body = match request.uri().path() {
            "/apis" => json!({"kind": "APIGroupList", "groups": [
                {"name": GROUP, "versions": [version], "preferredVersion": version},
            ]}),
            "/apis/external-secrets.io/v1" => json!({
                "kind": "APIResourceList", "groupVersion": "external-secrets.io/v1",
                "resources": [{
                    "name": "externalsecrets", "singularName": "externalsecret", "namespaced": true, "kind": KIND,
                    "verbs": ["get", "list"],
                }],
            }),
            "/apis/external-secrets.io/v1/namespaces/web/externalsecrets" => {
                json!({"kind": "ExternalSecretList", "apiVersion": "external-secrets.io/v1", "metadata": {}, "items": [external("db"), external("new")]})
            }
            "/api/v1/namespaces/web/secrets/db" => json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": "web"},
                // planted
                "data": {"PASSWORD": "cGxhbnRlZA=="},
            }),
            _ => {
                let status =
                    json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "no"});
                return Ok(Response::builder()
                    .status(404)
                    .body(status.to_string().into_bytes().into())
                    .expect("an answer"));
            }
        };
        Ok(Response::new(body.to_string().into_bytes().into()))
    }

    #[tokio::test]
    async fn what_external_secrets_has_filled_is_read() {
        let client = kube::Client::new(tower::service_fn(answer), "web");
        let cluster = Cluster { client, namespace: "web".into(), daemon: "homelab".into() };
        for (naming, key, name) in [(Naming::Secret, "PASSWORD", "web/db"), (Naming::RemoteRef, "password", "home/db")]
        {
            let found = of(&cluster, false, naming).await.expect("read");
            let [entry] = &found[..] else { panic!("one secret: {found:?}") };
            assert_eq!(entry.name, homelab_secrets::transfer::Name::Inner(name.into()));
            assert_eq!(entry.value().expect("a value").expose()[key], "planted");
        }
        let nowhere = Cluster { namespace: "other".into(), ..cluster };
        assert!(of(&nowhere, false, Naming::Secret).await.is_err());
    }
}
