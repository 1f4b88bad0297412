//! What the daemon keeps and publishes in the cluster about itself: its CA, its address, its webhook.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use homelab_core::client::explain;
use homelab_core::meta::{label, manager};
use homelab_secrets::inject::{WebhookSettings, WebhookTarget, validating_policy, webhook_configuration};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::{Api, Client};
use serde_json::Value;

use super::certificates::{Authority, authority_in};
use super::settings::Settings;

/// Secret with the CA and its key, in the daemon's namespace.
const TLS: &str = "homelab-tls";
/// ConfigMap with the CA and the address, in the daemon's namespace.
const CA: &str = "homelab-ca";
const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";

/// The CA that was made at the first start, or a new one.
pub(super) async fn authority(client: &Client, settings: &Settings, now: Timestamp) -> Result<Authority> {
    match settings.keeps_ca_in_cluster() {
        true => in_secret(client, &settings.home, now).await,
        false => authority_in(&settings.data("tls"), now),
    }
}

async fn in_secret(client: &Client, namespace: &str, now: Timestamp) -> Result<Authority> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let name = format!("Secret {namespace}/{TLS}");
    let read = async || {
        let found = secrets.get_opt(TLS).await.map_err(|error| anyhow::anyhow!("read {name}: {}", explain(&error)))?;
        found.map(|secret| of_secret(secret, &name)).transpose()
    };
    if let Some(authority) = read().await? {
        return Ok(authority);
    }
    let made = Authority::generate(now)?;
    let secret = Secret {
        metadata: ours(TLS),
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([
            (CERTIFICATE.to_owned(), ByteString(made.certificate.clone().into_bytes())),
            (KEY.to_owned(), ByteString(made.key.clone().into_bytes())),
        ])),
        ..Secret::default()
    };
    let params = PostParams { field_manager: Some(manager::DAEMON.into()), ..PostParams::default() };
    match secrets.create(&params, &secret).await {
        Ok(_) => Ok(made),
        // Another replica was faster: its CA is the one.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            read().await?.context("the CA's Secret came and went")
        }
        Err(error) => Err(anyhow::anyhow!("create {name}: {}", explain(&error))),
    }
}

fn of_secret(secret: Secret, name: &str) -> Result<Authority> {
    let mut data = secret.data.unwrap_or_default();
    let mut text = |key: &str| {
        let bytes =
            data.remove(key).with_context(|| format!("{name} has no key {key}; delete it and a new CA is made"))?;
        String::from_utf8(bytes.0).with_context(|| format!("{name} key {key} is not text"))
    };
    Authority::from_pem(text(CERTIFICATE)?, text(KEY)?).with_context(|| format!("use the CA in {name}"))
}

/// The CA that the secret server of this namespace published.
pub(super) async fn published(client: &Client, namespace: &str) -> Result<String> {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let found = maps.get_opt(CA).await;
    let found = found.map_err(|error| anyhow::anyhow!("read ConfigMap {namespace}/{CA}: {}", explain(&error)))?;
    let mut data = found.and_then(|map| map.data).unwrap_or_default();
    data.remove(CERTIFICATE).with_context(|| {
        format!("there is no CA in ConfigMap {namespace}/{CA} yet: the secret server writes it when it has started")
    })
}

/// Publishes CA and address, so that `homelab kv` and people find the secret server.
pub(super) async fn address(client: &Client, settings: &Settings, authority: &Authority) -> Result<()> {
    let map = ConfigMap {
        metadata: ours(CA),
        data: Some(BTreeMap::from([
            (CERTIFICATE.to_owned(), authority.certificate.clone()),
            ("address".to_owned(), settings.secrets_url.clone()),
        ])),
        ..ConfigMap::default()
    };
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &settings.home);
    let map = with_type(&map, "v1", "ConfigMap")?;
    maps.patch(CA, &applied(), &Patch::Apply(&map))
        .await
        .map(drop)
        .map_err(|error| anyhow::anyhow!("publish the CA in ConfigMap {}/{CA}: {}", settings.home, explain(&error)))
}

/// Writes the webhook and the policy behind it, where the API server can reach us.
pub(super) async fn webhook(client: &Client, settings: &Settings, authority: &Authority) -> Result<()> {
    if !settings.has_webhook() {
        tracing::info!("no --webhook-url: pods outside Apps get no secrets from this daemon");
        return Ok(());
    }
    let wish = webhook_settings(settings, authority.certificate.clone());
    let [policy, binding] = validating_policy(&wish);
    for object in [webhook_configuration(&wish), policy, binding] {
        apply(client, &object).await?;
    }
    Ok(())
}

/// Namespaces whose pods the webhook never sees.
pub(super) fn left_alone(settings: &Settings) -> Vec<String> {
    webhook_settings(settings, String::new()).left_alone()
}

fn webhook_settings(settings: &Settings, ca_pem: String) -> WebhookSettings {
    let target = match &settings.args.webhook_url {
        Some(url) => WebhookTarget::Url(url.clone()),
        None => {
            WebhookTarget::Service { namespace: settings.home.clone(), name: settings.args.service.clone(), port: 443 }
        }
    };
    WebhookSettings {
        name: settings.cluster_name(),
        ca_pem,
        target,
        namespaces: settings.only(),
        // On a host there is no pod of ours to keep startable.
        own_namespace: settings.in_cluster.then(|| settings.home.clone()),
    }
}

async fn apply(client: &Client, object: &Value) -> Result<()> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let gvk = GroupVersionKind::try_from(TypeMeta { api_version: version.into(), kind: kind.into() })
        .with_context(|| format!("read the kind of {kind} {name}"))?;
    let api = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::from_gvk(&gvk));
    let answer = api.patch(name, &applied(), &Patch::Apply(object)).await;
    answer.map(drop).map_err(|error| anyhow::anyhow!("write {kind} {name}: {}", explain(&error)))
}

/// These objects are ours whole, whoever touched them.
fn applied() -> PatchParams {
    PatchParams::apply(manager::DAEMON).force()
}

fn ours(name: &str) -> ObjectMeta {
    let labels = BTreeMap::from([(label::MANAGED_BY.to_owned(), label::MANAGED_BY_US.to_owned())]);
    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() }
}

fn with_type<T: serde::Serialize>(object: &T, version: &str, kind: &str) -> Result<Value> {
    let mut value = serde_json::to_value(object).context("write JSON")?;
    value["apiVersion"] = version.into();
    value["kind"] = kind.into();
    Ok(value)
}
