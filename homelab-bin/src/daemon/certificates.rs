//! The daemon's own certificates: a CA that lasts ten years, and a leaf of 90 days that is made anew after 60.
//!
//! The leaf lives in memory only. The CA is kept (Secret `homelab-tls`, or the data directory on a host), because pods
//! and the API server trust it by its certificate.

use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

mod files;

pub(crate) use files::authority_in;

const DAY: SignedDuration = SignedDuration::from_hours(24);
const CA_DAYS: i32 = 3650;
const LEAF_DAYS: i32 = 90;
/// Before "now" at which certificates begin to count, for clocks that lag.
const LEEWAY: SignedDuration = SignedDuration::from_hours(1);

/// A certificate authority.
#[derive(Clone)]
pub struct Authority {
    /// Certificate; public.
    pub certificate: String,
    /// Private key; secret.
    pub(super) key: String,
}

impl Authority {
    /// A new one.
    pub fn generate(now: Timestamp) -> Result<Self> {
        let key = KeyPair::generate().context("make the CA's key")?;
        let mut params = params(now, CA_DAYS);
        params.distinguished_name = named("homelab CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).context("sign the CA's certificate")?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// One that was kept.
    pub fn from_pem(certificate: String, key: String) -> Result<Self> {
        let this = Self { certificate, key };
        this.issuer().map(|_| ())?;
        Ok(this)
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>> {
        let key = KeyPair::from_pem(&self.key).context("read the CA's key")?;
        Issuer::from_ca_cert_pem(&self.certificate, key).context("read the CA's certificate")
    }

    /// A server certificate for these names and addresses.
    pub(super) fn issue(&self, names: &[String], now: Timestamp) -> Result<CertifiedKey> {
        let key = KeyPair::generate().context("make a server key")?;
        let mut params = params(now, LEAF_DAYS);
        params.subject_alt_names =
            CertificateParams::new(names.to_vec()).context("read the server's names")?.subject_alt_names;
        params.distinguished_name = named("homelab");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer()?).context("sign a server certificate")?;
        let ca = CertificateDer::from_pem_slice(self.certificate.as_bytes()).context("read the CA's certificate")?;
        let private = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|error| anyhow::anyhow!("read a server key: {error}"))?;
        let signing = any_supported_type(&private).context("use a server key")?;
        Ok(CertifiedKey::new(vec![leaf.der().clone(), ca], signing))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn params(now: Timestamp, days: i32) -> CertificateParams {
    // rcgen's type of time belongs to a crate that we do not depend on: reached by adding to an epoch.
    let at = |time: Timestamp| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default())
    };
    let mut params = CertificateParams::default();
    params.not_before = at(now - LEEWAY);
    params.not_after = at(now + DAY * days);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

/// Names under which the daemon is reached: its Service's, the host of each advertised URL, and this machine's.
pub fn names(service: &str, namespace: &str, urls: &[&str]) -> Vec<String> {
    let mut names = vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
        service.to_owned(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    for host in urls.iter().filter_map(|url| host(url)) {
        if !names.contains(&host) {
            names.push(host);
        }
    }
    names
}

/// The host of a URL, without brackets and port.
fn host(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None if authority.parse::<IpAddr>().is_ok() => authority,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_owned())
}

/// The leaf in use; a new one takes over for the next connection without a restart.
#[derive(Debug)]
pub struct Leaf {
    authority: Authority,
    names: Vec<String>,
    current: RwLock<(Arc<CertifiedKey>, Timestamp)>,
}

impl Leaf {
    /// A first leaf.
    pub fn new(authority: Authority, names: Vec<String>, now: Timestamp) -> Result<Arc<Self>> {
        let key = authority.issue(&names, now)?;
        Ok(Arc::new(Self { authority, names, current: RwLock::new((Arc::new(key), now)) }))
    }

    /// Makes a new leaf when two thirds of the old one's time have passed; says whether it did.
    pub fn renew(&self, now: Timestamp) -> Result<bool> {
        if !due(self.issued(), now) {
            return Ok(false);
        }
        let key = self.authority.issue(&self.names, now)?;
        if let Ok(mut current) = self.current.write() {
            *current = (Arc::new(key), now);
        }
        Ok(true)
    }

    fn issued(&self) -> Timestamp {
        self.current.read().map_or(Timestamp::UNIX_EPOCH, |current| current.1)
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().ok().map(|current| Arc::clone(&current.0))
    }
}

fn due(issued: Timestamp, now: Timestamp) -> bool {
    now.duration_since(issued) >= DAY * (LEAF_DAYS * 2 / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn hosts_of_urls() {
        assert_eq!(host("https://10.89.0.1:8200").as_deref(), Some("10.89.0.1"));
        assert_eq!(host("https://[fd00::1]:8200/x").as_deref(), Some("fd00::1"));
        assert_eq!(host("https://secrets.home.example/").as_deref(), Some("secrets.home.example"));
        assert_eq!(host("https://"), None);
    }

    #[test]
    fn a_leaf_is_renewed_after_two_thirds_of_its_time() {
        let leaf = Leaf::new(Authority::generate(now()).expect("a CA"), names("homelab", "homelab", &[]), now())
            .expect("a leaf");
        assert!(!leaf.renew(now() + DAY * 59).expect("nothing to do"));
        assert!(leaf.renew(now() + DAY * 60).expect("renewed"));
        assert!(!leaf.renew(now() + DAY * 61).expect("nothing to do"));
    }

    #[test]
    fn a_client_that_trusts_the_ca_accepts_the_leaf() {
        crate::install_crypto();
        let ca = Authority::generate(now()).expect("a CA");
        let kept = Authority::from_pem(ca.certificate.clone(), ca.key.clone()).expect("kept");
        let leaf = kept.issue(&names("homelab", "infra", &["https://10.89.0.1:18200"]), now()).expect("a leaf");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.certificate.as_bytes()).expect("PEM")).expect("a root");
        let verifier = rustls::client::WebPkiServerVerifier::builder(Arc::new(roots)).build().expect("a verifier");
        for (name, good) in [("homelab.infra.svc", true), ("10.89.0.1", true), ("homelab.other.svc", false)] {
            let name = rustls::pki_types::ServerName::try_from(name).expect("a name");
            let at = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(
                u64::try_from(now().as_second()).expect("after 1970"),
            ));
            let result = rustls::client::danger::ServerCertVerifier::verify_server_cert(
                &*verifier,
                &leaf.cert[0],
                &leaf.cert[1..],
                &name,
                &[],
                at,
            );
            assert_eq!(result.is_ok(), good, "{name:?}: {result:?}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Authority::generate(now()).expect("a CA")), "Authority { .. }");
    }
}
