//! Against a server of this test, behind a real Service.
#![expect(clippy::disallowed_methods, reason = "a test has a clock and an environment")]

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers every request with the request's first line and Host.
async fn serve(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        let text = String::from_utf8_lossy(&request[..read]).into_owned();
        let body: String =
            text.lines().filter(|l| l.starts_with("GET") || l.to_lowercase().starts_with("host")).collect();
        let status = if text.starts_with("GET /bad") { "500 Bad" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn make<K>(api: Api<K>, object: Value)
where
    K: serde::Serialize + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_gate_asks_the_service_of_a_colour() {
    // Another test of the process has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(serve(listener));
    let namespace = format!("gate-{:x}", jiff::Timestamp::now().as_microsecond());
    make::<Namespace>(Api::all(client.clone()), json!({"metadata": {"name": namespace}})).await;
    let spec = json!({"ports": [{"name": "http", "port": 80, "targetPort": port}]});
    make::<Service>(
        Api::namespaced(client.clone(), &namespace),
        json!({"metadata": {"name": "web-green"}, "spec": spec}),
    )
    .await;
    let host = std::env::var("HOMELAB_HOST_IP").unwrap();
    let slice = json!({
        "metadata": {"name": "web-green", "labels": {"kubernetes.io/service-name": "web-green"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [host]}], "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    });
    make::<EndpointSlice>(Api::namespaced(client.clone(), &namespace), slice).await;
    tokio::time::sleep(Duration::from_secs(3)).await;

    let target = GateTarget { namespace: namespace.clone(), service: "web-green".into(), port: 80 };
    let ask = async |check: HttpCheck| HttpGate::new(client.clone(), check).ask(&target).await;
    let url = format!("http://web-green.{namespace}.svc:80");
    let check =
        HttpCheck { path: "/ok".into(), body: Some(format!("web-green.{namespace}.svc")), ..HttpCheck::default() };
    assert!(matches!(ask(check).await, Verdict::Success(_)), "the Host header names the Service");
    let check = HttpCheck { path: "/bad".into(), attempts: 2, ..HttpCheck::default() };
    assert_eq!(ask(check).await, Verdict::Failure(format!("GET {url}/bad answered 500, not 2xx (2 attempts)")));

    server.abort();
    let check = HttpCheck { attempts: 1, ..HttpCheck::default() };
    let Verdict::Failure(detail) = ask(check).await else { panic!("nobody listens") };
    assert!(detail.starts_with(&format!("GET {url}/ failed: ")), "{detail}");
    let target = GateTarget { service: "none".into(), ..target };
    let verdict = HttpGate::new(client.clone(), HttpCheck::default()).ask(&target).await;
    let Verdict::Inconclusive(detail) = verdict else { panic!("{verdict:?}") };
    assert!(detail.contains(r#"services "none" not found"#), "{detail}");
    Api::<Namespace>::all(client).delete(&namespace, &DeleteParams::default()).await.unwrap();
}
