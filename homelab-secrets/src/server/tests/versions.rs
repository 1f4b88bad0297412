//! Versions for a daemon elsewhere: what it is told is in the contract suite, here is who else is not.

use super::*;

const ALL: [(&str, &str); 6] = [
    ("GET", "sys/homelab/versions/resolve/web/web/kv/web/db"),
    ("POST", "sys/homelab/versions/pin/App web@1"),
    ("POST", "sys/homelab/versions/gone"),
    ("POST", "sys/homelab/versions/watch"),
    ("POST", "sys/homelab/versions/show"),
    ("POST", "sys/homelab/versions/retain"),
];

async fn server(daemon: Option<&str>) -> Server {
    let rights = vec![("web", Capability::ALL.to_vec()), ("homelab", Capability::ALL.to_vec())];
    let s = Server::new(rights.clone()).await;
    let options = ServerOptions { daemon: daemon.and_then(Account::parse), ..ServerOptions::default() };
    let s = Server::over(s.store.clone(), s.host.clone(), rights, options);
    assert_eq!(s.root("POST", "kv/data/web/db", json!({ "data": { "password": "planted" } })).await.0, 200);
    s
}

async fn login(s: &Server, role: &str, jwt: &str) -> (u16, String) {
    let (status, answer) = s.ask("", "POST", "auth/kubernetes/login", json!({ "role": role, "jwt": jwt })).await;
    (status, answer.pointer("/auth/client_token").and_then(Value::as_str).unwrap_or_default().to_owned())
}

async fn statuses(s: &Server, token: &str) -> Vec<u16> {
    let body = json!({ "versions": [["kv/web/db", 1]], "known": [["kv/web/db", 0]], "wait": 0, "gitsyncs": [],
        "account": "web/git", "gitsync": "web/home", "commit": "c1", "files": [] });
    let mut statuses = Vec::new();
    for (method, path) in ALL {
        let body = if method == "GET" { Value::Null } else { body.clone() };
        let (status, answer) = s.ask(token, method, &path.replace(' ', "%20"), body).await;
        assert!(!answer.to_string().contains("planted"), "no value is ever told");
        statuses.push(status);
    }
    statuses
}

#[tokio::test]
async fn they_are_for_the_daemon_in_its_pod_by_its_role_and_for_nobody_else() {
    let s = server(Some("homelab/homelab")).await;
    let (status, daemon) = login(&s, "homelab-daemon", "homelab/homelab#pod-1").await;
    assert_eq!((status, statuses(&s, &daemon).await), (200, vec![200, 204, 200, 200, 200, 204]));

    for (jwt, expected) in [
        ("homelab/homelab", 403),
        ("homelab/other#pod-1", 403),
        ("web/homelab#pod-1", 403),
        ("homelab/homelab#pod-1@another-audience", 403),
    ] {
        assert_eq!(login(&s, "homelab-daemon", jwt).await.0, expected, "{jwt}");
    }
    let by_another_role = login(&s, "homelab-agent", "homelab/homelab#pod-1").await.1;
    let app = login(&s, "homelab-agent", "web/web#pod-2").await.1;
    let forged = json!({ "policies": ["root"], "meta": { "role": "homelab-daemon" } });
    let forged = s.root("POST", "auth/token/create", forged).await.1;
    let forged = forged["auth"]["client_token"].as_str().unwrap().to_owned();
    for token in [ROOT, &by_another_role, &app, &forged] {
        assert_eq!(statuses(&s, token).await, [403; 6]);
    }
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(s.root(method, "auth/kubernetes/role/homelab-daemon", Value::Null).await.0, 400, "{method}");
    }
    assert_eq!(s.ask(&daemon, "DELETE", "sys/homelab/versions/gone", Value::Null).await.0, 405);
    assert_eq!(s.ask(&daemon, "GET", "sys/homelab/versions/other", Value::Null).await.0, 404);
    for wrong in [json!({}), json!({ "versions": "x" }), json!({ "versions": [["kv/web/db", -1]] })] {
        assert_eq!(s.ask(&daemon, "POST", "sys/homelab/versions/gone", wrong.clone()).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_server_that_was_told_of_no_daemon_tells_nobody() {
    let s = server(None).await;
    assert_eq!(login(&s, "homelab-daemon", "homelab/homelab#pod-1").await.0, 400);
    let token = login(&s, "homelab-agent", "homelab/homelab#pod-1").await.1;
    assert_eq!(statuses(&s, &token).await, [403; 6]);
}
