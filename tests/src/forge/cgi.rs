//! One HTTP request through `git http-backend` (CGI, RFC 3875).

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{Served, plain_git};

pub(super) async fn serve(served: Served, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mood = served.mood();
    if mood.down {
        return (StatusCode::SERVICE_UNAVAILABLE, "the forge is told to be down").into_response();
    }
    let user = match (&mood.credentials, given(&headers)) {
        (None, _) => "anybody".to_owned(),
        (Some(wanted), Some(given)) if *wanted == given => given.0,
        (Some(_), _) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"forge\"")];
            return (StatusCode::UNAUTHORIZED, challenge, "wrong or missing credentials").into_response();
        }
    };
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let program = plain_git(&served.root)
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &served.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GATEWAY_INTERFACE", "CGI/1.1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("GIT_PROTOCOL", text("git-protocol"))
        .env("REMOTE_USER", user)
        .stdin(body);
    match program.run().await {
        Ok(output) => answer(output.stdout),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// User and password of the request.
fn given(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = String::from_utf8(BASE64_STANDARD.decode(value.strip_prefix("Basic ")?).ok()?).ok()?;
    decoded.split_once(':').map(|(user, password)| (user.into(), password.into()))
}

/// The CGI answer as HTTP: header lines, an empty line, the body.
fn answer(bytes: Vec<u8>) -> Response {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        return (StatusCode::BAD_GATEWAY, "git http-backend gave no answer").into_response();
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut response = Response::builder();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        response = match value.split(' ').next().and_then(|code| code.parse::<u16>().ok()) {
            Some(code) if name.eq_ignore_ascii_case("status") => response.status(code),
            _ => response.header(name, value),
        };
    }
    let body = Body::from(bytes[end + 4..].to_vec());
    response.body(body).unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response())
}
