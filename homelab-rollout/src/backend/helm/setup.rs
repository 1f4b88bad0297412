//! Folders and files that helm runs in.
#![expect(clippy::disallowed_methods, reason = "writes the files that helm reads")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homelab_core::process::Program;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::HelmConfig;
use crate::backend::chart::io;
use crate::error::Error;

/// Name of our post-renderer plugin.
pub(super) const PLUGIN: &str = "homelab-stamp";

/// Everything that helm may see of this machine.
pub(super) struct Home {
    folder: TempDir,
}

impl Home {
    pub(super) fn make(kube: &kube::Config, config: &HelmConfig) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("homelab-helm-").tempdir();
        let home = Self { folder: folder.map_err(|e| io("make", Path::new("a temporary folder"), &e))? };
        home.write("kubeconfig", &kubeconfig(kube)?)?;
        home.write(&format!("plugins/{PLUGIN}/plugin.yaml"), &plugin(config))?;
        Ok(home)
    }

    /// The program with an environment of its own and nothing of ours.
    pub(super) fn program(&self, path: &Path) -> Program {
        let at = |name: &str| self.folder.path().join(name);
        Program::new(path)
            .cwd(self.folder.path())
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", at("kubeconfig"))
            .env("HELM_PLUGINS", at("plugins"))
            .env("HELM_CACHE_HOME", at("cache"))
            .env("HELM_CONFIG_HOME", at("config"))
            .env("HELM_DATA_HOME", at("data"))
    }

    /// A folder for one run.
    pub(super) fn temporary(&self) -> Result<TempDir, Error> {
        tempfile::tempdir_in(self.folder.path()).map_err(|e| io("make a folder in", self.folder.path(), &e))
    }

    /// Writes JSON (YAML to helm) that only we can read.
    fn write(&self, name: &str, content: &Value) -> Result<(), Error> {
        let path: PathBuf = self.folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| io("make", parent, &e))?;
        }
        std::fs::write(&path, content.to_string()).map_err(|e| io("write", &path, &e))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|e| io("protect", &path, &e))
    }
}

/// Helm 4 finds a post-renderer by the name of a plugin, not by a path.
fn plugin(config: &HelmConfig) -> Value {
    json!({
        "apiVersion": "v1",
        "name": PLUGIN,
        "version": "0.1.0",
        "type": "postrenderer/v1",
        "runtime": "subprocess",
        "runtimeConfig": {"platformCommand": [{"command": config.stamp, "args": config.stamp_args}]},
    })
}

/// The way to the API server that `kube` takes, in the program's words. Inside a cluster the token stays a file, which
/// the kubelet renews.
fn kubeconfig(kube: &kube::Config) -> Result<Value, Error> {
    let mut cluster = json!({"server": kube.cluster_url.to_string()});
    if let Some(certificates) = &kube.root_cert {
        let pem: String = certificates.iter().map(|der| pem(der)).collect();
        cluster["certificate-authority-data"] = json!(STANDARD.encode(pem));
    }
    if kube.accept_invalid_certs {
        cluster["insecure-skip-tls-verify"] = json!(true);
    }
    if let Some(name) = &kube.tls_server_name {
        cluster["tls-server-name"] = json!(name);
    }
    if let Some(proxy) = &kube.proxy_url {
        cluster["proxy-url"] = json!(proxy.to_string());
    }
    let mut user = serde_json::to_value(&kube.auth_info)
        .map_err(|e| Error::Invalid(format!("the kubeconfig's user can not be passed to helm: {e}")))?;
    if let Some(user) = user.as_object_mut() {
        user.retain(|_, value| !value.is_null());
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "homelab", "cluster": cluster}],
        "users": [{"name": "homelab", "user": user}],
        "contexts": [{"name": "homelab", "context": {"cluster": "homelab", "user": "homelab"}}],
        "current-context": "homelab",
    }))
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<String> =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
