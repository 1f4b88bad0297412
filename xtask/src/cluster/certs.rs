//! Certificates and the kubeconfig files that carry them.

use std::path::Path;

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::spec::Spec;
use crate::paths;

/// The node's name.
pub(crate) const NODE: &str = "homelab";

/// Who speaks to the API server: file of the kubeconfig, user name, group.
const USERS: [(&str, &str, &str); 5] = [
    ("kubeconfig", "homelab-admin", "system:masters"),
    ("conf/kube-controller-manager.kubeconfig", "system:kube-controller-manager", ""),
    ("conf/kube-scheduler.kubeconfig", "system:kube-scheduler", ""),
    ("conf/kube-proxy.kubeconfig", "system:kube-proxy", ""),
    ("conf/kubelet.kubeconfig", "system:node:homelab", "system:nodes"),
];

/// Makes all keys, certificates and kubeconfigs unless they are there.
pub(crate) fn ensure(spec: &Spec) -> Result<()> {
    let done = spec.file("pki/done");
    if done.exists() {
        return Ok(());
    }
    make(spec).with_context(|| format!("certificates of cluster {} can not be made", spec.name))?;
    // Last, so that a crash in the middle starts from a new authority.
    paths::write(&done, "")
}

fn make(spec: &Spec) -> Result<()> {
    let authority = Authority::new(spec)?;
    let api = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([spec.node_ip(), spec.api_service_ip(), "127.0.0.1".to_owned()]);
    authority.issue(spec, "apiserver", "kube-apiserver", "", api.collect())?;
    authority.issue(spec, "kubelet", "system:node:homelab", "system:nodes", vec![spec.node_ip(), NODE.to_owned()])?;
    authority.issue(spec, "apiserver-to-kubelet", "kube-apiserver-kubelet-client", "system:masters", Vec::new())?;
    let accounts = KeyPair::generate()?;
    paths::write_private(&spec.file("pki/service-accounts.key"), accounts.serialize_pem())?;
    paths::write(&spec.file("pki/service-accounts.pub"), accounts.public_key_pem())?;
    for (file, user, group) in USERS {
        let (cert, key) = authority.sign(user, group, Vec::new())?;
        paths::write_private(&spec.file(file), kubeconfig(spec, user, &authority.pem, &cert, &key))?;
    }
    Ok(())
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(spec: &Spec) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, spec.namespace());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        write_pair(&spec.file("pki/ca"), &pem, &key.serialize_pem())?;
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// A certificate for server and client use, and its key.
    fn sign(&self, user: &str, group: &str, names: Vec<String>) -> Result<(String, String)> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, user);
        if !group.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }

    fn issue(&self, spec: &Spec, file: &str, user: &str, group: &str, names: Vec<String>) -> Result<()> {
        let (cert, key) = self.sign(user, group, names)?;
        write_pair(&spec.file("pki").join(file), &cert, &key)
    }
}

fn write_pair(stem: &Path, cert: &str, key: &str) -> Result<()> {
    paths::write(&stem.with_extension("crt"), cert)?;
    paths::write_private(&stem.with_extension("key"), key)
}

/// A kubeconfig with everything inside, so that it can be copied.
fn kubeconfig(spec: &Spec, user: &str, ca: &str, cert: &str, key: &str) -> String {
    let (server, cluster) = (spec.api_url(), spec.namespace());
    let [ca, cert, key] = [ca, cert, key].map(|pem| STANDARD.encode(pem));
    format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: {cluster}, cluster: {{server: \"{server}\", certificate-authority-data: {ca}}}}}]
users: [{{name: \"{user}\", user: {{client-certificate-data: {cert}, client-key-data: {key}}}}}]
contexts: [{{name: {cluster}, context: {{cluster: {cluster}, user: \"{user}\"}}}}]
current-context: {cluster}
"
    )
}
