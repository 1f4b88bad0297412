use serde_json::{Value, json};

use super::*;

fn config() -> InjectConfig {
    InjectConfig {
        image: "homelab:test".into(),
        addr: "https://10.89.0.1:8200".into(),
        ca_pem: "PEM".into(),
        image_pull_policy: "IfNotPresent".into(),
    }
}

fn files(path: &str, folder: &str) -> InjectedSecret {
    InjectedSecret {
        path: path.into(),
        version: 3,
        keys: vec!["user".into(), "tls.crt".into()],
        target: SecretTarget::Files(folder.into()),
    }
}

fn env(path: &str, prefix: &str) -> InjectedSecret {
    InjectedSecret {
        path: path.into(),
        version: 1,
        keys: vec!["KEY".into(), "URL".into()],
        target: SecretTarget::Env(prefix.into()),
    }
}

fn template() -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "initContainers": [{"name": "migrate", "image": "web"}],
            "containers": [{
                "name": "web", "image": "web", "env": [{"name": "DSN", "value": "pg://$(API_KEY)@db"}],
                "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
            }],
            "volumes": [{"name": "cache", "emptyDir": {}}],
        },
    })
}

fn refused(template: &Value, secrets: &[InjectedSecret]) -> String {
    let mut changed = template.clone();
    let error = inject(&mut changed, secrets, &config()).unwrap_err();
    assert_eq!(&changed, template, "unchanged on an error");
    assert_eq!(error.class(), homelab_core::class::Class::Invalid);
    error.to_string()
}

#[test]
fn files_and_variables_reach_every_container() {
    let mut pod = template();
    inject(&mut pod, &[files("kv/web/db", "/run/secrets/db"), env("kv/web/api", "API_")], &config()).unwrap();
    insta::assert_yaml_snapshot!(pod);
}

#[test]
fn a_second_call_replaces_the_first_and_none_takes_all_away() {
    let mut once = template();
    let secrets = [files("kv/web/db", "/run/secrets/db/"), env("kv/web/api", "API_")];
    inject(&mut once, &secrets, &config()).unwrap();
    let mut twice = once.clone();
    inject(&mut twice, &secrets, &config()).unwrap();
    assert_eq!(once, twice);

    inject(&mut twice, &[files("kv/web/other", "/run/other")], &config()).unwrap();
    let mut fresh = template();
    inject(&mut fresh, &[files("kv/web/other", "/run/other")], &config()).unwrap();
    assert_eq!(twice, fresh);

    inject(&mut twice, &[], &config()).unwrap();
    assert_eq!(twice, template());
}

#[test]
fn user_and_mode_follow_the_pod() {
    let agent = |pod: Value| {
        let mut template = json!({"spec": pod});
        inject(&mut template, &[files("kv/web/db", "/run/db")], &config()).unwrap();
        let agent = &template["spec"]["initContainers"][0];
        let wish: Value = serde_json::from_str(agent["env"][0]["value"].as_str().unwrap()).unwrap();
        (agent["securityContext"]["runAsUser"].as_i64().unwrap(), wish["mode"].as_str().unwrap().to_owned())
    };
    let plain = json!([{"name": "a"}]);
    let own = json!([{"name": "a", "securityContext": {"runAsUser": 70}}, {"name": "b"}]);
    assert_eq!(agent(json!({"containers": plain})), (65532, "0444".into()));
    assert_eq!(agent(json!({"containers": plain, "securityContext": {"fsGroup": 5}})), (65532, "0440".into()));
    assert_eq!(agent(json!({"containers": plain, "securityContext": {"runAsUser": 0}})), (65532, "0444".into()));
    assert_eq!(agent(json!({"containers": plain, "securityContext": {"runAsUser": 1000}})), (1000, "0400".into()));
    assert_eq!(agent(json!({"containers": own, "securityContext": {"runAsUser": 1000}})), (65532, "0444".into()));
    assert_eq!(
        agent(json!({"containers": own, "securityContext": {"runAsUser": 70, "fsGroup": 5}})),
        (70, "0400".into())
    );
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let fixed = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    for (resources, equal) in [(fixed, true), (json!({"limits": {"cpu": "1"}}), false), (json!({}), false)] {
        let mut template = json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
        inject(&mut template, &[files("kv/web/db", "/run/db")], &config()).unwrap();
        let resources = &template["spec"]["initContainers"][0]["resources"];
        assert_eq!(resources["requests"] == resources["limits"], equal);
    }
}

#[test]
fn clashes_are_refused_in_words() {
    let plain = template();
    let file = |folder: &str| [files("kv/web/db", folder)];
    let with = |change: fn(&mut Value)| {
        let mut template = template();
        change(&mut template["spec"]);
        template
    };
    let mut odd_key = files("kv/web/db", "/run/db");
    odd_key.keys = vec!["a/b".into()];
    let mut odd_name = env("kv/web/api", "API_");
    odd_name.keys = vec!["data-url".into()];
    let mut no_keys = env("kv/web/api", "API_");
    no_keys.keys.clear();
    let lines = [
        refused(&plain, &file("run/db")),
        refused(&plain, &file("/run/../etc")),
        refused(&plain, &file("/")),
        refused(&plain, &file("/var/run/secrets")),
        refused(&plain, &file("/proc/x")),
        refused(&plain, &file("/a:b")),
        refused(&plain, &file("/cache")),
        refused(&plain, &[files("kv/web/a", "/run/x"), files("kv/web/b", "/var/run/x/y")]),
        refused(&plain, &[env("kv/web/a", "X_"), env("kv/web/b", "X_")]),
        refused(&with(|spec| spec["containers"][0]["env"][0]["name"] = json!("API_KEY")), &[env("kv/web/api", "API_")]),
        refused(&with(|spec| spec["volumes"][0]["name"] = json!(VOLUME)), &file("/run/db")),
        refused(&with(|spec| spec["containers"][0]["name"] = json!(AGENT)), &file("/run/db")),
        refused(&with(|spec| spec["os"] = json!({"name": "windows"})), &file("/run/db")),
        refused(&plain, &[odd_key]),
        refused(&plain, &[odd_name]),
        refused(&plain, &[no_keys]),
        refused(&json!({"metadata": {}}), &file("/run/db")),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_mount_beside_ours_is_no_clash() {
    let mut pod = template();
    inject(&mut pod, &[files("kv/web/db", "/cache2"), files("kv/web/b", "/cache/sub")], &config()).unwrap();
}

#[test]
fn the_annotation_is_read_and_written() {
    let text = "kv/web/db=files:/run/secrets/db, kv/web/api@3=env:API_,\nkv/web/raw=env:";
    let wanted = parse_annotation(text).unwrap();
    let secrets: Vec<_> = wanted
        .into_iter()
        .map(|w| InjectedSecret { path: w.path, version: w.version.unwrap_or(7), keys: vec![], target: w.target })
        .collect();
    assert_eq!(
        format_annotation(&secrets),
        "kv/web/db@7=files:/run/secrets/db,kv/web/api@3=env:API_,kv/web/raw@7=env:"
    );
    for odd in
        ["", " , ", "kv/web/db", "kv/web/db@x=env:A", "kv/web/db@0=env:A", "kv/web/db=/run", "db=env:A", "kv/a=path:x"]
    {
        assert!(parse_annotation(odd).is_err(), "{odd:?}");
    }
}

fn settings(target: WebhookTarget, namespaces: Option<Vec<String>>) -> WebhookSettings {
    WebhookSettings {
        name: "homelab".into(),
        ca_pem: "PEM".into(),
        target,
        namespaces,
        own_namespace: Some("homelab".into()),
    }
}

#[test]
fn the_webhook_fails_closed_for_opted_in_pods_only() {
    let service = WebhookTarget::Service { namespace: "homelab".into(), name: "homelab".into(), port: 8443 };
    insta::assert_yaml_snapshot!("webhook_service", webhook_configuration(&settings(service.clone(), None)));
    let url = WebhookTarget::Url("https://10.89.0.1:8443/".into());
    let by_url = webhook_configuration(&settings(url, Some(vec!["a".into(), "b".into()])));
    assert_eq!(
        by_url["webhooks"][0]["clientConfig"],
        json!({"url": "https://10.89.0.1:8443/mutate/pods", "caBundle": "UEVN"})
    );
    insta::assert_yaml_snapshot!("webhook_namespaces", by_url["webhooks"][0]["namespaceSelector"]);
    insta::assert_yaml_snapshot!("validating_policy", validating_policy(&settings(service, None)));
}

#[cfg(feature = "server")]
mod admission {
    use std::sync::Arc;

    use async_trait::async_trait;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use homelab_core::meta::Account;
    use tower::ServiceExt as _;

    use super::super::server::{AdmissionState, Resolved, SecretLookup, admission_router};
    use super::*;

    struct Store;

    #[async_trait]
    impl SecretLookup for Store {
        async fn look_up(&self, account: &Account, path: &str, version: Option<u64>) -> Result<Resolved, Error> {
            match (account.to_string().as_str(), path) {
                ("web/api", "kv/web/db") => Ok(Resolved { version: version.unwrap_or(4), keys: vec!["user".into()] }),
                (_, "kv/web/none") => {
                    Err(Error::NotFound(format!("{path} does not exist; write it with `homelab kv put`")))
                }
                _ => Err(Error::Denied(format!("{account} may not read {path}"))),
            }
        }
    }

    async fn review(annotation: Option<&str>) -> Value {
        let mut pod = json!({
            "metadata": {"generateName": "web-", "labels": {"homelab.dev/inject": "true"}},
            "spec": {"serviceAccountName": "api", "containers": [{"name": "web"}]},
        });
        if let Some(text) = annotation {
            pod["metadata"]["annotations"] = json!({"homelab.dev/secrets": text});
        }
        review_pod(pod).await
    }

    async fn review_pod(pod: Value) -> Value {
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u1", "namespace": "web", "operation": "CREATE", "object": pod}});
        let router = admission_router(AdmissionState { lookup: Arc::new(Store), config: Arc::new(config()) });
        let request = Request::post("/mutate/pods").header("content-type", "application/json");
        let answer = router.oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 20).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_refresh_is_for_files_that_name_no_version() {
        let asked = |secrets: &str, every: &str| {
            let annotations = json!({"homelab.dev/secrets": secrets, "homelab.dev/refresh": every});
            let spec = json!({"serviceAccountName": "api", "containers": [{"name": "web"}]});
            json!({"metadata": {"generateName": "web-", "annotations": annotations}, "spec": spec})
        };
        for (secrets, every, word) in [
            ("kv/web/db=files:/run/db", "30s", ""),
            ("kv/web/db=files:/run/db", "1s", "at least 10s"),
            ("kv/web/db=files:/run/db", "soon", "at least 10s"),
            ("kv/web/db=env:DB_", "30s", "nothing to refresh"),
            ("kv/web/db@3=files:/run/db", "30s", "nothing to refresh"),
        ] {
            let answer = review_pod(asked(secrets, every)).await;
            let said = answer["response"]["status"]["message"].as_str().unwrap_or_default();
            assert_eq!(answer["response"]["allowed"].as_bool(), Some(word.is_empty()), "{secrets} {every}: {said}");
            assert!(said.contains(word), "{said}");
        }
    }

    #[tokio::test]
    async fn an_opted_in_pod_is_patched() {
        use base64::Engine as _;
        let mut answer = review(Some("kv/web/db=files:/run/db")).await;
        let patch = answer["response"]["patch"].take();
        let patch = base64::engine::general_purpose::STANDARD.decode(patch.as_str().unwrap()).unwrap();
        let patch: Vec<Value> = serde_json::from_slice(&patch).unwrap();
        let brief: Vec<_> =
            patch.iter().map(|p| format!("{} {}", p["op"].as_str().unwrap(), p["path"].as_str().unwrap())).collect();
        assert_eq!(
            brief,
            [
                "add /metadata/annotations/homelab.dev~1secrets",
                "add /spec/volumes",
                "add /spec/initContainers",
                "add /spec/containers/0/volumeMounts",
            ]
        );
        assert_eq!(patch[0]["value"], "kv/web/db@4=files:/run/db");
        assert_eq!(
            answer,
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": "u1", "allowed": true, "patchType": "JSONPatch", "patch": null}})
        );
    }

    #[tokio::test]
    async fn a_pod_that_can_not_have_its_secrets_is_denied_with_the_reason() {
        let cases =
            [None, Some("kv/web/none=env:A"), Some("kv/x/db=env:A"), Some("nonsense"), Some("kv/web/db=files:x")];
        let mut lines = Vec::new();
        for case in cases {
            let answer = review(case).await;
            assert_eq!(answer["response"]["allowed"], false);
            let status = &answer["response"]["status"];
            lines.push(format!("{} {}", status["code"], status["message"].as_str().unwrap()));
        }
        insta::assert_snapshot!(lines.join("\n"));
    }
}

#[test]
fn a_sidecar_follows_what_it_is_told_to_and_goes_with_the_rest() {
    let secrets = [files("kv/web/db", "/run/secrets/db"), env("kv/web/api", "API_")];
    let refresh = Refresh { every: 30, paths: vec!["kv/web/db".into()] };
    let mut pod = template();
    inject_refreshed(&mut pod, &secrets, Some(&refresh), &config()).unwrap();
    let [agent, sidecar, own] = pod["spec"]["initContainers"].as_array().unwrap().as_slice() else { panic!("{pod}") };
    assert_eq!((agent["name"].as_str(), own["name"].as_str()), (Some(AGENT), Some("migrate")));
    assert_eq!((sidecar["name"].as_str(), sidecar["restartPolicy"].as_str()), (Some(REFRESHER), Some("Always")));
    assert_eq!(sidecar["securityContext"], agent["securityContext"]);
    let wish = sidecar["env"][0]["value"].as_str().unwrap();
    assert!(wish.contains("kv/web/db") && !wish.contains("kv/web/api"), "{wish}");
    assert_eq!(sidecar["env"].as_array().unwrap().last().unwrap(), &json!({"name": "HOMELAB_REFRESH", "value": "30"}));
    let spec: k8s_openapi::api::core::v1::PodSpec = serde_json::from_value(pod["spec"].clone()).unwrap();
    assert!(is_refreshed(&spec) && carried(&spec).len() == 2);

    let mut again = pod.clone();
    inject_refreshed(&mut again, &secrets, Some(&refresh), &config()).unwrap();
    assert_eq!(again, pod);
    inject(&mut again, &[], &config()).unwrap();
    assert_eq!(again, template());
}
