//! One HTTP/1.1 connection, whose end is told apart by whether an answer had begun.

use std::fmt;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest body that is read.
const LONGEST: usize = 1 << 20;

/// Why a request has no good answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection closed before any byte of an answer.
    ClosedBeforeAnswer(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedBeforeAnswer(text) => write!(f, "closed before an answer: {text}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

pub(super) struct Connection {
    sender: SendRequest<Body>,
    driver: tokio::task::JoinHandle<hyper::Result<()>>,
    since: Instant,
}

impl Connection {
    pub(super) async fn open(authority: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        Ok(Self { sender, driver: tokio::spawn(connection), since: Instant::now() })
    }

    /// How long it has been open.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether the other side has not closed it while it was idle.
    pub(super) async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    pub(super) async fn get(&mut self, authority: &str, path: &str) -> Result<Bytes, Trouble> {
        let request = hyper::Request::get(path).header("host", authority).body(Body::empty());
        let request = request.map_err(|e| Trouble::Other(e.to_string()))?;
        let response = match self.sender.send_request(request).await {
            Ok(response) => response,
            Err(error) if is_close(&error) => return Err(Trouble::ClosedBeforeAnswer(error.to_string())),
            Err(error) => return Err(Trouble::Other(error.to_string())),
        };
        let status = response.status();
        let body = axum::body::to_bytes(Body::new(response.into_body()), LONGEST).await;
        let body = body.map_err(|e| Trouble::Other(format!("the answer broke off: {e}")))?;
        if status != hyper::StatusCode::OK {
            return Err(Trouble::Other(format!("status {status}")));
        }
        Ok(body)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Whether the connection ended without a byte of an answer (closed or reset).
fn is_close(error: &hyper::Error) -> bool {
    let reset = |kind| matches!(kind, std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe);
    let source = std::error::Error::source(error).and_then(|s| s.downcast_ref::<std::io::Error>());
    error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || source.is_some_and(|io| reset(io.kind()))
}
