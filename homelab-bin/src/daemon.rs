//! The daemon: the four libraries, joined, in one process.
//!
//! Every process serves secrets, admission and hooks and keeps policies current. The one that holds the Lease also runs the
//! controllers; when it can not renew the Lease it ends, and its children with it, before another may begin.

pub(crate) mod audit;
pub mod certificates;
mod debug;
pub mod health;
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
use homelab_secrets::policy::SharedPolicies;
use homelab_secrets::store::{SecretStore, StorePlace, Vault};
use kube::Config;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::certificates::{Authority, Leaf};
use self::health::Health;
use self::metrics::Metrics;
use self::sealed::Early;
use self::settings::Settings;
use crate::args::{self, Global};
use crate::cli::output;

/// Name of the Lease that the leading daemon holds.
pub const LEASE: &str = "homelab";

/// How often it is looked whether the server certificate is due.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(3600);
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

/// What is made once, at the start, and used by everything after.
#[derive(Clone)]
struct Shared {
    store: SecretStore,
    /// The same store with its seal.
    vault: Vault,
    /// Where it lies.
    place: StorePlace,
    audit: Option<audit::Log>,
    policies: SharedPolicies,
    authority: Authority,
    leaf: Arc<Leaf>,
}

impl Daemon {
    /// A daemon with these settings, against the cluster of `config`.
    pub fn builder(settings: Settings, config: Config) -> Builder {
        Builder { settings, config, metrics: Arc::default(), stop: CancellationToken::new() }
    }

    fn early(&self, leaf: &Arc<Leaf>) -> Early {
        Early {
            secrets: self.settings.args.listen_secrets,
            certificates: Some(Arc::clone(leaf) as _),
            watched: Some(self.settings.args.listen_metrics),
            health: Arc::clone(&self.health),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// Runs until it is asked to stop, or something that it can not do without ends.
    pub async fn run(self) -> Result<()> {
        self.health.expect("store");
        self.health.expect("listeners");
        self.health.expect("certificates");
        tracing::info!(
            namespace = self.settings.home,
            identity = self.settings.identity,
            version = env!("CARGO_PKG_VERSION"),
            "homelab starts"
        );
        let kept = self.open_store().await?;
        let store = kept.handle();
        let authority = self
            .retry("certificates", async || publish::authority(&self.clients.own(), &self.settings, jiff_now()).await)
            .await?;
        let names = certificates::names(&self.settings.args.service, &self.settings.home, &self.urls());
        let leaf = Leaf::new(authority.clone(), names, jiff_now())?;
        if !self.early(&leaf).wait(&kept.vault, &self.stop).await? {
            return Ok(());
        }
        let audit = audit::open(&self.settings.args.audit, &self.settings.args.data_dir, &store).await?;
        let vault = kept.vault.clone();
        let place = audit::placed(kept.place, audit.as_ref());
        let shared = Shared { store, vault, place, audit, policies: SharedPolicies::default(), authority, leaf };

        let mut tasks = JoinSet::new();
        let watched = store::watch(kept.vault, Arc::clone(&self.health), Arc::clone(&self.metrics), self.stop.clone());
        tasks.spawn(async move {
            watched.await;
            Ok(())
        });
        servers::start(&self, &shared, &mut tasks).await?;
        self.health.set("listeners", true);
        tasks.spawn(policies(
            self.clients.clone(),
            Arc::clone(&self.settings),
            shared.policies.clone(),
            self.stop.clone(),
        ));
        if let Some(log) = &shared.audit {
            log.show(&self.metrics);
            let (log, store, health) = (log.clone(), shared.store.clone(), Arc::clone(&self.health));
            tasks.spawn(audit::keep(log, store, health, self.stop.clone()));
        }
        tasks.spawn(renewals(Arc::clone(&shared.leaf), self.stop.clone()));
        self.publish(&shared).await?;
        self.health.set("certificates", true);

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

    async fn open_store(&self) -> Result<store::Kept> {
        let (directory, home) = (&self.settings.args.data_dir, &self.settings.home);
        match self.settings.args.store {
            args::StoreBackend::Embedded => {
                let around = store::Around::new(self.clients.own(), &self.settings);
                store::open(directory, Some(&around)).await
            }
            args::StoreBackend::Kubernetes => {
                let open = async || store::open_in_cluster(self.clients.own(), home, directory).await;
                self.retry("the secret store", open).await
            }
        }
    }

    fn urls(&self) -> Vec<&str> {
        std::iter::once(self.settings.secrets_url.as_str()).chain(self.settings.args.webhook_url.as_deref()).collect()
    }

    async fn publish(&self, shared: &Shared) -> Result<()> {
        let client = self.clients.own();
        self.retry("the published CA", async || publish::address(&client, &self.settings, &shared.authority).await)
            .await?;
        self.retry("the webhook", async || publish::webhook(&client, &self.settings, &shared.authority).await).await
    }

    /// Waits for the Lease, then runs the controllers until it is lost or the daemon stops.
    async fn lead(&self, shared: &Shared) -> Result<()> {
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

async fn policies(
    clients: Clients,
    settings: Arc<Settings>,
    policies: SharedPolicies,
    stop: CancellationToken,
) -> Result<()> {
    let context = homelab_secrets::controller::Context {
        client: clients.own(),
        namespaces: settings.only(),
        policies,
        shutdown: stop,
        events: leader::events(&clients, &settings, homelab_core::meta::manager::SECRETS),
    };
    Ok(homelab_secrets::controller::run(context).await?)
}

async fn renewals(leaf: Arc<Leaf>, stop: CancellationToken) -> Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(CERTIFICATE_CHECK) => {}
            () = stop.cancelled() => return Ok(()),
        }
        match leaf.renew(jiff_now()) {
            Ok(true) => tracing::info!("made a new server certificate"),
            Ok(false) => {}
            Err(error) => tracing::warn!("server certificate not renewed: {}", output::chain(&error)),
        }
    }
}

fn jiff_now() -> jiff::Timestamp {
    crate::cli::now()
}
