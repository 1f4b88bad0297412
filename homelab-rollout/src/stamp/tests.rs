use insta::assert_yaml_snapshot;
use proptest::prelude::*;

use super::*;
use crate::ports::{PortError, SecretTarget};

/// Adds one volume, once.
struct Volume;

impl PodInjector for Volume {
    fn inject(&self, template: &mut Value, secrets: &[InjectedSecret]) -> Result<(), PortError> {
        let names: Vec<_> = secrets.iter().map(|s| format!("{}@{}", s.path, s.version)).collect();
        template["spec"]["volumes"] = json!([{"name": "homelab-secrets", "names": names}]);
        Ok(())
    }
}

fn input(mode: Mode) -> StampInput {
    StampInput {
        format: FORMAT,
        app: "web".into(),
        release: "web-green".into(),
        colour: Some(Colour::Green),
        revision: "0a1b2c3d4e".into(),
        mode,
        secrets: vec![InjectedSecret {
            path: "kv/web/db".into(),
            version: 3,
            keys: vec!["password".into()],
            target: SecretTarget::Files("/run/secrets/db".into()),
        }],
        injector: Value::Null,
    }
}

const CHART: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-green, annotations: {postrenderer.helm.sh/postrender-filename: 'web/templates/web.yaml'}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web-green}}
  template:
    metadata: {labels: {app: web-green}}
    spec:
      containers:
      - {name: web, image: "web:1"}
      - {name: side, image: "side:1", lifecycle: {preStop: {exec: {command: [stop]}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: web-green-migrate, annotations: {helm.sh/hook: pre-upgrade}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: m, image: "web:1"}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: web-green-tidy}
spec: {schedule: "@daily", jobTemplate: {spec: {template: {spec: {containers: [{name: t, image: "web:1"}]}}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web-green}
spec: {maxReplicas: 3}
---
apiVersion: v1
kind: Service
metadata: {name: web-green}
spec: {selector: {app: web-green}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web-green-database}
spec: {selector: {operator: database}, ports: [{port: 5432}]}
---
apiVersion: example.com/v1
kind: Rocket
metadata: {name: r}
spec: {template: {spec: {containers: [{name: x}]}}}
"#;

fn stamped(mode: Mode) -> Vec<Value> {
    let out = run(CHART, &input(mode), &Volume).unwrap();
    stream::objects(&out).unwrap()
}

#[test]
fn serving() {
    let replicas = [("Deployment/*".to_owned(), 5)].into();
    assert_yaml_snapshot!(stamped(Mode::Serving(replicas)));
}

#[test]
fn idle() {
    assert_yaml_snapshot!(stamped(Mode::Idle));
}

#[test]
fn what_is_not_stamped_keeps_its_text() {
    let out = run(CHART, &input(Mode::Serving(BTreeMap::new())), &Volume).unwrap();
    let tail = CHART.split_once("apiVersion: v1\nkind: Service\nmetadata: {name: web-green-database}").unwrap().1;
    assert!(out.contains(tail.trim_end()), "{out}");
}

#[test]
fn a_service_of_an_app_without_colours_keeps_its_selector() {
    let input = StampInput { colour: None, ..input(Mode::Serving(BTreeMap::new())) };
    let objects = stream::objects(&run(CHART, &input, &Volume).unwrap()).unwrap();
    let service = objects.iter().find(|o| o["kind"] == "Service").unwrap();
    assert_eq!(service["spec"]["selector"], json!({"app": "web-green"}));
}

#[test]
fn a_short_grace_period_is_not_overrun() {
    let mut pod = json!({"spec": {"terminationGracePeriodSeconds": 3, "containers": [{"name": "a"}]}});
    pre_stop(&mut pod);
    assert_eq!(pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"], 2);
    let mut pod = json!({"spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "a"}]}});
    pre_stop(&mut pod);
    assert_eq!(pod["spec"]["containers"][0], json!({"name": "a"}));
}

#[test]
fn a_broken_template_is_named() {
    let yaml = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: {metadata: []}}}";
    let error = run(yaml, &input(Mode::Idle), &Volume).unwrap_err();
    assert_eq!(error.to_string(), "Deployment d: has something else where an object belongs in its pod template");
}

#[test]
fn input_of_another_format_is_refused_by_name() {
    let written = serde_json::to_value(input(Mode::Idle)).unwrap();
    assert_eq!(StampInput::read(written.to_string().as_bytes()).unwrap(), input(Mode::Idle));
    let mut newer = written;
    newer["format"] = json!(2);
    let error = StampInput::read(newer.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "stamp input has format 2, this program reads 1");
}

proptest! {
    #[test]
    fn twice_is_once(
        kinds in prop::collection::vec(prop::sample::select(vec![
            ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("apps/v1", "DaemonSet"), ("batch/v1", "Job"),
            ("batch/v1", "CronJob"), ("v1", "Pod"), ("v1", "ConfigMap"), ("policy/v1", "PodDisruptionBudget"), ("v1", "Service"),
        ]), 0..6),
        grace in prop::option::of(0_i64..40), idle in any::<bool>(), labels in any::<bool>(), replicas in 0..9_i32,
    ) {
        let mut objects: Vec<Value> = kinds.iter().enumerate().map(|(i, (api_version, kind))| {
            let mut pod = json!({"spec": {"terminationGracePeriodSeconds": grace, "containers": [{"name": "a"}]}});
            if labels { pod["metadata"] = json!({"labels": {"app": "web"}, "annotations": null}); }
            json!({
                "apiVersion": api_version, "kind": kind, "metadata": {"name": format!("n{i}")},
                "spec": {"selector": {"app": "web"}, "template": pod, "jobTemplate": {"spec": {"template": pod}}, "containers": [{"name": "a"}]},
            })
        }).collect();
        let mode = if idle { Mode::Idle } else { Mode::Serving([("Deployment/n0".to_owned(), replicas)].into()) };
        stamp(&mut objects, &input(mode.clone()), &Volume).unwrap();
        let once = objects.clone();
        stamp(&mut objects, &input(mode), &Volume).unwrap();
        prop_assert_eq!(objects, once);
    }
}

#[test]
fn what_pods_are_stamped_with_is_read_back_the_least_of_each() {
    let stamped = |kind: &str, version: &str, text: &str| {
        let template = json!({"metadata": {"annotations": {annotation::SECRETS: text}}});
        json!({"apiVersion": version, "kind": kind, "spec": {"template": template}})
    };
    let objects = [
        stamped("Deployment", "apps/v1", "kv/web/db@3,git/home/web/a@b@7"),
        stamped("Job", "batch/v1", "kv/web/db@2"),
        stamped("Service", "v1", "kv/web/other@1"),
        stamped("StatefulSet", "apps/v1", "nonsense,kv/web/x@y"),
    ];
    assert_eq!(carried(&objects), BTreeMap::from([("git/home/web/a@b".to_owned(), 7), ("kv/web/db".to_owned(), 2)]));
}
