//! The standalone server's certificate: one that was given and is read again when it changes, or one of its own.
#![expect(clippy::disallowed_methods, reason = "reads certificate files; the clock is for certificates")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::place::Opened;
use crate::args::SecretServer;
use crate::daemon::certificates::{Leaf, authority_in, names};

/// How often files of certificates are looked at, and whether a certificate of our own is due.
const LOOK: Duration = Duration::from_secs(30);

/// How the server proves who it is.
pub(super) enum Tls {
    /// It does not: plain HTTP.
    Plain,
    /// By a certificate of a CA of its own.
    Own {
        leaf: Arc<Leaf>,
        /// File with the CA's certificate.
        ca: PathBuf,
    },
    /// By files.
    Given(Arc<Given>),
}

impl Tls {
    pub(super) fn of(args: &SecretServer, opened: &Opened) -> Result<Self> {
        if args.dev || args.no_tls {
            return Ok(Self::Plain);
        }
        if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
            return Ok(Self::Given(Arc::new(Given::read(certificate, key)?)));
        }
        let now = Timestamp::now();
        let folder = opened.directory.join("tls");
        let mut all = names("homelab", "homelab", &[]);
        let listens = args.listen.ip();
        all.extend((!listens.is_unspecified() && !listens.is_loopback()).then(|| listens.to_string()));
        all.extend(args.names.iter().cloned());
        let leaf = Leaf::new(authority_in(&folder, now)?, all, now)?;
        Ok(Self::Own { leaf, ca: folder.join("ca.crt") })
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// File with the certificate of the server's own CA.
    pub(super) fn own_ca(&self) -> Option<&Path> {
        match self {
            Self::Own { ca, .. } => Some(ca),
            Self::Plain | Self::Given(_) => None,
        }
    }

    pub(super) fn resolver(&self) -> Option<Arc<dyn ResolvesServerCert>> {
        match self {
            Self::Plain => None,
            Self::Own { leaf, .. } => Some(Arc::clone(leaf) as _),
            Self::Given(given) => Some(Arc::clone(given) as _),
        }
    }

    /// Takes new certificates into use until `stop`; connections that are open keep theirs.
    pub(super) async fn keep_current(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let renewed = match &self {
                Self::Plain => return,
                Self::Own { leaf, .. } => leaf.renew(Timestamp::now()),
                Self::Given(given) => given.refresh(),
            };
            match renewed {
                Ok(true) => tracing::info!("a new certificate is in use"),
                Ok(false) => {}
                Err(error) => tracing::warn!("the certificate in use stays: {error:#}"),
            }
        }
    }
}

/// A certificate in files.
#[derive(Debug)]
pub(super) struct Given {
    files: [PathBuf; 2],
    current: RwLock<(Arc<CertifiedKey>, Pem)>,
}

/// What the two files hold.
#[derive(PartialEq, Eq)]
struct Pem([Vec<u8>; 2]);

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pem(…)")
    }
}

impl Given {
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let files = [certificate.to_owned(), key.to_owned()];
        let pem = read(&files)?;
        Ok(Self { current: RwLock::new((Arc::new(certified(&files, &pem)?), pem)), files })
    }

    /// Whether the files had changed. What does not fit together (one file written, the other not yet) is not taken.
    pub(super) fn refresh(&self) -> Result<bool> {
        let pem = read(&self.files)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).1 == pem {
            return Ok(false);
        }
        let key = Arc::new(certified(&self.files, &pem)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (key, pem);
        Ok(true)
    }
}

impl ResolvesServerCert for Given {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).0))
    }
}

fn read(files: &[PathBuf; 2]) -> Result<Pem> {
    let read = |file: &PathBuf| std::fs::read(file).with_context(|| format!("read {}", file.display()));
    Ok(Pem([read(&files[0])?, read(&files[1])?]))
}

fn certified([certificate, key]: &[PathBuf; 2], pem: &Pem) -> Result<CertifiedKey> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&pem.0[0]).collect::<Result<_, _>>().map_err(|_| wrong(certificate))?;
    anyhow::ensure!(!chain.is_empty(), wrong(certificate));
    // The parser's own words could quote the key.
    let private = PrivateKeyDer::from_pem_slice(&pem.0[1])
        .map_err(|_| anyhow::anyhow!("{} holds no private key in PEM form", key.display()))?;
    let signing = any_supported_type(&private)
        .map_err(|_| anyhow::anyhow!("the key in {} is of a kind that TLS does not take", key.display()))?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().with_context(|| {
        format!("the certificate in {} does not belong to the key in {}", certificate.display(), key.display())
    })?;
    Ok(certified)
}

fn wrong(certificate: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} holds no certificate in PEM form", certificate.display())
}
