//! How the audit log is doing, read when Prometheus asks.

use std::sync::{Arc, OnceLock};

use homelab_secrets::backend::audit_file::AuditStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Looks at the log, and at the bytes that are free where it lies.
pub(crate) type AuditSource = Box<dyn Fn() -> (AuditStats, Option<u64>) + Send + Sync>;

/// Writes the metrics of the log, once there is one.
#[derive(Clone, Default)]
pub(super) struct AuditCollector(Arc<OnceLock<AuditSource>>);

impl std::fmt::Debug for AuditCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditCollector(…)")
    }
}

impl AuditCollector {
    /// There is one log in a process: the first one counts.
    pub(super) fn watch(&self, source: AuditSource) {
        let _ = self.0.set(source);
    }
}

impl Collector for AuditCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(source) = self.0.get() else { return Ok(()) };
        let (stats, free) = source();
        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        counter("audit_records", "Records in the audit log since it was begun", stats.records)?;
        counter(
            "audit_failures",
            "How often no record could be written, so that nothing was answered",
            stats.failures,
        )?;
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
        };
        let (seconds, bytes) = (Some(&Unit::Seconds), Some(&Unit::Bytes));
        gauge(
            "audit_blocked",
            "1 while no record is taken and nothing is answered",
            None,
            f64::from(u8::from(stats.blocked)),
        )?;
        gauge(
            "audit_unsynced",
            "Age of the oldest record that is not on the disk",
            seconds,
            stats.unsynced.as_secs_f64(),
        )?;
        gauge("audit_last_sync_age", "Time since the disk last took records", seconds, stats.last_sync.as_secs_f64())?;
        gauge("audit_size", "All files of the audit log", bytes, stats.bytes as f64)?;
        gauge("audit_room", "Left until the oldest file is deleted", bytes, stats.room as f64)?;
        match free {
            Some(free) => gauge("audit_disk_free", "Free where the audit log lies", bytes, free as f64),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::daemon::metrics::Metrics;

    #[test]
    fn the_log_is_shown_as_it_is() {
        let metrics = Metrics::default();
        let stats = AuditStats {
            records: 7,
            failures: 2,
            blocked: true,
            unsynced: Duration::from_millis(500),
            last_sync: Duration::from_secs(3),
            bytes: 1000,
            room: 24,
        };
        metrics.watch_audit(Box::new(move || (stats.clone(), Some(4096))));
        let text = metrics.text();
        let ours: Vec<_> = text.lines().filter(|line| line.starts_with("homelab_audit")).collect();
        assert_eq!(
            ours,
            [
                "homelab_audit_records_total 7",
                "homelab_audit_failures_total 2",
                "homelab_audit_blocked 1.0",
                "homelab_audit_unsynced_seconds 0.5",
                "homelab_audit_last_sync_age_seconds 3.0",
                "homelab_audit_size_bytes 1000.0",
                "homelab_audit_room_bytes 24.0",
                "homelab_audit_disk_free_bytes 4096.0",
            ]
        );
    }
}
