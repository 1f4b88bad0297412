//! Requests that nobody should send, to the real server: each has a clear answer, and the server goes on.

use std::io::{Read as _, Write as _};

use crate::process::{Server, connect};

/// Sends bytes as they are; the status and the body that come back.
fn send(server: &Server, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = connect(&server.address);
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{head}\r\nHost: h\r\nX-Vault-Token: {}\r\n{length}Connection: close\r\n\r\n", server.token);
    // A server that has heard enough may answer and go before all of it is sent.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned()).unwrap_or_default())
}

#[test]
fn each_mistake_has_its_answer() {
    let server = Server::dev();
    server.done(&["kv", "put", "kv/web", "k=hunter2"]);
    let get = |path: &str| send(&server, &format!("GET /v1/{path} HTTP/1.1"), b"");
    for (path, words) in [
        ("kv/data/../data/web", "relative paths are not supported"),
        ("kv/data/%2e%2e/data/web", "relative paths are not supported"),
        ("kv/data//web", "an empty part"),
        ("kv/data%2fweb", "an encoded slash"),
        ("kv/data/web%00", "a control character"),
        ("kv/data/web%", "two hexadecimal digits"),
        ("kv/data/web%ff", "not UTF-8"),
        ("kv/data/web?version=one", "version is not a number"),
    ] {
        let (status, body) = get(path);
        assert!(status == 400 && body.starts_with("{\"errors\":[") && body.contains(words), "{path}: {status} {body}");
    }
    let (status, body) = get(&format!("kv/data/{}", "a".repeat(10_000)));
    assert!(status == 400 && body.contains("longer than 2048 bytes"), "{status} {body}");
    // What is no HTTP is answered by HTTP's own words, or not at all.
    for request in ["GET /v1/kv/data/a\u{0}b HTTP/1.1", "GET /v1/kv/data/a b HTTP/1.1", "\u{1}\u{2}\u{3}"] {
        let (status, body) = send(&server, request, b"");
        assert!((status == 400 || status == 0) && !body.contains("hunter2"), "{request:?}: {status} {body}");
    }

    let post = |body: &[u8]| send(&server, "POST /v1/kv/data/web HTTP/1.1\r\nContent-Type: text/html", body);
    let secret = r#"{"data": {"k": "hunter3" "#;
    for body in [secret.as_bytes(), b"[1]", b"\"hunter3\"", b"<xml/>", b"{\"data\": 7}", b"\xff\xfe"] {
        let (status, said) = post(body);
        assert!(status == 400 && said.contains("errors") && !said.contains("hunter3"), "{body:?}: {status} {said}");
    }
    let deep = format!("{}1{}", "{\"data\":".repeat(5000), "}".repeat(5000));
    assert_eq!(post(deep.as_bytes()).0, 400);
    let (status, said) = post(&vec![b' '; 2 << 20]);
    assert!(status == 413 && said.contains("larger than 1 MiB"), "{status} {said}");
    let (status, said) = send(&server, "PATCH /v1/kv/data/web HTTP/1.1\r\nContent-Type: application/json", b"{}");
    assert!(status == 415 && said.contains("application/merge-patch+json"), "{status} {said}");
    let (status, said) = send(&server, "FOO /v1/kv/data/web HTTP/1.1", b"");
    assert!(status == 405 && said.contains("errors"), "{status} {said}");
    let many = "X-Many: 1\r\n".repeat(1000);
    let (status, _) = send(&server, &format!("GET /v1/kv/data/web HTTP/1.1\r\n{}", many.trim_end()), b"");
    assert!(status == 431 || status == 400, "{status}");

    assert_eq!(server.done(&["kv", "get", "kv/web", "--field", "k"]), "hunter2", "nothing was written");
}
