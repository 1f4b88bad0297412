//! The node: containerd, kubelet, kube-proxy and DNS, with their configuration files.

use anyhow::{Context, Result};

use super::{certs::NODE, process::Component, spec::Spec};
use crate::{debian, paths};

/// The image of every pod's sandbox.
pub(crate) const PAUSE: &str = "homelab.dev/pause:1";

/// Writes all configuration files of the node.
pub(crate) fn configure(spec: &Spec) -> Result<()> {
    for (file, text) in [
        ("conf/containerd.toml", containerd_toml(spec)?),
        ("conf/cni/10-homelab.conflist", conflist(spec)),
        ("conf/kubelet.yaml", kubelet_yaml(spec)),
        ("conf/resolv.conf", format!("nameserver {}\n", spec.node_ip())),
        ("conf/Corefile", corefile(spec)),
        ("conf/base.yaml", base_objects(spec)),
    ] {
        paths::write(&spec.file(file), text)?;
    }
    Ok(())
}

/// containerd.
pub(crate) fn containerd(spec: &Spec) -> Component {
    let argv = vec!["containerd".to_owned(), format!("--config={}", spec.text("conf/containerd.toml"))];
    Component { name: "containerd", argv }
}

/// The kubelet.
pub(crate) fn kubelet(spec: &Spec, program: &str) -> Component {
    let argv = vec![
        program.to_owned(),
        "kubelet".to_owned(),
        format!("--config={}", spec.text("conf/kubelet.yaml")),
        format!("--kubeconfig={}", spec.text("conf/kubelet.kubeconfig")),
        format!("--root-dir={}", spec.text("kubelet")),
        format!("--cert-dir={}", spec.text("kubelet/pki")),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={}", spec.node_ip()),
    ];
    Component { name: "kubelet", argv }
}

/// kube-proxy.
pub(crate) fn proxy(spec: &Spec, program: &str) -> Component {
    let argv = vec![
        program.to_owned(),
        "kube-proxy".to_owned(),
        format!("--kubeconfig={}", spec.text("conf/kube-proxy.kubeconfig")),
        "--proxy-mode=iptables".to_owned(),
        format!("--hostname-override={NODE}"),
        format!("--cluster-cidr={}", spec.pods()),
        // The table of tracked connections belongs to this machine.
        "--conntrack-max-per-core=0".to_owned(),
    ];
    Component { name: "kube-proxy", argv }
}

/// CoreDNS, as a process: it needs no image and is there before the first pod.
pub(crate) fn dns(spec: &Spec, program: &str) -> Component {
    let argv = vec![program.to_owned(), format!("-conf={}", spec.text("conf/Corefile")), "-quiet".to_owned()];
    Component { name: "coredns", argv }
}

/// Everything that containerd would otherwise keep in places shared with another containerd goes into our folder.
fn containerd_toml(spec: &Spec) -> Result<String> {
    let cni = debian::cni_bin().context("the CNI plugins are gone; install containernetworking-plugins")?.display();
    let dir = spec.dir.display();
    Ok(format!(
        r#"version = 2
root = "{dir}/containerd/root"
state = "{dir}/containerd/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
  address = "{dir}/run/containerd.sock"

[ttrpc]
  address = "{dir}/run/containerd.ttrpc.sock"

[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # A process without CAP_SYS_RESOURCE can not lower a score; without this no sandbox starts there.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{dir}/conf/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{dir}/containerd/runc"
        SystemdCgroup = false
"#
    ))
}

/// No masquerade: this machine has a route to the pods, and so the address that a pod's peer sees is the pod's own.
fn conflist(spec: &Spec) -> String {
    format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "{}",
  "plugins": [
    {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
     "ipam": {{"type": "host-local", "dataDir": "{}", "ranges": [[{{"subnet": "{}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"#,
        spec.namespace(),
        spec.text("cni"),
        spec.pods()
    )
}

/// Evictions and image collection are off: a full disk of this machine must not look like a bug of the project.
fn kubelet_yaml(spec: &Spec) -> String {
    let (dir, dns, group) = (spec.dir.display(), spec.dns_ip(), spec.namespace());
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://{dir}/run/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /{group}
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {dir}/pki/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: {dir}/pki/kubelet.crt
tlsPrivateKeyFile: {dir}/pki/kubelet.key
clusterDNS: [{dns}]
clusterDomain: cluster.local
resolvConf: {dir}/conf/resolv.conf
podLogsDir: {dir}/pod-logs
volumePluginDir: {dir}/kubelet/plugins-exec
maxPods: 200
serializeImagePulls: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
imageMaximumGCAge: 0s
evictionHard: {{memory.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}}
kubeAPIQPS: 100
kubeAPIBurst: 200
nodeStatusUpdateFrequency: 5s
"
    )
}

/// Only the cluster's own names are answered; every other one does not exist, at once and without a forwarder.
fn corefile(spec: &Spec) -> String {
    let (ip, kubeconfig) = (spec.node_ip(), spec.kubeconfig().display().to_string());
    let reverse = [format!("{}.88.10.in-addr.arpa", spec.slot), "96.10.in-addr.arpa".to_owned()].join(" ");
    format!(
        "cluster.local {reverse} {{
    bind {ip}
    errors
    ready {ip}:8181
    kubernetes {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
}}
. {{
    bind {ip}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"
    )
}

/// The objects that a distribution's installer would make.
fn base_objects(spec: &Spec) -> String {
    let (dns, node) = (spec.dns_ip(), spec.node_ip());
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: homelab-node-proxier}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:node-proxier'}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: 'system:kube-proxy'}}]
---
apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system, labels: {{k8s-app: kube-dns}}}}
spec:
  clusterIP: {dns}
  ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: kube-dns-homelab, namespace: kube-system, labels: {{kubernetes.io/service-name: kube-dns}}}}
addressType: IPv4
endpoints: [{{addresses: [{node}], conditions: {{ready: true}}}}]
ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]
"
    )
}
