//! The key of a slot in a Kubernetes Secret.

use std::collections::BTreeMap;

use homelab_core::client::explain;
use homelab_core::meta::{label, manager};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::Host;
use crate::Error;
use crate::keys::{SlotKey, Unlock};

const KEY: &str = "store.key";

/// Reads the key in the Secret `name`, in the text of a key file under `store.key`. Where there is none and
/// `may_create`, makes one; if another process is faster, its key is the one.
///
/// Say `may_create` only while there is no store yet: a new key opens none.
pub async fn cluster_key(
    client: Client,
    namespace: &str,
    name: &str,
    may_create: bool,
    host: &dyn Host,
) -> Result<Unlock, Error> {
    let secrets = Api::<Secret>::namespaced(client, namespace);
    let place = format!("Secret {namespace}/{name}");
    let failed = |what: &str, error: &kube::Error| Error::Backend(format!("{place} {what}: {}", explain(error)));
    if let Some(found) = secrets.get_opt(name).await.map_err(|error| failed("can not be read", &error))? {
        return of_secret(found, &place);
    }
    if !may_create {
        return Err(Error::Invalid(format!(
            "{place} is missing, and without it the store does not open: restore it from your backup"
        )));
    }
    let key = SlotKey::generate(&|buffer| host.random(buffer))?;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(BTreeMap::from([(label::MANAGED_BY.to_owned(), label::MANAGED_BY_US.to_owned())])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(key.to_file().as_bytes().to_vec()))])),
        ..Secret::default()
    };
    let params = PostParams { field_manager: Some(manager::SECRETS.into()), ..PostParams::default() };
    match secrets.create(&params, &secret).await {
        Ok(_) => Ok(Unlock::KubernetesSecret(key)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let found = secrets.get(name).await.map_err(|error| failed("can not be read", &error))?;
            of_secret(found, &place)
        }
        Err(error) => Err(failed("can not be made", &error)),
    }
}

fn of_secret(secret: Secret, place: &str) -> Result<Unlock, Error> {
    let text = secret.data.unwrap_or_default().remove(KEY).map(|text| Zeroizing::new(text.0));
    let wrong = |why: &str| Error::Invalid(format!("{place}: {KEY} {why}: restore it from your backup"));
    let text = text.ok_or_else(|| wrong("is missing"))?;
    let text = std::str::from_utf8(&text).map_err(|_| wrong("is no text"))?;
    SlotKey::from_file(text).map(Unlock::KubernetesSecret).map_err(|_| wrong("is no key"))
}
