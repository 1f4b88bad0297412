use std::sync::Mutex;

use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt as _;

use super::*;

#[derive(Default)]
struct Fake {
    polled: Mutex<Vec<String>>,
    asked: Mutex<u32>,
}

#[async_trait]
impl Hooks for Fake {
    async fn key(&self, owner: &Owner) -> Option<Vec<u8>> {
        *self.asked.lock().unwrap() += 1;
        match owner.name.as_str() {
            "web" => Some(b"key".to_vec()),
            "empty" => Some(Vec::new()),
            _ => None,
        }
    }

    async fn poll(&self, owner: &Owner) -> bool {
        self.polled.lock().unwrap().push(owner.to_string());
        true
    }
}

async fn send(hooks: &Arc<Fake>, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> u16 {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let router = hooks_router(hooks.clone());
    router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap().status().as_u16()
}

/// `printf '{"ref":"refs/heads/main"}' | openssl dgst -sha256 -hmac key`
const BODY: &str = r#"{"ref":"refs/heads/main"}"#;
const SIGNATURE: &str = "309fa87e4a76255d1e7c568a2519fac0944f2acffaaa3056ea6f8b634a020a99";

#[tokio::test]
async fn every_forge_is_understood() {
    let hooks = Arc::new(Fake::default());
    let github = format!("sha256={SIGNATURE}");
    let cases: [&[(&str, &str)]; 5] = [
        &[("X-Forgejo-Signature", SIGNATURE)],
        &[("X-Gitea-Signature", SIGNATURE)],
        &[("X-Hub-Signature-256", &github)],
        &[("X-Gitlab-Token", "key")],
        &[("X-Forgejo-Signature", SIGNATURE), ("X-Hub-Signature-256", "sha256=00")],
    ];
    for headers in cases {
        assert_eq!(send(&hooks, "/hooks/home/web", headers, BODY.into()).await, 202, "{headers:?}");
    }
    assert_eq!(hooks.polled.lock().unwrap().len(), 5);
}

const WRONG: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[tokio::test]
async fn everything_else_is_refused_alike() {
    let hooks = Arc::new(Fake::default());
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let cases: [Case; 9] = [
        ("/hooks/home/web", &[], BODY),
        ("/hooks/home/web", &[("X-Gitea-Signature", WRONG)], BODY),
        ("/hooks/home/web", &[("X-Gitea-Signature", SIGNATURE)], "another body"),
        ("/hooks/home/web", &[("X-Gitea-Signature", "not hex")], BODY),
        ("/hooks/home/web", &[("X-Gitea-Signature", "")], BODY),
        ("/hooks/home/web", &[("X-Gitlab-Token", "")], BODY),
        ("/hooks/home/empty", &[("X-Gitlab-Token", "")], BODY),
        ("/hooks/home/unknown", &[("X-Gitea-Signature", SIGNATURE)], BODY),
        ("/hooks/home/..%2Fweb", &[("X-Gitea-Signature", SIGNATURE)], BODY),
    ];
    for (path, headers, body) in cases {
        assert_eq!(send(&hooks, path, headers, body.into()).await, 401, "{path} {headers:?}");
    }
    let large = vec![b'x'; MAX_BODY + 1];
    assert_eq!(send(&hooks, "/hooks/home/web", &[("X-Gitlab-Token", "key")], large).await, 413);
    assert!(hooks.polled.lock().unwrap().is_empty());
    let asked = *hooks.asked.lock().unwrap();
    send(&hooks, "/hooks/home/web", &[], BODY.into()).await;
    assert_eq!(*hooks.asked.lock().unwrap(), asked, "without a signature nothing is looked up");
}
