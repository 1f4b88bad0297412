//! The HTTP API: KV v2 as Vault serves it, logins, tokens, policies, and the `sys` paths that Vault's clients ask for.
//!
//! [`router`] is all there is; listener, TLS and timeouts are the program's. Every request goes the same way: its path is
//! cleaned and read ([`route`]), its token is looked up, the [`Policy`] decides, and only then the body is read and
//! something is done. Answers are never cached, bodies are bounded, and a body that does not parse is answered without
//! quoting it.
//!
//! Paths of data come as `/v1/MOUNT/{data,metadata,subkeys,delete,undelete,destroy}/PATH`. Policies of secrets see
//! `MOUNT/PATH` and what is done there; policies in Vault's language see the API path. One of the two has to say yes.
//!
//! Each answer carries a [`Deed`] in its extensions: who did what, for those who keep the record.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use homelab_core::meta::Account;
use jiff::Timestamp;

use crate::Error;
use crate::audit::shown_path;
use crate::backend::Host;
use crate::backup::Board;
use crate::policy::{Combined, Identity, Policy, SharedAcl};
use crate::store::{SecretStore, StorePlace, Vault};

mod answer;
pub mod audit;
mod auth_mounts;
mod backup;
mod fetch;
mod fields;
mod jwt;
mod keep;
mod key_care;
#[cfg(feature = "client")]
pub mod kubernetes_auth;
mod kv;
mod limits;
mod login;
mod metadata;
mod mounts;
mod policies;
mod policy_test;
mod proof;
mod request;
pub mod restore;
mod route;
mod sealed;
mod sys;
mod token_api;
mod tokens;
mod versions;

pub use fetch::Fetch;
#[cfg(feature = "oidc")]
pub use fetch::HttpFetch;
pub use limits::{Block, Rate};

use answer::{Answer, Refused};
use audit::Witness;
use limits::Limiter;
use request::{Asked, Caller};
use route::{AuthKind, Route};
use tokens::Tokens;

/// Largest request: a value at its limit, with room for its envelope and escapes.
const MAX_BODY: usize = 1024 * 1024;
/// Logins that are checked at the same time.
const LOGINS: usize = 16;

/// A proved identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who it is.
    pub identity: Identity,
    /// When the proof itself ends; what is given for it ends then at the latest.
    pub ends: Option<Timestamp>,
}

/// Proves who somebody is.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// Checks a credential that has to be made for `audience`. Class `Denied` if it proves nothing; the message may be
    /// shown to who sent it and never holds the credential.
    async fn authenticate(&self, credential: &str, audience: &str) -> Result<Login, Error>;
}

/// What the handlers share. Clones share it.
#[derive(Clone)]
pub struct ServerState(Arc<Shared>);

struct Shared {
    store: SecretStore,
    policy: Combined,
    host: Arc<dyn Host>,
    tokens: Tokens,
    kubernetes: Option<Arc<dyn Authenticator>>,
    options: ServerOptions,
    callers: Limiter,
    login_limit: Limiter,
    logins: tokio::sync::Semaphore,
    /// Public keys of the issuer of `auth/jwt`.
    jwt_keys: login::Remembered,
    /// Public keys of the API server, while it is not asked about each token.
    cluster_keys: login::Remembered,
    /// Whether policies and tokens of the store are in memory, and who is reading them.
    loaded: AtomicBool,
    loading: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for ServerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerState(…)")
    }
}

/// What a server is made of.
#[derive(Clone)]
pub struct ServerConfig {
    /// The store.
    pub store: SecretStore,
    /// Who may do what with which secret; policies in Vault's language come from the store.
    pub policy: Arc<dyn Policy>,
    /// Clock and randomness.
    pub host: Arc<dyn Host>,
    /// Login with a token of a ServiceAccount; none: not offered.
    pub kubernetes: Option<Arc<dyn Authenticator>>,
}

impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerConfig(…)")
    }
}

/// Limits, and who is believed.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Requests of one token; none: no limit.
    pub rate: Option<Rate>,
    /// Logins and requests with unknown tokens, of one address; none: no limit.
    pub login_rate: Option<Rate>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Block>,
    /// The store with its seal, for `sys/seal` and `sys/unseal`; none: its program opens and closes it.
    pub vault: Option<Vault>,
    /// Gets the public keys of issuers; none: they have to be given.
    pub fetch: Option<Arc<dyn Fetch>>,
    /// Gets documents of the API server by their paths: its issuer and public keys, for logins that it is not asked about.
    /// None: they have to be given.
    pub api_server: Option<Arc<dyn Fetch>>,
    /// Where the store and its key lie, for who cares for it; none: it is not said.
    pub place: Option<StorePlace>,
    /// How scheduled backups are doing, for who cares for the store.
    pub backups: Board,
    /// The ServiceAccount of a daemon that runs elsewhere and rolls secrets out; none: there is no such daemon.
    pub daemon: Option<Account>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            rate: None,
            login_rate: Some(Rate { per_second: 50, burst: 200 }),
            trusted_proxies: Vec::new(),
            vault: None,
            fetch: None,
            api_server: None,
            place: None,
            backups: Board::default(),
            daemon: None,
        }
    }
}

/// What a request was and who made it, in the extensions of its answer. Without values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// API path below `/v1/`.
    pub path: String,
    /// `read`, `list`, `update`, `patch` or `delete`.
    pub operation: &'static str,
    /// Who; none: nobody that is known.
    pub who: Option<Identity>,
    /// Name of the token that is not secret.
    pub accessor: Option<String>,
    /// Address that it came from.
    pub remote: Option<IpAddr>,
}

impl ServerState {
    /// A server of `config` with default options. `root_token`, if given, may do everything; only a keyed hash of it is
    /// kept.
    pub fn new(config: ServerConfig, root_token: Option<&str>) -> Result<Self, Error> {
        Self::with_options(config, root_token, ServerOptions::default())
    }

    /// A server of `config`.
    pub fn with_options(config: ServerConfig, root_token: Option<&str>, options: ServerOptions) -> Result<Self, Error> {
        let ServerConfig { store, policy, host, kubernetes } = config;
        let tokens = Tokens::new(&*host, root_token)?;
        Ok(Self(Arc::new(Shared {
            store,
            policy: Combined { acl: SharedAcl::default(), objects: policy },
            host,
            tokens,
            kubernetes,
            callers: Limiter::new(options.rate),
            login_limit: Limiter::new(options.login_rate),
            options,
            logins: tokio::sync::Semaphore::new(LOGINS),
            jwt_keys: login::Remembered::default(),
            cluster_keys: login::Remembered::default(),
            loaded: AtomicBool::new(false),
            loading: tokio::sync::Mutex::default(),
        })))
    }

    /// Everything that decides about requests, as it is now: for `homelab secrets policy test`.
    pub fn policy(&self) -> Combined {
        self.0.policy.clone()
    }
}

/// All routes, under `/v1`.
pub fn router(state: ServerState) -> Router {
    Router::new().fallback(handle).layer(map_response(never_cached)).with_state(state)
}

async fn never_cached(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn handle(State(state): State<ServerState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let remote = limits::remote(peer, &parts.headers, &state.0.options.trusted_proxies);
    let witness = Witness::of(&parts);
    let sent = parts.uri.path();
    let cleaned = match sent.strip_prefix("/v1/") {
        Some(rest) => route::clean(rest).map_err(Refused::invalid),
        None => Err(Refused::no_route(sent.trim_start_matches('/'))),
    };
    let asked = cleaned.and_then(|path| Asked::new(&parts.method, (path, parts.uri.query()), parts.headers, body));
    let mut deed = None;
    let answer = match asked {
        Ok(mut asked) => {
            (asked.remote, asked.witness) = (remote, witness);
            deed = Some(Deed {
                path: asked.path.clone(),
                operation: asked.op.as_str(),
                who: None,
                accessor: None,
                remote,
            });
            state.serve(asked, deed.as_mut()).await
        }
        Err(refused) => Err(refused),
    };
    let mut response = answer.unwrap_or_else(Refused::into_response);
    if let Some(deed) = deed {
        let (path, status) = (shown_path(&deed.path), response.status().as_u16());
        tracing::debug!(operation = deed.operation, %path, status, "secrets request");
        response.extensions_mut().insert(deed);
    }
    response
}

impl ServerState {
    async fn serve(&self, mut asked: Asked, deed: Option<&mut Deed>) -> Answer {
        let path = asked.path.clone();
        let route = route::route(&path);
        if route.is_early() {
            return sys::early(self, route, &mut asked).await;
        }
        if self.is_sealed() {
            return Err(Refused::sealed());
        }
        self.load().await?;
        if let (true, Route::Auth(kind, _)) = (route.is_open(), route) {
            self.limit_address(&asked)?;
            let answer = login::login(self, kind, &mut asked).await;
            return answer.map(|(response, session)| {
                if let Some(deed) = deed {
                    (deed.who, deed.accessor) = (Some(session.identity.clone()), Some(session.accessor.clone()));
                }
                response
            });
        }
        let caller = self.caller(&asked).await?;
        if let Some(deed) = deed {
            let session = &caller.session;
            (deed.who, deed.accessor) = (Some(session.identity.clone()), Some(session.accessor.clone()));
            if let Some(witness) = &asked.witness {
                witness.known(deed).await?;
            }
        }
        self.dispatch(route, &caller, &mut asked).await
    }

    async fn dispatch(&self, route: Route<'_>, caller: &Caller, asked: &mut Asked) -> Answer {
        match route {
            Route::Health | Route::SealStatus | Route::Leader | Route::Init | Route::Unseal => Err(Refused::no_path()),
            Route::Seal => sys::seal(self, caller, asked).await,
            Route::Mounts => mounts::all(self, caller, asked),
            Route::Mount(name) => mounts::one(self, caller, asked, name).await,
            Route::MountTune(name) => mounts::tune(self, caller, asked, name).await,
            Route::UiMounts => mounts::ui_all(self, caller, asked).await,
            Route::UiMount(path) => mounts::ui_one(self, caller, asked, path),
            Route::AuthMounts => auth_mounts::all(self, caller, asked).await,
            Route::AuthMount(name) => auth_mounts::one(self, caller, asked, name).await,
            Route::AuthTune(name) => auth_mounts::tune(self, caller, asked, name).await,
            Route::Policies { old } => policies::all(self, caller, asked, old),
            Route::Policy { name, old } => policies::one(self, caller, asked, (name, old)).await,
            Route::Capabilities => sys::capabilities(self, caller, asked, sys::Whose::Token).await,
            Route::CapabilitiesSelf => sys::capabilities(self, caller, asked, sys::Whose::Own).await,
            Route::CapabilitiesAccessor => sys::capabilities(self, caller, asked, sys::Whose::Accessor).await,
            Route::Rotate => key_care::rotate(self, caller, asked).await,
            Route::KeyStatus => key_care::key_status(self, caller, asked).await,
            Route::Keys(rest) => key_care::serve(self, caller, asked, rest).await,
            Route::AcceptRollback => key_care::accept_rollback(self, caller, asked).await,
            Route::Backup => backup::take(self, caller, asked).await,
            Route::PolicyTest => policy_test::test(self, caller, asked).await,
            Route::Git(rest) => sealed::serve(self, caller, asked, rest).await,
            Route::Versions(rest) => versions::serve(self, caller, asked, rest).await,
            Route::Auth(AuthKind::Token, rest) => token_api::serve(self, caller, asked, rest).await,
            Route::Auth(kind, rest) => login::configure(self, caller, asked, (kind, rest)).await,
            Route::KvConfig(mount) => mounts::config(self, caller, asked, mount).await,
            Route::Kv { mount, verb, path } => match kv::serve(self, caller, asked, (mount, verb, path)).await {
                // Asked only now: reading is what happens all the time.
                Err(refused) if refused.is_not_found() && !mounts::exists(self, mount) => {
                    Err(Refused::no_route(&asked.path))
                }
                answer => answer,
            },
            Route::Other("auth") => self.nothing(caller, asked),
            Route::Other(mount) => {
                self.allow_system(caller, asked, false)?;
                if !mounts::exists(self, mount) {
                    return Err(Refused::no_route(&asked.path));
                }
                self.hint(
                    "Invalid path for a versioned K/V secrets engine. Paths are MOUNT/data/PATH, MOUNT/metadata/PATH …",
                )
            }
            Route::Unsupported => {
                self.allow_system(caller, asked, false)?;
                Err(Refused::no_path())
            }
        }
    }

    /// A path where nothing is mounted: said only to who may ask there.
    fn nothing(&self, caller: &Caller, asked: &Asked) -> Answer {
        self.allow_system(caller, asked, false)?;
        Err(Refused::no_route(&asked.path))
    }

    /// Who sent it. Unknown tokens count against the address that they come from.
    async fn caller(&self, asked: &Asked) -> Result<Caller, Refused> {
        let Some(token) = asked.token() else {
            return Err(Refused::denied(Some("the request has no token: log in first".into())));
        };
        let Some(used) = self.0.tokens.use_of(&token, self.0.host.now())? else {
            self.limit_address(asked)?;
            return Err(Refused::denied(Some("the token is not known, or has ended: log in again".into())));
        };
        if let (true, Some(hash)) = (used.spent, used.hash) {
            self.keep_use(&hash).await?;
        }
        self.check_proof(&used).await?;
        self.0.callers.take(used.session.accessor.as_bytes(), self.0.host.now()).map_err(Refused::too_many)?;
        Ok(Caller { token, hash: used.hash, session: used.session })
    }

    fn limit_address(&self, asked: &Asked) -> Result<(), Refused> {
        let key = asked.remote.map_or_else(|| b"-".to_vec(), |address| address.to_string().into_bytes());
        self.0.login_limit.take(&key, self.0.host.now()).map_err(Refused::too_many)
    }
}

#[cfg(test)]
mod tests;
