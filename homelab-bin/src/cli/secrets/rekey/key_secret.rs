//! The Secret that keys of slots lie in. A key is in it before its slot is made, and leaves it after its slot is gone.

use std::fmt;

use anyhow::Result;
use homelab_secrets::backend::{KEY_SECRET_TYPE, key_entry, keys_of_secret};
use homelab_secrets::keys::SlotKey;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cli::cluster::{Cluster, failed};
use crate::cli::output;

pub(super) struct KeySecret {
    api: Api<Secret>,
    namespace: String,
    name: String,
}

impl fmt::Display for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}/{}", self.namespace, self.name)
    }
}

impl KeySecret {
    pub(super) fn new(cluster: &Cluster, namespace: &str, name: &str) -> Self {
        let api = Api::namespaced(cluster.client.clone(), namespace);
        Self { api, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Adds a key beside those that are there; gives the name of its entry.
    pub(super) async fn put(&self, key: &SlotKey) -> Result<String> {
        let entry = key_entry(key.id());
        let data = json!({ &entry: key.to_file().as_str() });
        let there = self.api.get_metadata_opt(&self.name).await.map_err(|error| self.failed("read", &error))?;
        let done = match there {
            Some(_) => self.patch(&json!({ "stringData": data })).await,
            None => {
                let object = Secret {
                    metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                    string_data: Some([(entry.clone(), key.to_file().to_string())].into()),
                    type_: Some(KEY_SECRET_TYPE.into()),
                    ..Secret::default()
                };
                self.api.create(&PostParams::default(), &object).await.map(drop)
            }
        };
        done.map_err(|error| self.failed("put the new key into", &error)).map(|()| entry)
    }

    /// Takes an entry out again. What can not be taken is said: it opens nothing.
    pub(super) async fn take(&self, entry: &str) {
        if let Err(error) = self.patch(&json!({ "data": { entry: Value::Null } })).await {
            output::note(&format!("{entry} of {self} opens nothing and can be deleted: {error}"));
        }
    }

    /// Takes the key of a slot out that is gone. One that lies elsewhere is not ours to look for.
    pub(super) async fn forget(&self, slot: &str) {
        let Ok(Some(secret)) = self.api.get_opt(&self.name).await else { return };
        let of_slot = keys_of_secret(secret).into_iter().find(|(_, key)| key.id().to_string() == slot);
        if let Some((entry, _)) = of_slot {
            self.take(&entry).await;
        }
    }

    async fn patch(&self, patch: &Value) -> Result<(), kube::Error> {
        self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    fn failed(&self, what: &str, error: &kube::Error) -> anyhow::Error {
        failed(&format!("{what} {self}"), error)
    }
}
