//! One kept connection, with as little work of our own as can be: load and server share the machine's cores.
//!
//! Requests are bytes that were made before. Of an answer its status is read and as much of its head as tells where it
//! ends; servers that answer in chunks are refused.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Answers here are some hundred bytes.
const LONGEST: usize = 1 << 20;

/// Where a server is, and how its certificate is checked; none: plain HTTP.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection.
pub(super) struct Wire {
    stream: Stream,
    answer: Vec<u8>,
    /// Where the body of the last answer begins.
    body: usize,
}

impl Wire {
    pub(super) async fn open(target: &Target) -> Result<Self> {
        let tcp = TcpStream::connect(target.address).await?;
        tcp.set_nodelay(true)?;
        let stream = match &target.tls {
            None => Stream::Plain(tcp),
            Some(config) => {
                let name = ServerName::from(target.address.ip());
                Stream::Tls(Box::new(TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?))
            }
        };
        Ok(Self { stream, answer: Vec::with_capacity(4096), body: 0 })
    }

    /// Sends a request and reads its answer; gives the status.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(request).await?,
            Stream::Tls(stream) => {
                stream.write_all(request).await?;
                stream.flush().await?;
            }
        }
        self.answer.clear();
        loop {
            if self.read().await? == 0 {
                bail!("the server closed the connection in the midst of an answer");
            }
            if let Some(head) = Head::read(&self.answer)? {
                let end = head.len + head.body;
                while self.answer.len() < end {
                    if self.read().await? == 0 {
                        bail!("the server closed the connection in the midst of a body");
                    }
                }
                self.body = head.len;
                return Ok(head.status);
            }
        }
    }

    /// The body of the last answer.
    pub(super) fn body(&self) -> &[u8] {
        &self.answer[self.body..]
    }

    /// The same as JSON.
    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_slice(self.body()).context("an answer is no JSON")
    }

    async fn read(&mut self) -> Result<usize> {
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(&mut self.answer).await?,
            Stream::Tls(stream) => stream.read_buf(&mut self.answer).await?,
        };
        if self.answer.len() > LONGEST {
            bail!("an answer is longer than {LONGEST} bytes");
        }
        Ok(read)
    }
}

/// A request as it is sent.
pub(super) fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let token = if token.is_empty() { String::new() } else { format!("X-Vault-Token: {token}\r\n") };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} /v1/{path} HTTP/1.1\r\nHost: bench\r\n{token}{length}\r\n{body}").into_bytes()
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head with the empty line.
    len: usize,
    /// Bytes of the body.
    body: usize,
}

impl Head {
    /// `None` while it is not whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..end]).context("the head of an answer is no text")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("this is no answer: {text:.80}"))?;
        let length = lines.filter_map(|line| line.split_once(':'));
        let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).last();
        let body = match (length, status) {
            (Some((_, length)), _) => length.trim().parse().context("the length of an answer is no number")?,
            (None, 204 | 304) => 0,
            (None, _) => bail!("an answer does not say how long it is"),
        };
        Ok(Some(Self { status, len: end + 4, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_once_they_are_whole() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 12\r\n\r\n{}";
        assert_eq!(Head::read(whole).unwrap(), Some(Head { status: 200, len: whole.len() - 2, body: 12 }));
        assert_eq!(Head::read(&whole[..40]).unwrap(), None);
        let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(Head::read(empty).unwrap(), Some(Head { status: 204, len: empty.len(), body: 0 }));
        assert!(Head::read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(Head::read(b"220 mail\r\n\r\n").is_err());
    }
}
