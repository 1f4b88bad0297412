use insta::assert_snapshot;
use serde_json::json;

use super::*;

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
           "spec": {"template": {"metadata": {"labels": {"app": name}}, "spec": {}}}})
}

fn service_of(name: &str, selects: &str, ports: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
           "spec": {"selector": {"app": selects}, "ports": ports}})
}

fn good(release: &str) -> Vec<Value> {
    vec![deployment(release), service_of(release, release, &json!([{"name": "http", "port": 80, "targetPort": 8080}]))]
}

fn problems(more: impl Fn(&str) -> Vec<Value>) -> String {
    let render = |release: &str| Rendered { release: release.into(), objects: [good(release), more(release)].concat() };
    check(&render("web-blue"), &render("web-green")).iter().map(|p| format!("{p}\n")).collect()
}

#[test]
fn a_chart_that_follows_its_release_can_stand_twice() {
    assert_eq!(problems(|_| vec![]), "");
}

#[test]
fn each_problem_says_what_to_set() {
    let bad = |release: &str| {
        vec![
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fixed"}}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": release}}),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": release}}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": release},
                   "spec": {"rules": [{"host": "web.home.example"}]}}),
            service_of(&format!("{release}-all"), "web-blue", &json!([])),
        ]
    };
    assert_snapshot!(problems(bad), @r"
    ConfigMap fixed would belong to both colours, its name does not follow the release: set fullnameOverride to ${homelab.release}, or whichever value of the chart names it
    ClusterRole.rbac.authorization.k8s.io web-green belongs to the whole cluster and can not stand twice: switch it off in the values (often rbac.clusterRole, crds.enabled or serviceAccount.create) and apply it beside the App
    PersistentVolumeClaim web-green holds data, which two colours can not share: set persistence.enabled to false, or use strategy rolling
    Service web-green-all would also select the pods of Deployment.apps web-blue of the other colour: set nameOverride to ${homelab.release}, or whichever value makes its selector follow the release
    Ingress.networking.k8s.io web-green takes the host web.home.example for both colours: set ingress.enabled to false and name the host in routes[].hosts
    ");
}

fn chosen(objects: &[Value], wanted: Option<&str>, port: Value) -> String {
    match backend("web", "web-blue", objects, wanted, &port) {
        Ok((service, number, target)) => format!("{}:{number} → {target}", service.name),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_backend_has_the_port_and_selects_the_pods() {
    let one = good("web-blue");
    assert_eq!(chosen(&one, None, json!("http")), "web-blue:80 → 8080");
    assert_eq!(chosen(&one, None, json!(80)), "web-blue:80 → 8080");
    assert_eq!(chosen(&one, Some("web"), json!("http")), "web-blue:80 → 8080");
    assert_eq!(
        chosen(&one, None, json!("grpc")),
        "no Service of release web-blue has port grpc; it has web-blue (http=80)"
    );
    assert_eq!(
        chosen(&one, Some("api"), json!("http")),
        "no Service named api of release web-blue has port http; it has web-blue (http=80)"
    );
    let other = service_of("db", "db", &json!([{"name": "http", "port": 80}]));
    assert_eq!(chosen(&[one.clone(), vec![other]].concat(), None, json!("http")), "web-blue:80 → 8080");
    let twin = service_of("web-blue-admin", "web-blue", &json!([{"name": "http", "port": 80}]));
    let two = [one, vec![twin]].concat();
    assert_eq!(
        chosen(&two, None, json!("http")),
        "more than one Service of release web-blue has port http: web-blue, web-blue-admin; name one in routes[].service"
    );
    assert_eq!(chosen(&two, Some("web-admin"), json!("http")), "web-blue-admin:80 → 80");
    assert_eq!(
        chosen(&[], None, json!(80)),
        "no Service of release web-blue has port 80; it has none that selects its pods"
    );
}
