//! Which pod has which version of a secret, read when Prometheus asks.

use homelab_secrets::controller::pods::{Held, Holders};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Writes a line for each pod and secret, in the process that cares for pods.
#[derive(Clone, Debug, Default)]
pub(super) struct HoldersCollector(pub(super) Holders);

impl Collector for HoldersCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        encode(encoder, self.0.all())
    }
}

fn encode(mut encoder: DescriptorEncoder<'_>, held: Vec<Held>) -> Result<(), std::fmt::Error> {
    if held.is_empty() {
        return Ok(());
    }
    let help = "Version of a secret that a pod was started with";
    let mut family = encoder.encode_descriptor("pod_secret_version", help, None, MetricType::Gauge)?;
    for Held { namespace, pod, path, version } in held {
        let labels = [("namespace", namespace), ("pod", pod), ("path", path)];
        ConstGauge::new(i64::try_from(version).unwrap_or(i64::MAX)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct Fixed;

    impl Collector for Fixed {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
            let held = |pod: &str, version| Held {
                namespace: "web".into(),
                pod: pod.into(),
                path: "kv/web/db".into(),
                version,
            };
            encode(encoder, vec![held("web-1", 3), held("web-2", 4)])
        }
    }

    #[test]
    fn a_line_for_each_pod_and_secret() {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.sub_registry_with_prefix("homelab").register_collector(Box::new(Fixed));
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                r#"homelab_pod_secret_version{namespace="web",pod="web-1",path="kv/web/db"} 3"#,
                r#"homelab_pod_secret_version{namespace="web",pod="web-2",path="kv/web/db"} 4"#,
            ]
        );
    }
}
