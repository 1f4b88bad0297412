//! Bringing a cluster up, or back up: each step looks at what is there and makes what is missing.

use std::{
    net::UdpSocket,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    certs, cgroup, containerd, control_plane, down, network, node,
    process::{self, Component},
    spec::Spec,
};
use crate::{
    debian,
    image::{archive::Image, layer},
    paths, pins,
    programs::{self, Programs},
    shell::{Cmd, human, say, wait},
};

/// Folders that the components expect.
const FOLDERS: [&str; 11] = [
    "run",
    "logs",
    "pki",
    "conf/cni",
    "etcd",
    "cni",
    "kubelet/pki",
    "containerd/root",
    "containerd/state",
    "containerd/opt",
    "pod-logs",
];
/// Raise when the way a cluster is set up changes, so that older ones are made anew.
const LAYOUT: u32 = 1;

/// Sees that the cluster of this name runs, and waits until it can take work.
pub(crate) fn ensure(name: &str) -> Result<Spec> {
    let start = Instant::now();
    let pins = pins::load()?;
    debian::ensure(&pins.debian.cluster, "a cluster")?;
    let programs = programs::ensure(programs::CLUSTER)?;
    let _lock = crate::lock::take(&format!("cluster-{name}"))?;
    let spec = current_or_new(name, &programs)?;
    if network::ensure(&spec)? {
        // What still runs has lost its network with the old namespace.
        cgroup::destroy(&spec)?;
    }
    prepare(&spec)?;
    start_control_plane(&spec, &programs)?;
    start_node(&spec, &programs)?;
    ready(&spec, &programs)?;
    say(format!("cluster {name} is up: {} (Kubernetes {}, {})", spec.api_url(), version()?, human(start.elapsed())));
    Ok(spec)
}

/// The pinned version of Kubernetes.
pub(crate) fn version() -> Result<String> {
    let pins = pins::load()?;
    Ok(pins.programs.get("kubernetes").context("xtask/pins.toml has no [programs.kubernetes]")?.version.clone())
}

/// Takes a cluster down that was made by other programs or before this machine's last start.
fn current_or_new(name: &str, programs: &Programs) -> Result<Spec> {
    let boot = paths::read(Path::new("/proc/sys/kernel/random/boot_id"))?;
    let now = format!("layout {LAYOUT}\nboot {boot}{}\n", programs.fingerprint());
    let mut spec = Spec::find_or_make(name)?;
    let mark = spec.file("made-by");
    if mark.exists() && paths::read(&mark)? != now {
        say(format!("cluster {name} was made by other versions or before this machine's last start: making it anew"));
        down::destroy(&spec)?;
        spec = Spec::find_or_make(name)?;
    }
    paths::write(&spec.file("made-by"), now)?;
    Ok(spec)
}

fn prepare(spec: &Spec) -> Result<()> {
    for folder in FOLDERS {
        paths::make(&spec.file(folder))?;
    }
    cgroup::ensure(spec)?;
    certs::ensure(spec)?;
    node::configure(spec)
}

fn start_control_plane(spec: &Spec, programs: &Programs) -> Result<()> {
    let kubernetes = programs.path("kubernetes")?.display().to_string();
    process::ensure(spec, &control_plane::etcd(spec, &programs.path("etcd")?.display().to_string()))?;
    // The API server waits for etcd by itself, and containerd needs neither.
    start(spec, &control_plane::api_server(spec, &kubernetes))?;
    start(spec, &node::containerd(spec))?;
    wait_for(spec, "kube-apiserver", "the API server answers /readyz", 90, || {
        process::check(spec, "etcd")?;
        kubectl(spec, programs)?.args(["get", "--raw", "/readyz"]).quiet()
    })?;
    start(spec, &control_plane::controller_manager(spec, &kubernetes))?;
    start(spec, &control_plane::scheduler(spec, &kubernetes))
}

fn start_node(spec: &Spec, programs: &Programs) -> Result<()> {
    let kubernetes = programs.path("kubernetes")?.display().to_string();
    wait_for(spec, "containerd", "containerd answers", 60, || containerd::answers(spec))?;
    containerd::load(spec, &pause(programs)?)?;
    // A new API server makes its own namespaces a moment after it is ready.
    wait_for(spec, "kube-apiserver", "the cluster's base objects can be applied", 60, || {
        let file = spec.text("conf/base.yaml");
        kubectl(spec, programs)?.args(["apply", "--server-side", "--force-conflicts", "-f", &file]).quiet()
    })?;
    start(spec, &node::kubelet(spec, &kubernetes))?;
    start(spec, &node::proxy(spec, &kubernetes))?;
    start(spec, &node::dns(spec, &programs.path("coredns")?.display().to_string()))
}

fn ready(spec: &Spec, programs: &Programs) -> Result<()> {
    wait_for(spec, "kubelet", "the node is Ready", 90, || {
        let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}: {.status.conditions[?(@.type=='Ready')].message}";
        let said = kubectl(spec, programs)?.args(["get", "node", certs::NODE, "-o", path]).read()?;
        if said.starts_with("True") { Ok(()) } else { bail!("node {}: Ready is {said}", certs::NODE) }
    })?;
    for name in ["etcd", "kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        process::check(spec, name)?;
    }
    wait_for(spec, "coredns", "DNS answers at its Service's address", 60, || ask_dns(&spec.dns_ip()))
}

fn start(spec: &Spec, component: &Component) -> Result<()> {
    process::ensure(spec, component)
}

/// Waits, and gives up at once when the component has ended.
fn wait_for(spec: &Spec, component: &str, what: &str, seconds: u64, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
    let asked = wait(&format!("cluster {}: {what}", spec.name), Duration::from_secs(seconds), || {
        if let Err(ended) = process::check(spec, component) {
            return Ok(Err(ended));
        }
        ask().map(Ok)
    });
    asked
        .and_then(|inner| inner)
        .with_context(|| format!("cluster {} did not come up; logs are in {}", spec.name, spec.file("logs").display()))
}

/// `kubectl` as the cluster's administrator.
pub(crate) fn kubectl(spec: &Spec, programs: &Programs) -> Result<Cmd> {
    Ok(kubectl_at(spec, programs.path("kubectl")?))
}

/// The same with the program at this place.
pub(crate) fn kubectl_at(spec: &Spec, program: &Path) -> Cmd {
    let cmd = Cmd::new(program).arg("--request-timeout=5s").env("KUBECONFIG", spec.kubeconfig());
    // Discovery's cache would land in the user's home.
    cmd.arg(format!("--cache-dir={}", spec.text("run/kubectl")))
}

fn pause(programs: &Programs) -> Result<Image> {
    let from = programs.path("pause")?.to_path_buf();
    let layer = layer::Layer::of_files(vec![layer::Entry { to: "pause", from, mode: 0o755 }])?;
    Ok(Image {
        name: node::PAUSE.to_owned(),
        config: serde_json::json!({ "Entrypoint": ["/pause"] }),
        layers: vec![layer],
    })
}

/// Asks for the API server's name, through the Service's address: this proves kube-proxy and DNS at once.
fn ask_dns(ip: &str) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send_to(&question(), (ip, 53))?;
    let mut answer = [0_u8; 512];
    let length = socket.recv(&mut answer).with_context(|| format!("no answer from {ip}:53"))?;
    // RFC 1035 4.1.1: the low four bits of byte 3 are the response code, bytes 6 and 7 count the answers.
    let (code, answers) = (answer[3] & 0x0f, answer[7]);
    if length < 12 || code != 0 || answers == 0 {
        bail!("{ip}:53 answered with code {code} and {answers} addresses for kubernetes.default");
    }
    Ok(())
}

/// RFC 1035 4.1: identity, "recursion desired", one question of type A, class IN.
fn question() -> Vec<u8> {
    let mut packet = vec![0x68, 0x6c, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["kubernetes", "default", "svc", "cluster", "local"] {
        packet.push(u8::try_from(label.len()).unwrap_or_default());
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}
