//! What Prometheus reads, and where it comes from: the listeners' middleware, the leader's state, the Git and traffic
//! adapters, and the spans in which kube's controllers reconcile.
#![expect(clippy::disallowed_methods, reason = "durations are measured here")]

mod audit;
mod holders;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use homelab_secrets::controller::pods::Holders;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use self::audit::AuditCollector;
pub(crate) use self::audit::AuditSource;
use self::holders::HoldersCollector;

/// Name of the span that kube's controllers, and ours like them, open around each reconciliation.
pub(super) const RECONCILE_SPAN: &str = "reconciling object";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    listener: &'static str,
    code: u32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BackupLabels {
    to: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CutLabels {
    listener: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    result: &'static str,
}

fn histogram() -> Histogram {
    // 1 ms … 65 s: an API call, a Helm run, a Git fetch.
    Histogram::new(exponential_buckets(0.001, 4.0, 9))
}

/// All our metrics.
pub struct Metrics {
    registry: Registry,
    leader: Gauge,
    rolled_back: Gauge,
    memory: Gauge<u64, AtomicU64>,
    connections: Family<ListenerLabels, Gauge>,
    cut: Family<CutLabels, Counter>,
    audit: AuditCollector,
    holders: HoldersCollector,
    backup_seen: Family<BackupLabels, Gauge>,
    backup_failures: Family<BackupLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<ListenerLabels, Histogram, fn() -> Histogram>,
    reconcile_seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
    operations: Family<OperationLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let this = Self {
            leader: Gauge::default(),
            rolled_back: Gauge::default(),
            memory: Gauge::default(),
            connections: Family::default(),
            cut: Family::default(),
            audit: AuditCollector::default(),
            holders: HoldersCollector::default(),
            backup_seen: Family::default(),
            backup_failures: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(histogram),
            reconcile_seconds: Family::new_with_constructor(histogram),
            operations: Family::default(),
            registry: Registry::default(),
        };
        registry.register_with_unit("process_resident_memory", "Resident memory", Unit::Bytes, this.memory.clone());
        let ours = registry.sub_registry_with_prefix("homelab");
        ours.register("build", "This program", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        ours.register("leader", "1 while this process holds the Lease", this.leader.clone());
        let help = "1 while the secret store is older than the copy of its head, and takes no writes";
        ours.register("store_rolled_back", help, this.rolled_back.clone());
        ours.register("connections", "Open connections", this.connections.clone());
        ours.register(
            "connections_cut",
            "Connections ended because the client was slow, or because all places were taken (full)",
            this.cut.clone(),
        );
        ours.register_collector(Box::new(this.audit.clone()));
        ours.register_collector(Box::new(this.holders.clone()));
        let help = "When this place was last seen to hold the backup that was due";
        ours.register_with_unit("backup_last", help, Unit::Other("timestamp_seconds".into()), this.backup_seen.clone());
        ours.register("backup_failures", "Attempts to keep a backup that failed", this.backup_failures.clone());
        ours.register("http_requests", "Requests answered", this.requests.clone());
        ours.register_with_unit("http_request_duration", "Time to answer", Unit::Seconds, this.request_seconds.clone());
        ours.register_with_unit(
            "reconcile_duration",
            "Time of one reconciliation",
            Unit::Seconds,
            this.reconcile_seconds.clone(),
        );
        ours.register("operations", "Calls between the parts: secrets, traffic, artifacts", this.operations.clone());
        Self { registry, ..this }
    }
}

impl Metrics {
    /// A moment to measure from.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Whether this process leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// A connection was opened; it counts until what this gives is dropped.
    pub(crate) fn connection(&self, listener: &'static str) -> Open {
        let open = self.connections.get_or_create(&ListenerLabels { listener }).clone();
        open.inc();
        Open { open, cut: self.cut.clone(), listener }
    }

    /// Tells how the audit log is doing from now on.
    pub(crate) fn watch_audit(&self, source: AuditSource) {
        self.audit.watch(source);
    }

    /// Who has which version of a secret, once somebody fills it.
    pub(crate) fn holders(&self) -> Holders {
        self.holders.0.clone()
    }

    /// Whether the secret store was put back to an earlier state.
    pub fn set_rolled_back(&self, is: bool) {
        self.rolled_back.set(i64::from(is));
    }

    /// An attempt to keep a backup in a place ended: well, then at this time.
    pub fn backup(&self, to: &str, good: Option<jiff::Timestamp>) {
        let labels = BackupLabels { to: to.to_owned() };
        match good {
            Some(at) => drop(self.backup_seen.get_or_create(&labels).set(at.as_second())),
            None => drop(self.backup_failures.get_or_create(&labels).inc()),
        }
    }

    /// One request was answered.
    pub fn request(&self, listener: &'static str, code: u16, started: Instant) {
        self.requests.get_or_create(&RequestLabels { listener, code: u32::from(code) }).inc();
        self.request_seconds.get_or_create(&ListenerLabels { listener }).observe(started.elapsed().as_secs_f64());
    }

    /// One call between the parts ended.
    pub fn operation(&self, operation: &'static str, good: bool) {
        let result = if good { "ok" } else { "error" };
        self.operations.get_or_create(&OperationLabels { operation, result }).inc();
    }

    fn reconciled(&self, kind: &str, seconds: f64) {
        self.reconcile_seconds.get_or_create(&KindLabels { kind: kind.to_owned() }).observe(seconds);
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = String::new();
        // Writing into a string fails only if a metric can not describe itself: then it is missing, and the rest is there.
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::warn!("metrics: {error}");
        }
        text
    }
}

/// An open connection.
pub(crate) struct Open {
    open: Gauge,
    cut: Family<CutLabels, Counter>,
    listener: &'static str,
}

impl Open {
    /// It was ended by us.
    pub(crate) fn cut(&self, reason: &'static str) {
        self.cut.get_or_create(&CutLabels { listener: self.listener, reason }).inc();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Resident memory of this process, from procfs.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A layer of the log that times reconciliations by their spans.
pub struct ReconcileTimes(pub Arc<Metrics>);

struct Running {
    kind: String,
    since: Instant,
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ReconcileTimes {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != RECONCILE_SPAN {
            return;
        }
        let mut kind = KindOf(String::new());
        attributes.record(&mut kind);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Running { kind: kind.0, since: Instant::now() });
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        if let Some(running) = span.extensions().get::<Running>() {
            self.0.reconciled(&running.kind, running.since.elapsed().as_secs_f64());
        }
    }
}

/// Takes the kind from the field `object.ref`, as in `App.v1alpha1.homelab.dev/web.prod`.
struct KindOf(String);

impl Visit for KindOf {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "object.ref" {
            let text = format!("{value:?}");
            self.0 = text.split('.').next().unwrap_or_default().to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn names_follow_prometheus() {
        let metrics = Metrics::default();
        metrics.set_leader(true);
        metrics.set_rolled_back(true);
        metrics.request("secrets", 200, metrics.now());
        metrics.operation("secrets_resolve", false);
        let (one, two) = (metrics.connection("secrets"), metrics.connection("secrets"));
        one.cut("slow");
        drop(one);
        let text = metrics.text();
        for line in [
            "homelab_leader 1",
            "homelab_store_rolled_back 1",
            "# TYPE process_resident_memory_bytes gauge",
            "homelab_connections{listener=\"secrets\"} 1",
            "homelab_connections_cut_total{listener=\"secrets\",reason=\"slow\"} 1",
            "homelab_http_requests_total{listener=\"secrets\",code=\"200\"} 1",
            "homelab_http_request_duration_seconds_count{listener=\"secrets\"} 1",
            "homelab_operations_total{operation=\"secrets_resolve\",result=\"error\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("homelab_build_info{version="), "{text}");
        assert!(!text.contains("homelab_audit"), "there is no audit log: {text}");
        drop(two);
    }

    #[test]
    fn the_dashboard_of_the_chart_shows_what_there_is() {
        let metrics = Metrics::default();
        metrics.watch_audit(Box::new(|| (homelab_secrets::backend::audit_file::AuditStats::default(), Some(0))));
        metrics.request("secrets", 200, metrics.now());
        metrics.operation("secrets_resolve", false);
        metrics.connection("secrets").cut("slow");
        metrics.reconciled("App", 0.1);
        let text = metrics.text();
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/homelab/dashboards/homelab.json");
        let dashboard = std::fs::read_to_string(file).expect("the dashboard");
        let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels");
        let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        let words: Vec<_> = queries
            .flat_map(|query| {
                query["expr"].as_str().expect("a query").split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            })
            .filter(|word| word.starts_with("homelab_") || word.starts_with("process_"))
            .collect();
        assert!(words.len() > 15, "{words:?}");
        for word in words {
            let is_there = |line: &str| line.strip_prefix(word).is_some_and(|rest| rest.starts_with(['{', ' ']));
            assert!(text.lines().any(is_there), "the dashboard asks for {word}, which is not in\n{text}");
        }
    }

    #[test]
    fn reconciliations_are_timed_by_kind() {
        let metrics = Arc::new(Metrics::default());
        let subscriber = tracing_subscriber::registry().with(ReconcileTimes(Arc::clone(&metrics)));
        tracing::subscriber::with_default(subscriber, || {
            let object = "App.v1alpha1.homelab.dev/web.prod";
            drop(tracing::info_span!("reconciling object", "object.ref" = %object));
            drop(tracing::info_span!("something else", "object.ref" = %object));
        });
        let text = metrics.text();
        assert!(text.contains("homelab_reconcile_duration_seconds_count{kind=\"App\"} 1"), "{text}");
    }
}
