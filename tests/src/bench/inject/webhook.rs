//! The webhook, asked as the API server asks it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{Access, milliseconds, quantile};
use crate::bench::Number;
use crate::case::Case;

const PER_SECOND: u32 = 50;
const SECONDS: u32 = 20;
const AT_ONCE: usize = 100;

pub(super) async fn measure(case: &Case, access: &Access) -> Result<Vec<Number>> {
    let url = format!("{}/mutate/pods", case.daemon.admission_url(&case.cluster));
    let review = review(&case.namespace);
    ask(access, &url, &review).await?;

    let mut beat = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    let mut asked = Vec::new();
    for _ in 0..PER_SECOND * SECONDS {
        beat.tick().await;
        let (http, url, review) = (access.http.clone(), url.clone(), review.clone());
        asked.push(tokio::spawn(async move { one(&http, &url, &review).await }));
    }
    let mut times = Vec::new();
    for answer in try_join_all(asked).await? {
        times.push(milliseconds(answer?));
    }

    let start = Instant::now();
    try_join_all((0..AT_ONCE).map(|_| ask(access, &url, &review))).await?;
    let burst = milliseconds(start.elapsed());
    Ok(vec![
        Number::new(format!("webhook at {PER_SECOND} reviews/s: p99"), quantile(&mut times, 0.99), "ms").goal(5.0),
        Number::new(format!("webhook: {AT_ONCE} reviews at once, all answered"), burst, "ms").goal(250.0),
    ])
}

async fn ask(access: &Access, url: &str, review: &Value) -> Result<Duration> {
    one(&access.http, url, review).await
}

async fn one(http: &reqwest::Client, url: &str, review: &Value) -> Result<Duration> {
    let start = Instant::now();
    let answer: Value = http.post(url).json(review).send().await?.error_for_status()?.json().await?;
    let time = start.elapsed();
    let response = &answer["response"];
    ensure!(response["allowed"] == true && response["patch"].is_string(), "the pod was not let in: {answer}");
    Ok(time)
}

/// A pod with one secret, as a Deployment makes it.
fn review(namespace: &str) -> Value {
    let meta = json!({
        "generateName": "web-", "namespace": namespace, "labels": {"homelab.dev/inject": "true"},
        "annotations": {"homelab.dev/secrets": format!("kv/{namespace}/db=files:/run/secrets/db")},
    });
    let spec = json!({"serviceAccountName": "default", "containers": [{"name": "app", "image": "app:1"}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "bench", "namespace": namespace, "operation": "CREATE", "object": pod},
    })
}
