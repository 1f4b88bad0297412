//! Recording requests: nothing is answered before its record is where it has to be.
//!
//! [`audited`] wraps the routes. Each answer waits for its record. What changes something is recorded twice: when it is
//! known who asks and before anything is done, so that a process that dies on the way leaves a trace; and with its
//! outcome. While records are not taken, nothing is begun, and `sys/health` says so with status 500.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::sync::watch;

use super::Deed;
use super::answer::{Answer, Refused};
use crate::Error;
use crate::audit::{
    Access, AuditKey, Durability, Entry, Event, Mode, Operation, digests, durability, error_class, shown_path,
    shown_query,
};
use crate::backend::audit::{AuditSink, Trouble};
use crate::policy::Identity;

/// Paths that are read without a record: they hold nothing that is secret, need no token, and are asked for all the time by
/// whoever watches the server.
pub const UNAUDITED: [&str; 4] = ["sys/health", "sys/seal-status", "sys/leader", "sys/init"];

/// The way to the record. Clones share it.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    sink: Arc<dyn AuditSink>,
    key: Arc<AuditKey>,
    mode: Mode,
    trouble: watch::Receiver<Trouble>,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Audit(…)")
    }
}

impl Audit {
    /// Records go to `sink`; values are digested with `key`.
    pub fn new(sink: Arc<dyn AuditSink>, key: Arc<AuditKey>, mode: Mode) -> Self {
        let trouble = sink.trouble();
        Self(Arc::new(Inner { sink, key, mode, trouble }))
    }

    /// Records what is done to the store by another way than a request; on the disk when this returns.
    pub async fn action(&self, who: &str, op: &str, object: &str) -> Result<u64, Error> {
        let entry = Entry::new(&Event::Action { who, op, object })?;
        Ok(self.0.sink.append(entry, Durability::Synced).await?)
    }

    fn trouble(&self) -> Option<Response> {
        let why = self.0.trouble.borrow().clone()?;
        Some(blocked(&why))
    }
}

/// The routes, with a record of each request.
pub fn audited(router: Router, audit: Audit) -> Router {
    router.layer(from_fn_with_state(audit, record))
}

/// Watches one request on its way: who sends it and what its body says is known only in the midst of it.
#[derive(Clone)]
pub(super) struct Witness(Arc<Seen>);

struct Seen {
    audit: Audit,
    asked: Asked,
    deed: OnceLock<Deed>,
    body: OnceLock<Value>,
    /// Number of the record that was made before anything was done.
    begun: OnceLock<u64>,
}

impl Witness {
    /// The one that watches this request, if records are made.
    pub(super) fn of(parts: &Parts) -> Option<Self> {
        parts.extensions.get::<Self>().cloned()
    }

    /// To be told as soon as it is known who asks, before anything is done. An error means that nothing may be done.
    pub(super) async fn known(&self, deed: &Deed) -> Result<(), Refused> {
        // Set once: one request comes from one sender, and has one body.
        let _ = self.0.deed.set(deed.clone());
        if self.0.asked.bodyless { self.begin().await } else { Ok(()) }
    }

    /// To be told the body as soon as it is read, before anything is done. An error means that nothing may be done.
    pub(super) async fn read(&self, body: &[u8]) -> Result<(), Refused> {
        if self.0.asked.op.only_reads() {
            return Ok(());
        }
        let _ = self.0.body.set(digests(&self.0.audit.0.key, body));
        self.begin().await
    }

    async fn begin(&self) -> Result<(), Refused> {
        let seen = &*self.0;
        if !seen.asked.op.changes() || seen.deed.get().is_none() || seen.begun.get().is_some() {
            return Ok(());
        }
        let entry = Entry::new(&Event::Request(seen.access(seen.deed.get())))?;
        let seq = seen.audit.0.sink.append(entry, Durability::Written).await;
        let _ = seen.begun.set(seq.map_err(|e| Refused::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string()))?);
        Ok(())
    }
}

/// A request, as far as it is known from the start.
struct Asked {
    op: Operation,
    path: String,
    query: String,
    peer: Option<SocketAddr>,
    bodyless: bool,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let path = below_v1(request).to_owned();
        let query = shown_query(request.uri().query().unwrap_or_default());
        let lists = query.split('&').any(|pair| pair == "list=true");
        let op = Operation::of(request.method().as_str(), &path, lists);
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        Self { op, path, query, peer, bodyless: op == Operation::Delete || request.body().is_end_stream() }
    }
}

fn below_v1(request: &Request) -> &str {
    request.uri().path().strip_prefix("/v1/").unwrap_or_else(|| request.uri().path())
}

impl Seen {
    fn access<'a>(&'a self, deed: Option<&'a Deed>) -> Access<'a> {
        let who = deed.and_then(|deed| deed.who.as_ref());
        let accessor = deed.and_then(|deed| deed.accessor.as_deref());
        let accessor = accessor.map(|accessor| self.audit.0.key.digest(accessor.as_bytes()));
        Access {
            request: None,
            who: who.map(|who| who.to_string().into()),
            pod: who.and_then(pod),
            accessor: accessor.map(Cow::Owned),
            remote: self.remote(deed).map(Cow::Owned),
            op: self.asked.op,
            path: shown_path(&self.asked.path),
            query: Cow::Borrowed(&self.asked.query),
            body: self.body.get().map_or(Cow::Owned(Value::Null), Cow::Borrowed),
            version: None,
            status: None,
            error: None,
        }
    }

    /// The peer, and who it spoke for if it is a trusted proxy.
    fn remote(&self, deed: Option<&Deed>) -> Option<String> {
        let peer = self.asked.peer;
        let from = deed.and_then(|deed| deed.remote).filter(|from| peer.is_none_or(|peer| peer.ip() != *from));
        match (from, peer) {
            (Some(from), Some(peer)) => Some(format!("{from} through {peer}")),
            (Some(from), None) => Some(from.to_string()),
            (None, peer) => peer.map(|peer| peer.to_string()),
        }
    }
}

fn pod(who: &Identity) -> Option<&str> {
    match who {
        Identity::ServiceAccount { pod_uid, .. } => pod_uid.as_deref(),
        _ => None,
    }
}

/// The version that an answer gives or has made; handlers put it into its extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version(pub(super) u64);

impl Version {
    pub(super) fn on(self, answer: Answer) -> Answer {
        answer.map(|mut response| {
            response.extensions_mut().insert(self);
            response
        })
    }
}

async fn record(State(audit): State<Audit>, mut request: Request, next: Next) -> Response {
    let path = below_v1(&request).trim_end_matches('/');
    if UNAUDITED.contains(&path) && matches!(*request.method(), Method::GET | Method::HEAD) {
        return match audit.trouble().filter(|_| path == "sys/health") {
            // 503 would say that it is sealed.
            Some(mut unhealthy) => {
                *unhealthy.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                unhealthy
            }
            None => next.run(request).await,
        };
    }
    if let Some(refused) = audit.trouble() {
        return refused;
    }
    let (deed, body, begun) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
    let witness = Witness(Arc::new(Seen { audit, asked: Asked::of(&request), deed, body, begun }));
    request.extensions_mut().insert(witness.clone());
    let response = next.run(request).await;
    witness.0.finish(response).await
}

impl Seen {
    /// Makes the record of the answer; without one there is no answer.
    async fn finish(&self, response: Response) -> Response {
        let deed = response.extensions().get::<Deed>().or_else(|| self.deed.get());
        let status = response.status().as_u16();
        let mut access = self.access(deed);
        access.request = self.begun.get().copied();
        if access.request.is_some() {
            // It stands in the record of the request.
            access.body = Cow::Owned(Value::Null);
        }
        access.version = response.extensions().get::<Version>().map(|version| version.0);
        (access.status, access.error) = (Some(status), error_class(status));
        let who = deed.and_then(|deed| deed.who.as_ref());
        let how = durability(self.audit.0.mode, who, self.asked.op, status);
        let entry = match Entry::new(&Event::Answer(access)) {
            Ok(entry) => entry,
            Err(error) => return uncached(Refused::from(error).into_response()),
        };
        match self.audit.0.sink.append(entry, how).await {
            Ok(_) => response,
            Err(error) => blocked(&error.0),
        }
    }
}

fn blocked(why: &str) -> Response {
    let error = format!("the audit log takes no records, and nothing is answered without one: {why}");
    let mut response = Refused::new(StatusCode::SERVICE_UNAVAILABLE, error).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    uncached(response)
}

fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
