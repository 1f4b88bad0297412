//! Keys of slots in a Kubernetes Secret.
//!
//! Each lies in the text of a key file: the first under `store.key`, later ones under `SLOT.key`. While a slot takes the
//! place of another, both keys lie there, so that a start in between finds the one that opens.

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
use crate::keys::{KeyId, SlotKey, Unlock};

/// Type of a Secret with keys of slots.
pub const KEY_SECRET_TYPE: &str = "homelab.dev/store-key";
/// Entry of the first key.
const KEY: &str = "store.key";
const SUFFIX: &str = ".key";

/// Under which entry of a Secret the key of this slot is put beside others.
pub fn key_entry(slot: KeyId) -> String {
    format!("{slot}{SUFFIX}")
}

/// The keys in a Secret, by their entries. What is no key is passed by.
pub fn keys_of_secret(secret: Secret) -> BTreeMap<String, SlotKey> {
    let key = |(entry, text): (String, ByteString)| {
        let text = Zeroizing::new(text.0);
        let key = entry.ends_with(SUFFIX).then(|| std::str::from_utf8(&text).ok().map(SlotKey::from_file))??;
        Some((entry, key.ok()?))
    };
    secret.data.unwrap_or_default().into_iter().filter_map(key).collect()
}

/// Reads the keys in the Secret `name`. Where there is none and `may_create`, makes one; if another process is faster, its
/// key is the one.
///
/// Say `may_create` only while there is no store yet: a new key opens none.
pub async fn cluster_keys(
    client: Client,
    namespace: &str,
    name: &str,
    may_create: bool,
    host: &dyn Host,
) -> Result<Vec<Unlock>, Error> {
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
        type_: Some(KEY_SECRET_TYPE.into()),
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(key.to_file().as_bytes().to_vec()))])),
        ..Secret::default()
    };
    let params = PostParams { field_manager: Some(manager::SECRETS.into()), ..PostParams::default() };
    match secrets.create(&params, &secret).await {
        Ok(_) => Ok(vec![Unlock::KubernetesSecret(key)]),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let found = secrets.get(name).await.map_err(|error| failed("can not be read", &error))?;
            of_secret(found, &place)
        }
        Err(error) => Err(failed("can not be made", &error)),
    }
}

fn of_secret(secret: Secret, place: &str) -> Result<Vec<Unlock>, Error> {
    let keys: Vec<_> = keys_of_secret(secret).into_values().map(Unlock::KubernetesSecret).collect();
    match keys.is_empty() {
        true => Err(Error::Invalid(format!("{place} holds no key of a store: restore it from your backup"))),
        false => Ok(keys),
    }
}

#[cfg(test)]
mod tests {
    use super::super::System;
    use super::*;

    #[test]
    fn all_keys_of_a_secret_are_found_and_nothing_else() {
        let [one, two] = [(); 2].map(|()| SlotKey::generate(&|buffer| System.random(buffer)).unwrap());
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = [
            (KEY.to_owned(), text(&one.to_file())),
            (key_entry(two.id()), text(&two.to_file())),
            ("other.key".to_owned(), text("something else")),
            ("note".to_owned(), text(&one.to_file())),
        ];
        let secret = |data| Secret { data: Some(data), ..Secret::default() };
        let found = keys_of_secret(secret(data.into()));
        let ids: Vec<_> = found.iter().map(|(entry, key)| (entry.clone(), key.id())).collect();
        let mut expected = [(KEY.to_owned(), one.id()), (key_entry(two.id()), two.id())];
        expected.sort();
        assert_eq!(ids, expected);

        let error = of_secret(secret(BTreeMap::from([("x.key".into(), text("planted"))])), "Secret a/b").unwrap_err();
        assert!(error.to_string().starts_with("Secret a/b holds no key") && !error.to_string().contains("planted"));
    }
}
