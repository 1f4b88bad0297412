//! Adds our parts to a pod's spec, and takes them away again.

use homelab_core::meta::TOKEN_AUDIENCE;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Map, Value, json};

use super::wish::{Place, Wish, refuse};
use super::{AGENT, AGENT_ROOT, FORMAT, InjectConfig, REFRESHER, Refresh, TOKEN_FOLDER, TOKEN_VOLUME, VOLUME};
use crate::Error;

/// Variable of the agent that says what to bring.
const WISH: &str = "HOMELAB_SECRETS";
/// User that the agent runs as where the pod does not tell one.
const AGENT_USER: i64 = 65532;
/// Seconds that the agent's token lives: the least that Kubernetes gives; the kubelet renews it.
const TOKEN_SECONDS: u32 = 600;

/// All init containers and containers.
pub(super) fn all_containers(pod: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().filter_map(|list| pod.get(list)?.as_array()).flatten()
}

/// Takes away what an earlier call added; refuses a pod where something else has our names.
pub(super) fn strip(pod: &mut Map<String, Value>) -> Result<(), Error> {
    let named = |value: &Value, name: &str| value.get("name").and_then(Value::as_str) == Some(name);
    let is_named = |container: &Value| [AGENT, REFRESHER].iter().any(|name| named(container, name));
    let is_ours = |container: &Value| is_named(container) && env_of(container).any(|env| named(env, WISH));
    let was_here = pod.get("initContainers").and_then(Value::as_array).is_some_and(|list| list.iter().any(is_ours));
    retain(pod, "initContainers", |container| !is_ours(container));
    if let Some(found) = all_containers(pod).find(|container| is_named(container)) {
        let name = found.get("name").and_then(Value::as_str).unwrap_or(AGENT);
        return refuse(format!("the pod has a container {name} that is not ours; give it another name"));
    }
    if was_here {
        retain(pod, "volumes", |volume| !named(volume, VOLUME) && !named(volume, TOKEN_VOLUME));
        for container in containers_mut(pod) {
            retain(container, "volumeMounts", |mount| !named(mount, VOLUME));
            let from =
                |env: &Value| env.pointer("/valueFrom/fileKeyRef/volumeName").and_then(Value::as_str) == Some(VOLUME);
            retain(container, "env", |env| !from(env));
        }
    }
    let volumes = pod.get("volumes").and_then(Value::as_array).into_iter().flatten();
    match volumes.filter_map(|v| v.get("name")?.as_str()).find(|name| [VOLUME, TOKEN_VOLUME].contains(name)) {
        Some(name) => refuse(format!("the pod has a volume {name} that is not ours; give it another name")),
        None => Ok(()),
    }
}

/// Adds the agent, its volumes, and what the other containers see of them.
pub(super) fn add(pod: &mut Map<String, Value>, wishes: &[Wish<'_>], refresh: Option<&Refresh>, config: &InjectConfig) {
    let agent = agent(pod, wishes, config);
    let sidecar = refresh.map(|refresh| refresher(pod, &agent, wishes, refresh));
    let agents: Vec<_> = std::iter::once(agent).chain(sidecar).collect();
    let mounts: Vec<_> = wishes.iter().filter_map(mount).collect();
    let variables: Vec<_> = wishes.iter().flat_map(variables).collect();
    for container in containers_mut(pod) {
        push(container, "volumeMounts", &mounts);
        // First, so that the pod's own variables can refer to them: `$(API_KEY)`.
        prepend(container, "env", &variables);
    }
    prepend(pod, "initContainers", &agents);
    // Values are at most 1 MiB; room for two of each, so that one can be replaced in place.
    let size = format!("{}Mi", 2 + 2 * wishes.len());
    let token = json!({"audience": TOKEN_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"});
    push(
        pod,
        "volumes",
        &[
            json!({"name": VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": size}}),
            json!({"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}),
        ],
    );
}

fn agent(pod: &Map<String, Value>, wishes: &[Wish<'_>], config: &InjectConfig) -> Value {
    let (user, mode) = user_and_mode(pod);
    let requests = json!({"cpu": "10m", "memory": "16Mi"});
    let limits = json!({"cpu": "500m", "memory": "64Mi"});
    // Requests equal to limits keep a pod of class Guaranteed in its class.
    let requests = if is_guaranteed(pod) { limits.clone() } else { requests };
    json!({
        "name": AGENT,
        "image": config.image,
        "imagePullPolicy": config.image_pull_policy,
        "env": [
            {"name": WISH, "value": wish_text(wishes, mode)},
            {"name": "HOMELAB_ADDR", "value": config.addr},
            {"name": "HOMELAB_CA", "value": config.ca_pem},
        ],
        "resources": {"requests": requests, "limits": limits},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsGroup": user,
            "runAsNonRoot": true,
            "runAsUser": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": VOLUME, "mountPath": AGENT_ROOT},
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": true},
        ],
    })
}

/// The agent again, as a sidecar for those secrets that are to follow the store.
fn refresher(pod: &Map<String, Value>, agent: &Value, wishes: &[Wish<'_>], refresh: &Refresh) -> Value {
    let followed = wishes.iter().filter(|wish| refresh.paths.contains(&wish.secret.path));
    let mut sidecar = agent.clone();
    sidecar["name"] = json!(REFRESHER);
    sidecar["restartPolicy"] = json!("Always");
    sidecar["env"][0]["value"] = json!(wish_text(followed, user_and_mode(pod).1));
    if let Some(env) = sidecar["env"].as_array_mut() {
        env.push(json!({"name": "HOMELAB_REFRESH", "value": refresh.every.to_string()}));
    }
    sidecar
}

/// What the agent is told, format [`FORMAT`].
fn wish_text<'a>(wishes: impl IntoIterator<Item = &'a Wish<'a>>, mode: &str) -> String {
    let secrets: Vec<_> = wishes
        .into_iter()
        .map(|Wish { secret, to, .. }| {
            json!({"path": secret.path, "version": secret.version, "keys": secret.keys, "as": secret.target, "to": to})
        })
        .collect();
    json!({"format": FORMAT, "mode": mode, "secrets": secrets}).to_string()
}

/// Which secrets, at which versions, the agent of a pod has to bring; none for a pod that is not ours.
pub fn carried(pod: &PodSpec) -> Vec<(String, u64)> {
    let agent = pod.init_containers.iter().flatten().find(|container| container.name == AGENT);
    let wish = agent.and_then(|agent| agent.env.iter().flatten().find(|env| env.name == WISH)?.value.as_deref());
    let wish: Value = wish.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let secrets = wish.get("secrets").and_then(Value::as_array).into_iter().flatten();
    let carried = |secret: &Value| Some((secret.get("path")?.as_str()?.to_owned(), secret.get("version")?.as_u64()?));
    secrets.filter_map(carried).collect()
}

/// Whether some of them follow the store while the pod runs.
pub fn is_refreshed(pod: &PodSpec) -> bool {
    pod.init_containers.iter().flatten().any(|container| container.name == REFRESHER)
}

fn mount(wish: &Wish<'_>) -> Option<Value> {
    match &wish.place {
        Place::Folder(folder) => {
            Some(json!({"name": VOLUME, "mountPath": folder, "subPath": wish.to, "readOnly": true}))
        }
        Place::Variables(_) => None,
    }
}

fn variables<'a>(wish: &'a Wish<'_>) -> impl Iterator<Item = Value> + 'a {
    let names = match &wish.place {
        Place::Folder(_) => &[],
        Place::Variables(names) => names.as_slice(),
    };
    names.iter().map(
        |name| json!({"name": name, "valueFrom": {"fileKeyRef": {"volumeName": VOLUME, "path": wish.to, "key": name}}}),
    )
}

/// The agent's user and the mode of files, so that the containers can read them and as few others as possible.
///
/// One user for all: that user alone. A group for volumes (`fsGroup`): that group, which the volume's folders hand down.
/// Else anybody in the pod that mounts the folder. The agent takes the common user so that the kubelet's rule "one user
/// in the pod: its tokens are readable by that user alone" still holds with it.
fn user_and_mode(pod: &Map<String, Value>) -> (i64, &'static str) {
    let number = |value: Option<&Value>, field: &str| value?.get("securityContext")?.get(field)?.as_i64();
    let of_pod = |field: &str| pod.get("securityContext")?.get(field)?.as_i64();
    let mut users =
        all_containers(pod).map(|container| number(Some(container), "runAsUser").or_else(|| of_pod("runAsUser")));
    let first = users.next().flatten().filter(|user| *user != 0);
    let common = first.filter(|first| users.all(|user| user == Some(*first)));
    match (common, of_pod("fsGroup")) {
        (Some(user), _) => (user, "0400"),
        (None, Some(_)) => (AGENT_USER, "0440"),
        (None, None) => (AGENT_USER, "0444"),
    }
}

/// Whether all containers ask for what they are limited to (QoS class Guaranteed).
fn is_guaranteed(pod: &Map<String, Value>) -> bool {
    let quantity =
        |container: &Value, list: &str, name: &str| container.get("resources")?.get(list)?.get(name).cloned();
    let fixed = |container: &Value, name: &str| match quantity(container, "limits", name) {
        Some(limit) => quantity(container, "requests", name).is_none_or(|request| request == limit),
        None => false,
    };
    all_containers(pod).all(|container| fixed(container, "cpu") && fixed(container, "memory"))
}

fn env_of(container: &Value) -> impl Iterator<Item = &Value> {
    container.get("env").and_then(Value::as_array).into_iter().flatten()
}

fn containers_mut(pod: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    pod.iter_mut()
        .filter(|(list, _)| ["initContainers", "containers"].contains(&list.as_str()))
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// Keeps the items of a list that `keep` wants; an empty list goes.
fn retain(object: &mut Map<String, Value>, list: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(items) = object.get_mut(list).and_then(Value::as_array_mut) {
        let before = items.len();
        items.retain(keep);
        if items.is_empty() && before > 0 {
            object.remove(list);
        }
    }
}

fn push(object: &mut Map<String, Value>, list: &str, items: &[Value]) {
    insert(object, list, items, false);
}

fn prepend(object: &mut Map<String, Value>, list: &str, items: &[Value]) {
    insert(object, list, items, true);
}

fn insert(object: &mut Map<String, Value>, list: &str, items: &[Value], first: bool) {
    if items.is_empty() {
        return;
    }
    let here = object.entry(list).or_insert_with(|| json!([]));
    if here.is_null() {
        *here = json!([]);
    }
    if let Some(here) = here.as_array_mut() {
        let at = if first { 0 } else { here.len() };
        here.splice(at..at, items.iter().cloned());
    }
}
