//! Taking, renewing and giving back a lease.
#![expect(clippy::disallowed_methods, reason = "a lease is held against the clock")]

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{Seen, Verdict, claim, evaluate, release};
use crate::client::explain;
use crate::meta::manager;

/// One process's wish to hold one lease.
#[derive(Clone)]
pub struct LeaseHolder {
    api: Api<Lease>,
    name: String,
    identity: String,
    duration: Duration,
}

impl LeaseHolder {
    /// For the Lease `namespace/name`, as `identity` (unique among living processes), for `duration` without a renewal.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, duration: Duration) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.into(), identity: identity.into(), duration }
    }

    /// How often the lease is looked at or renewed; no request takes longer.
    fn beat(&self) -> Duration {
        self.duration / 5
    }

    /// Waits until the lease is ours, then keeps it renewed in the background. Trouble is logged and tried again.
    pub async fn acquire(self) -> Held {
        let mut seen = None;
        let mut told = String::new();
        loop {
            match timeout(self.beat(), self.try_acquire(&mut seen)).await {
                Ok(Ok(Ok(lease))) => return self.hold(lease),
                Ok(Ok(Err(holder))) if told != holder => {
                    tracing::info!(lease = self.name, holder, "another process leads; waiting");
                    told = holder;
                }
                Ok(Ok(Err(_))) => {}
                Ok(Err(error)) => tracing::warn!(lease = self.name, error = explain(&error), "can not take the lease"),
                Err(_) => tracing::warn!(lease = self.name, "the API server does not answer"),
            }
            sleep(self.beat()).await;
        }
    }

    /// The lease if it is ours now, else its holder's name.
    async fn try_acquire(&self, seen: &mut Option<Seen>) -> kube::Result<Result<Lease, String>> {
        let now = Timestamp::now();
        let lease = self.api.get_opt(&self.name).await?;
        let spec = lease.as_ref().map(|l| l.spec.clone().unwrap_or_default());
        *seen = spec.clone().map(|spec| Seen::update(seen.take(), spec, now));
        if let Verdict::Held { by, .. } = evaluate(seen.as_ref(), &self.identity, now) {
            return Ok(Err(by));
        }
        let spec = claim(&spec.unwrap_or_default(), &self.identity, self.duration, now);
        self.write(lease, spec).await.map(Ok)
    }

    /// Creates the lease, or replaces exactly the version that was read.
    async fn write(&self, lease: Option<Lease>, spec: LeaseSpec) -> kube::Result<Lease> {
        let params = PostParams { field_manager: Some(manager::DAEMON.into()), ..PostParams::default() };
        if let Some(lease) = lease {
            return self.api.replace(&self.name, &params, &Lease { spec: Some(spec), ..lease }).await;
        }
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        self.api.create(&params, &Lease { metadata, spec: Some(spec) }).await
    }

    fn hold(self, lease: Lease) -> Held {
        let (lost_sender, lost) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut lease = lease;
            tokio::select! {
                () = self.renew(&mut lease) => { let _ = lost_sender.send(true); }
                asked = stopped => if asked.is_ok() { self.give_back(lease).await },
            }
        });
        Held { lost, stop, task }
    }

    /// Renews until that failed for ⅔ of the duration, or somebody else holds the lease.
    async fn renew(&self, lease: &mut Lease) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < self.duration * 2 / 3 {
            sleep(self.beat()).await;
            match timeout(self.beat(), self.renew_once(lease)).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(lease = self.name, error = explain(&error), "lease not renewed"),
                Err(_) => tracing::warn!(lease = self.name, "lease not renewed: the API server does not answer"),
            }
        }
    }

    async fn renew_once(&self, lease: &mut Lease) -> kube::Result<bool> {
        let before = lease.spec.clone().unwrap_or_default();
        let spec = claim(&before, &self.identity, self.duration, Timestamp::now());
        match self.write(Some(lease.clone()), spec).await {
            Ok(written) => *lease = written,
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                *lease = self.api.get(&self.name).await?;
                return Ok(lease.spec.as_ref().is_some_and(|s| s.holder_identity.as_deref() == Some(&self.identity)));
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    async fn give_back(&self, lease: Lease) {
        let spec = release(&lease.spec.clone().unwrap_or_default(), Timestamp::now());
        if !matches!(timeout(self.beat(), self.write(Some(lease), spec)).await, Ok(Ok(_))) {
            tracing::warn!(lease = self.name, "lease not given back; it runs out by itself");
        }
    }
}

/// A lease that is ours, renewed in the background until it is lost, released or dropped (then it runs out by itself).
pub struct Held {
    lost: watch::Receiver<bool>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Held {
    /// Ends when the lease is no longer surely ours: stop acting at once.
    pub async fn lost(&mut self) {
        // A closed channel means that the renewing task died: lost as well.
        let _ = self.lost.wait_for(|lost| *lost).await;
    }

    /// Gives the lease back, so that another process need not wait.
    pub async fn release(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
