//! The daemon: the four libraries, joined, in one process.
//!
//! It has three parts: secrets, gitops, rollout. Every process with the part secrets serves them and admission and keeps
//! policies current; every one with gitops serves hooks, and the one of those that holds the Lease runs the controllers.
//! When it can not renew the Lease it ends, and its children with it, before another may begin. Where secrets are kept by
//! another process, rollouts ask that one ([`elsewhere`]).

pub(crate) mod audit;
mod backups;
pub mod certificates;
mod debug;
mod elsewhere;
pub mod health;
mod keeper;
mod leader;
pub mod listeners;
pub(crate) mod logging;
pub mod metrics;
mod publish;
pub(crate) mod sealed;
mod servers;
pub mod settings;
pub(crate) mod store;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use homelab_core::client::Clients;
use homelab_core::lease::LeaseHolder;
use homelab_core::process;
use homelab_rollout::controller::Cases;
use homelab_secrets::sealed::SealedMount;
use homelab_secrets::versions::Versions;
use kube::Config;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::health::Health;
use self::keeper::Keeper;
use self::metrics::Metrics;
use self::settings::Settings;
use crate::args::{self, Global, Part};
use crate::cli::output;

/// Name of the Lease that the leading daemon holds.
pub const LEASE: &str = "homelab";

/// The chart's ServiceAccount of whoever owns the cluster.
pub(crate) const OWNER: &str = "homelab-admin";

/// How long everything may take to stop.
const STOP: Duration = Duration::from_secs(12);

/// Runs the daemon until SIGTERM or SIGINT.
pub(crate) async fn run(global: &Global, args: args::Daemon) -> Result<()> {
    crate::seclude()?;
    let metrics = Arc::new(Metrics::default());
    logging::start(args.log_json, Arc::clone(&metrics));
    crate::allow_connections();
    let config = crate::cli::cluster_config(global).await?;
    let settings = Settings::new(global, args, &config)?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    Daemon::builder(settings, config).metrics(metrics).stop(stop).build()?.run().await
}

pub(crate) async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals can not be caught: the daemon will not stop gracefully");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
}

/// Puts a [`Daemon`] together.
pub struct Builder {
    settings: Settings,
    config: Config,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Builder {
    /// Count here.
    #[must_use]
    pub fn metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// Stop gracefully when this is cancelled.
    #[must_use]
    pub fn stop(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// The daemon, not yet running.
    pub fn build(self) -> Result<Daemon> {
        let clients = Clients::new(self.config.clone()).context("prepare the connection to the API server")?;
        Ok(Daemon {
            settings: Arc::new(self.settings),
            config: self.config,
            clients,
            metrics: self.metrics,
            stop: self.stop,
            health: Arc::default(),
            cases: Cases::default(),
        })
    }
}

/// The daemon.
pub struct Daemon {
    settings: Arc<Settings>,
    config: Config,
    clients: Clients,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    health: Arc<Health>,
    cases: Cases,
}

/// What the controllers need to know about secrets, wherever they are kept.
#[derive(Clone)]
struct Shared {
    /// None: nothing that runs here asks.
    versions: Option<Arc<dyn Versions>>,
    /// Where sealed files in Git are shown. None: nowhere.
    sealed: Option<Arc<dyn SealedMount>>,
    /// What pods check the secret server's certificate against.
    ca_pem: String,
    /// None: another process keeps them.
    keeper: Option<Keeper>,
}

impl Daemon {
    /// A daemon with these settings, against the cluster of `config`.
    pub fn builder(settings: Settings, config: Config) -> Builder {
        Builder { settings, config, metrics: Arc::default(), stop: CancellationToken::new() }
    }

    fn has(&self, part: Part) -> bool {
        self.settings.args.parts.has(part)
    }

    /// Runs until it is asked to stop, or something that it can not do without ends.
    pub async fn run(self) -> Result<()> {
        elsewhere::check(&self.settings)?;
        self.health.expect("listeners");
        if self.has(Part::Secrets) {
            self.health.expect("store");
            self.health.expect("certificates");
        }
        tracing::info!(
            namespace = self.settings.home,
            identity = self.settings.identity,
            version = env!("CARGO_PKG_VERSION"),
            parts = ?self.settings.args.parts.enable,
            "homelab starts"
        );
        let mut tasks = JoinSet::new();
        let shared = match self.has(Part::Secrets) {
            true => match keeper::open(&self, &mut tasks).await? {
                Some(shared) => shared,
                None => return Ok(()),
            },
            false => elsewhere::find(&self, &mut tasks).await?,
        };
        servers::start(&self, &shared, &mut tasks).await?;
        self.health.set("listeners", true);
        if let Some(keeper) = &shared.keeper {
            keeper::start(&self, keeper, &mut tasks).await?;
            self.health.set("certificates", true);
        }

        // A stop ends the controllers, and then the Lease is given back; it must not be dropped here.
        let result = tokio::select! {
            result = self.lead(&shared) => result,
            ended = ended(&mut tasks, &self.stop) => ended,
            () = overdue(&self.stop) => Ok(()),
        };
        self.stop.cancel();
        if let Err(error) = &result {
            tracing::error!("{}", output::chain(error));
        }
        let rest = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP, rest).await.is_err() {
            tracing::warn!("some parts did not stop in {STOP:?}");
        }
        process::kill_running();
        result
    }

    /// Waits for the Lease, then runs the controllers until it is lost or the daemon stops.
    async fn lead(&self, shared: &Shared) -> Result<()> {
        if !self.has(Part::Gitops) {
            // Who keeps secrets only, leads nobody.
            self.stop.cancelled().await;
            return Ok(());
        }
        let args = &self.settings.args;
        let holder = LeaseHolder::new(
            self.clients.own(),
            &self.settings.home,
            LEASE,
            &self.settings.identity,
            args.lease_duration,
        );
        let mut held = tokio::select! {
            held = holder.acquire() => held,
            () = self.stop.cancelled() => return Ok(()),
        };
        tracing::info!("leads");
        self.metrics.set_leader(true);
        let controllers = leader::run(self, shared);
        let result = tokio::select! {
            result = controllers => result,
            () = held.lost() => {
                // Another process may act from now on: end at once, helm children first.
                process::kill_running();
                bail!("the Lease {}/{LEASE} was lost: another process may lead now, so this one ends", self.settings.home);
            }
        };
        self.metrics.set_leader(false);
        process::kill_running();
        held.release().await;
        result
    }

    /// Tries until it works: after a power cut the API server comes back later than we do.
    async fn retry<T>(&self, what: &'static str, attempt: impl AsyncFn() -> Result<T>) -> Result<T> {
        for n in 0.. {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => tracing::warn!("{what}: {}; trying again", output::chain(&error)),
            }
            let wait =
                homelab_core::class::Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(15) }.delay(n);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => bail!("stopped while waiting for {what}"),
            }
        }
        bail!("{what}: gave up")
    }
}

/// The first part that ends although nobody asked it to.
async fn ended(tasks: &mut JoinSet<Result<()>>, stop: &CancellationToken) -> Result<()> {
    while let Some(part) = tasks.join_next().await {
        let result = part.context("a part of the daemon panicked").flatten();
        if result.is_err() || !stop.is_cancelled() {
            return result.and_then(|()| bail!("a part of the daemon ended by itself"));
        }
    }
    std::future::pending().await
}

/// Ends when a stop was asked for and has taken too long.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(STOP).await;
    tracing::warn!("some parts did not stop in {STOP:?}");
}

fn jiff_now() -> jiff::Timestamp {
    crate::cli::now()
}
