//! Listeners: HTTP with or without TLS, with limits for slow and many clients, stopped gracefully.

mod places;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::server::ResolvesServerCert;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::places::{Place, Places, Requests};
use super::metrics::Metrics;

/// A client that does not finish its TLS handshake or its headers in this time is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A request that is not answered in this time (a body that trickles in, say) is given up.
const REQUEST: Duration = Duration::from_secs(30);
/// How long running requests may take after a stop was asked for.
const GRACE: Duration = Duration::from_secs(10);
/// Connections at once, a listener. When there are more, those that keep us waiting make room.
const CONNECTIONS: usize = 512;
/// Largest request body: KV v2 values are capped well below.
const BODY: usize = 4 << 20;

/// One bound listener, not yet served.
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Binds `address`; with certificates it speaks TLS.
    pub async fn bind(
        name: &'static str,
        address: SocketAddr,
        certificates: Option<Arc<dyn ResolvesServerCert>>,
    ) -> Result<Self> {
        let socket = TcpListener::bind(address).await.with_context(|| {
            format!("listen on {address} for {name}: another program may use the port; choose one with --listen-{name}")
        })?;
        Ok(Self { name, socket, tls: certificates.map(acceptor).transpose()? })
    }

    /// What it is for.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The bound address (the port when 0 was asked for).
    pub fn address(&self) -> Result<SocketAddr> {
        self.socket.local_addr().with_context(|| format!("read the address of listener {}", self.name))
    }

    /// Serves until `stop`, then lets running requests end.
    pub async fn serve(self, router: Router, metrics: Arc<Metrics>, stop: CancellationToken) {
        let name = self.name;
        let router = router
            .layer(DefaultBodyLimit::max(BODY))
            .layer(middleware::from_fn_with_state(Arc::clone(&metrics), move |metrics, request, next| {
                limited(metrics, request, next, name)
            }));
        let graceful = GracefulShutdown::new();
        let places = Places::new(CONNECTIONS);
        loop {
            let (stream, peer) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.socket.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, mostly: a pause lets connections end.
                        tracing::warn!("listener {name}: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let Some(place) = stop.run_until_cancelled(places.take()).await else { break };
            // Limits and audit go by who it is.
            let router = router.clone().layer(Extension(ConnectInfo(peer))).layer(Extension(place.requests()));
            let connection = Connection { router, tls: self.tls.clone(), watcher: graceful.watcher() };
            let open = metrics.connection(name);
            tokio::spawn(async move {
                if let Err(why) = connection.held(stream, &place).await {
                    open.cut(why);
                }
                drop((place, open));
            });
        }
        drop(self.socket);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = tokio::time::sleep(GRACE) => tracing::warn!("listener {name}: some requests did not end in {GRACE:?}"),
        }
    }
}

fn acceptor(certificates: Arc<dyn ResolvesServerCert>) -> Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("prepare TLS")?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

struct Connection {
    router: Router,
    tls: Option<TlsAcceptor>,
    watcher: hyper_util::server::graceful::Watcher,
}

impl Connection {
    /// Serves until the client goes, or has to: the reason is given then.
    async fn held(self, stream: TcpStream, place: &Place) -> Result<(), &'static str> {
        tokio::select! {
            () = self.run(stream) => Ok(()),
            why = place.ended(HANDSHAKE) => Err(why),
        }
    }

    async fn run(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        match self.tls.clone() {
            None => self.http(stream).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.http(stream).await,
                Ok(Err(error)) => tracing::debug!("TLS handshake: {error}"),
                Err(_) => tracing::debug!("TLS handshake: not finished in {HANDSHAKE:?}"),
            },
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .max_concurrent_streams(128);
        let service = TowerToHyperService::new(self.router);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!("connection: {error}");
        }
    }
}

async fn limited(
    State(metrics): State<Arc<Metrics>>,
    mut request: Request,
    next: Next,
    listener: &'static str,
) -> Response {
    let started = metrics.now();
    let requests = request.extensions_mut().remove::<Requests>();
    let _running = requests.as_ref().map(Requests::begin);
    if let Some(requests) = &requests {
        request = request.map(|body| requests.body(body));
    }
    let response = match tokio::time::timeout(REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    };
    metrics.request(listener, response.status().as_u16(), started);
    response
}
