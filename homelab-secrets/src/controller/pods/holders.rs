//! Which pod has which version, from the pods that are watched anyway.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;

use crate::inject::carried;

/// The pods that get secrets. Empty until [`run`](super::run) watches them; clones share it.
#[derive(Clone, Default)]
pub struct Holders(Arc<OnceLock<Vec<Store<Pod>>>>);

impl std::fmt::Debug for Holders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Holders(…)")
    }
}

/// One pod and one of its secrets, at the version that it was started with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The secret.
    pub path: String,
    /// Its version.
    pub version: u64,
}

impl Holders {
    /// Everything that pods have now, in order.
    pub fn all(&self) -> Vec<Held> {
        let stores = self.0.get().into_iter().flatten();
        let mut held: Vec<_> = stores.flat_map(Store::state).flat_map(|pod| of(&pod)).collect();
        held.sort();
        held
    }

    /// There is one watch in a process: the first counts.
    pub(super) fn set(&self, pods: Vec<Store<Pod>>) {
        drop(self.0.set(pods));
    }
}

fn of(pod: &Pod) -> Vec<Held> {
    let held =
        |(path, version)| Held { namespace: pod.namespace().unwrap_or_default(), pod: pod.name_any(), path, version };
    pod.spec.as_ref().map(carried).unwrap_or_default().into_iter().map(held).collect()
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher};
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_told_with_what_they_carry() {
        let holders = Holders::default();
        assert_eq!(holders.all(), []);
        let (store, mut writer) = reflector::store();
        let wish = json!({"secrets": [{"path": "kv/web/db", "version": 3}, {"path": "kv/web/api", "version": 1}]});
        let pod = |name: &str, env: serde_json::Value| -> Pod {
            let agent = json!({"name": "homelab-agent", "env": env});
            let spec = json!({"containers": [], "initContainers": [agent]});
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "web"}, "spec": spec})).unwrap()
        };
        for pod in
            [pod("web-1", json!([{"name": "HOMELAB_SECRETS", "value": wish.to_string()}])), pod("bare", json!([]))]
        {
            writer.apply_watcher_event(&watcher::Event::Apply(pod));
        }
        holders.set(vec![store]);
        let held =
            |path: &str, version| Held { namespace: "web".into(), pod: "web-1".into(), path: path.into(), version };
        assert_eq!(holders.all(), [held("kv/web/api", 1), held("kv/web/db", 3)]);
    }
}
