//! The chart, as `helm lint` and `helm template` see it: with its defaults and with every value that changes what it
//! makes. No cluster is needed.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::Counts;
use crate::{paths, programs, shell::Cmd};

/// Flags, and what has to be in what they make. A word with `!` in front must not be there.
const CASES: &[(&[&str], &[&str])] = &[
    (
        &[],
        &[
            "helm.sh/hook: pre-delete",
            "kind: Deployment",
            "kind: PersistentVolumeClaim",
            "name: homelab-admin",
            "!grafana_dashboard",
            "!hostPath:",
        ],
    ),
    (&["image.repository=r.example/h", "image.tag=t1"], &["image: r.example/h:t1"]),
    (&["agent.image.repository=r.example/a", "agent.image.tag=t2"], &["--agent-image=r.example/a:t2"]),
    (&["imagePullSecrets[0].name=pull"], &["imagePullSecrets:", "name: pull"]),
    (&["namespaces={a,b}"], &["--namespaces=a,b"]),
    (
        &["storage.type=hostPath", "storage.hostPath=/srv/h", "storage.nodeName=n1"],
        &["path: /srv/h", "kubernetes.io/hostname: n1", "!PersistentVolumeClaim"],
    ),
    (&["storage.type=emptyDir"], &["emptyDir: {}", "!PersistentVolumeClaim"]),
    (&["storage.existingClaim=mine"], &["claimName: mine", "!kind: PersistentVolumeClaim"]),
    (&["storage.size=5Gi", "storage.storageClassName=fast"], &["storage: 5Gi", "storageClassName: fast"]),
    (
        &["audit.sync=always", "audit.fileSize=4", "audit.totalSize=64"],
        &["--audit-sync=always", "--audit-file-size=4", "--audit-total-size=64"],
    ),
    (&[], &["!--enable=", "!name: homelab-secrets", "!serviceAccountToken:", "impersonate", "tokenreviews"]),
    (
        &["split=true"],
        &[
            "--enable=secrets\n",
            "--daemon-account=homelab/homelab\n",
            "--enable=gitops,rollout\n",
            "serviceAccountName: homelab-secrets\n",
            "serviceAccountToken: {audience: homelab,",
            "app.kubernetes.io/component: secrets\n",
            "name: homelab-daemon\n",
        ],
    ),
    (&["split=true", "secrets.resources.limits.memory=99Mi"], &["memory: 99Mi", "memory: 512Mi"]),
    (&["bootstrap.adminAccount=false"], &["!name: homelab-admin"]),
    (&["bootstrap.waitForRestore=true"], &["--wait-for-restore"]),
    (
        &["backup.to={/backups,s3://lab/homelab}", "backup.every=6h", "backup.keep=7", "backup.credentialsSecret=s3"],
        &[
            "--backup-to=/backups\n",
            "--backup-to=s3://lab/homelab\n",
            "--backup-every=6h",
            "--backup-keep=7",
            "name: s3\n",
        ],
    ),
    (&[], &["!--wait-for-restore", "!--backup-", "!envFrom"]),
    (&["hooks.service.type=LoadBalancer", "hooks.service.port=8080"], &["type: LoadBalancer", "port: 8080"]),
    (&["metrics.annotate=true"], &["prometheus.io/scrape: \"true\""]),
    (
        &[
            "metrics.dashboard.enabled=true",
            "metrics.dashboard.namespace=monitoring",
            "metrics.dashboard.annotations.grafana_folder=Cluster",
        ],
        &["grafana_dashboard: \"1\"", "namespace: monitoring", "grafana_folder: Cluster", "homelab_audit_blocked"],
    ),
    (&["propagation=5s", "logJson=true", "extraArgs={--rate=5}"], &["--propagation=5s", "--log-json", "- --rate=5"]),
    (
        &[
            "extraVolumes[0].name=age",
            "extraVolumes[0].secret.secretName=ids",
            "extraVolumeMounts[0].name=age",
            "extraVolumeMounts[0].mountPath=/age",
        ],
        &["secretName: ids", "mountPath: /age"],
    ),
    (
        &["podLabels.team=home", "podAnnotations.note=x", "priorityClassName=high"],
        &["team: home", "note: x", "priorityClassName: high"],
    ),
];

/// Objects of the chart with `split`, by kind and name, and what has to be in them.
const SPLIT: &[(&str, &str, &[&str])] = &[
    (
        "ClusterRole",
        "homelab-secrets-homelab",
        &["tokenreviews", "!impersonate", "!routes", "!services]", "!\"*\"", "![secrets]"],
    ),
    (
        "ClusterRole",
        "homelab-homelab",
        &["impersonate", "httproutes", "!tokenreviews", "!mutatingwebhookconfigurations, validating"],
    ),
    ("Role", "homelab-secrets", &["[homelab-tls, homelab-key]", "!leases"]),
    ("Role", "homelab", &["leases", "!secrets", "!configmaps"]),
    ("Deployment", "homelab-secrets", &["claimName: homelab", "--audit-sync=", "!serviceAccountToken", "!hooks"]),
    ("Deployment", "homelab", &["serviceAccountToken", "hooks", "!claimName", "!hostPath", "!--audit-sync", "!8200"]),
    ("Service", "homelab", &["component: secrets", "port: 8200"]),
    ("Service", "homelab-hooks", &["component: daemon"]),
];

/// Values that are refused, and the name that has to be in the refusal.
const REFUSED: &[(&str, &str)] = &[
    ("storage.type=nfs", "type"),
    ("audit.sync=never", "sync"),
    ("metrics.dashboard.enabled=perhaps", "enabled"),
    ("metrics.dashbord.enabled=true", "dashbord"),
];

/// Runs all of it.
pub(super) fn run() -> Result<Counts> {
    let programs = programs::ensure(&["helm-kubectl"])?;
    let (helm, chart) = (programs.path("helm")?, paths::workspace().join("charts/homelab"));
    Cmd::new(helm).args(["lint", "--strict"]).arg(&chart).quiet().context("helm lint objects to the chart")?;
    let mut passed = 1;
    for (values, words) in CASES {
        let made = template(helm, &chart, values)?;
        for word in *words {
            let (wanted, word) = word.strip_prefix('!').map_or((true, *word), |word| (false, word));
            let verb = if wanted { "lacks" } else { "must not have" };
            ensure!(made.contains(word) == wanted, "the chart with {} {verb} `{word}`", values.join(" "));
        }
        passed += 1;
    }
    let made = template(helm, &chart, &["split=true"])?;
    for (kind, name, words) in SPLIT {
        let is =
            |text: &str| text.contains(&format!("\nkind: {kind}\n")) && text.contains(&format!("\n  name: {name}\n"));
        let object = made.split("\n---\n").find(|text| is(text));
        let object = object.with_context(|| format!("the chart with split=true has no {kind} {name}"))?;
        for word in *words {
            let (wanted, word) = word.strip_prefix('!').map_or((true, *word), |word| (false, word));
            ensure!(
                object.contains(word) == wanted,
                "{kind} {name} with split=true: `{word}` should be there: {wanted}"
            );
        }
        passed += 1;
    }
    for (value, name) in REFUSED {
        let error = template(helm, &chart, &[value]).err().with_context(|| format!("the chart takes {value}"))?;
        ensure!(format!("{error:#}").contains(name), "the refusal of {value} does not name {name}: {error:#}");
        passed += 1;
    }
    Ok(Counts { passed, ..Counts::default() })
}

fn template(helm: &Path, chart: &Path, values: &[&str]) -> Result<String> {
    let set = values.iter().flat_map(|value| ["--set", value]);
    let cmd = Cmd::new(helm).args(["template", "homelab"]).arg(chart).args(["--namespace", "homelab"]).args(set);
    cmd.read().with_context(|| format!("helm template with {}", values.join(" ")))
}
