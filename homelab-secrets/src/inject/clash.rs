//! Where a wish and the pod do not go together.

use serde_json::{Map, Value};

use super::pod::all_containers;
use super::wish::{Place, Wish, inside, refuse};
use crate::Error;

/// Refuses wishes that would change what the pod does otherwise. Ours is already stripped from `pod`.
pub(super) fn check(pod: &Map<String, Value>, wishes: &[Wish<'_>]) -> Result<(), Error> {
    if pod.get("os").and_then(|os| os.get("name")).and_then(Value::as_str) == Some("windows") {
        return refuse("secrets can not be injected into Windows pods".into());
    }
    for container in all_containers(pod) {
        let name = container.get("name").and_then(Value::as_str).unwrap_or("?");
        for wish in wishes {
            match &wish.place {
                Place::Folder(folder) => check_folder(container, name, folder, wish)?,
                Place::Variables(variables) => check_variables(container, name, variables, wish)?,
            }
        }
    }
    Ok(())
}

fn check_folder(container: &Value, name: &str, folder: &str, wish: &Wish<'_>) -> Result<(), Error> {
    let mounts = container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
    for mount in mounts.filter_map(|mount| mount.get("mountPath").and_then(Value::as_str)) {
        if inside(mount, folder) {
            return refuse(format!(
                "container {name} already mounts {mount}, where {} should go ({folder}); take another folder",
                wish.secret.path
            ));
        }
    }
    Ok(())
}

fn check_variables(container: &Value, name: &str, variables: &[String], wish: &Wish<'_>) -> Result<(), Error> {
    let env = container.get("env").and_then(Value::as_array).into_iter().flatten();
    for set in env.filter_map(|env| env.get("name").and_then(Value::as_str)) {
        if variables.iter().any(|variable| variable == set) {
            return refuse(format!(
                "container {name} already sets {set}, which should come from {}; drop it there or take another prefix",
                wish.secret.path
            ));
        }
    }
    Ok(())
}
