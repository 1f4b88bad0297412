//! etcd, API server, controller manager and scheduler.

use super::{process::Component, spec::Spec};

/// etcd. Without fsync: this data is not worth waiting for a disk.
pub(crate) fn etcd(spec: &Spec, program: &str) -> Component {
    let argv = vec![
        program.to_owned(),
        "--name=homelab".to_owned(),
        format!("--data-dir={}", spec.text("etcd")),
        "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-cluster=homelab=http://127.0.0.1:2380".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        "--quota-backend-bytes=4294967296".to_owned(),
        "--auto-compaction-mode=periodic".to_owned(),
        "--auto-compaction-retention=10m".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    Component { name: "etcd", argv }
}

/// The API server.
pub(crate) fn api_server(spec: &Spec, program: &str) -> Component {
    let pki = |file: &str| spec.text(&format!("pki/{file}"));
    let argv = vec![
        program.to_owned(),
        "kube-apiserver".to_owned(),
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--advertise-address={}", spec.node_ip()),
        "--secure-port=6443".to_owned(),
        format!("--cert-dir={}", spec.text("run")),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--service-cluster-ip-range={}", spec.services()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged".to_owned(),
        format!("--kubelet-client-certificate={}", pki("apiserver-to-kubelet.crt")),
        format!("--kubelet-client-key={}", pki("apiserver-to-kubelet.key")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--profiling=false".to_owned(),
    ];
    Component { name: "kube-apiserver", argv }
}

/// The controller manager. No leader election: there is one, and it should start at once after a crash.
pub(crate) fn controller_manager(spec: &Spec, program: &str) -> Component {
    let pki = |file: &str| spec.text(&format!("pki/{file}"));
    let argv = vec![
        program.to_owned(),
        "kube-controller-manager".to_owned(),
        format!("--kubeconfig={}", spec.text("conf/kube-controller-manager.kubeconfig")),
        format!("--cert-dir={}", spec.text("run")),
        "--use-service-account-credentials".to_owned(),
        format!("--service-account-private-key-file={}", pki("service-accounts.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        format!("--cluster-cidr={}", spec.pods()),
        "--allocate-node-cidrs".to_owned(),
        "--node-cidr-mask-size=24".to_owned(),
        "--leader-elect=false".to_owned(),
        "--kube-api-qps=100".to_owned(),
        "--kube-api-burst=200".to_owned(),
        "--profiling=false".to_owned(),
    ];
    Component { name: "kube-controller-manager", argv }
}

/// The scheduler.
pub(crate) fn scheduler(spec: &Spec, program: &str) -> Component {
    let argv = vec![
        program.to_owned(),
        "kube-scheduler".to_owned(),
        format!("--kubeconfig={}", spec.text("conf/kube-scheduler.kubeconfig")),
        format!("--cert-dir={}", spec.text("run")),
        "--leader-elect=false".to_owned(),
        "--kube-api-qps=100".to_owned(),
        "--kube-api-burst=200".to_owned(),
        "--profiling=false".to_owned(),
    ];
    Component { name: "kube-scheduler", argv }
}
