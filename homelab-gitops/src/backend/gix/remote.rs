//! Talking to a Git server: ls-refs and fetch.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gix::protocol::handshake::Ref;
use gix::protocol::transport::client::blocking_io::http;
use gix::remote::fetch::{Shallow, Tags};
use gix::remote::{Direction, ref_map};

use super::fault;
use crate::Error;
use crate::error::Fault;
use crate::source::{CommitId, Credentials, GitRef, Remote};

/// Where a fetched commit is kept from being lost.
const KEPT: &str = "refs/homelab/fetched";

/// The commit behind a reference, by `ls-refs`.
pub(super) fn resolve(repository: &gix::Repository, remote: &Remote, reference: &GitRef) -> Result<CommitId, Error> {
    let refs = with_connection(repository, remote, reference, |connection| {
        let (map, _) = connection.ref_map(gix::progress::Discard, ref_map::Options::default())?;
        Ok(map.remote_refs)
    })?;
    target(&refs, remote, reference)
}

/// Downloads the commit behind a reference, without history.
pub(super) fn fetch(repository: &gix::Repository, remote: &Remote, reference: &GitRef) -> Result<CommitId, Error> {
    let refs = with_connection(repository, remote, reference, |connection| {
        let prepare = connection.prepare_fetch(gix::progress::Discard, ref_map::Options::default())?;
        let refs = prepare.ref_map().remote_refs.clone();
        if reference.full_name().is_some() && find(&refs, reference).is_none() {
            return Ok(refs);
        }
        let shallow = Shallow::DepthAtRemote(NonZeroU32::MIN);
        prepare.with_shallow(shallow).receive(gix::progress::Discard, &AtomicBool::new(false))?;
        Ok(refs)
    })?;
    let commit = target(&refs, remote, reference)?;
    if super::read::has_commit(repository, &commit) {
        return Ok(commit);
    }
    let detail = format!("the server did not send {reference}");
    Err(Error::Source { url: remote.url.clone(), fault: Fault::NoReference, detail })
}

type Connection<'a, 'repo> =
    gix::remote::Connection<'a, 'a, 'repo, Box<dyn gix::protocol::transport::client::blocking_io::Transport + Send>>;

fn with_connection<T>(
    repository: &gix::Repository,
    remote: &Remote,
    reference: &GitRef,
    work: impl FnOnce(Connection<'_, '_>) -> gix::Result<T>,
) -> Result<T, Error> {
    let source = reference.full_name().unwrap_or_else(|| match reference {
        GitRef::Commit(id) => id.to_string(),
        _ => "HEAD".into(),
    });
    let options = transport(&remote.credentials)?;
    let run = || -> gix::Result<T> {
        let spec = format!("+{source}:{KEPT}");
        let server = repository
            .remote_at_without_url_rewrite(remote.url.as_str())?
            .with_fetch_tags(Tags::None)
            .with_refspecs([spec.as_str()], Direction::Fetch)?;
        let mut connection = server.connect(Direction::Fetch)?;
        if remote.url.starts_with("http") {
            connection.set_transport_options(Box::new(options));
        }
        // Credentials travel with the first request; a server that asks again does not like them.
        connection.set_credentials(|_| Ok(None));
        work(connection)
    };
    run().map_err(|error| fault::remote(&remote.url, &error))
}

/// Sends credentials with the first request, which saves one round trip a poll and works inside a cluster without TLS, too.
/// gix follows no redirect with them, so they never reach another host.
fn transport(credentials: &Credentials) -> Result<http::Options, Error> {
    let mut options = http::Options::default();
    if let Some(login) = &credentials.login {
        let pair = STANDARD.encode(format!("{}:{}", login.username, login.password));
        options.extra_headers = vec![format!("Authorization: Basic {pair}")];
    }
    let certificates = match &credentials.ca_pem {
        Some(pem) => reqwest::Certificate::from_pem_bundle(pem.as_bytes())
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| {
                Error::Spec("key caCrt of the Secret that spec.secretRef names holds no PEM certificate".into())
            })?,
        None => Vec::new(),
    };
    let configure = move |builder: reqwest::blocking::ClientBuilder| Ok(builder.tls_certs_merge(certificates.clone()));
    let backend = http::reqwest::Options { configure_client: Some(Box::new(configure)), configure_request: None };
    options.backend = Some(Arc::new(Mutex::new(backend)));
    Ok(options)
}

fn find<'a>(refs: &'a [Ref], reference: &GitRef) -> Option<&'a gix::oid> {
    let name = reference.full_name()?;
    refs.iter().find_map(|candidate| {
        let (full_name, target, peeled) = candidate.unpack();
        (full_name == name.as_str()).then(|| peeled.or(target)).flatten()
    })
}

fn target(refs: &[Ref], remote: &Remote, reference: &GitRef) -> Result<CommitId, Error> {
    if let GitRef::Commit(id) = reference {
        return Ok(id.clone());
    }
    let missing = || Error::Source {
        url: remote.url.clone(),
        fault: Fault::NoReference,
        detail: format!("the repository has no {reference}"),
    };
    let id = find(refs, reference).ok_or_else(missing)?;
    CommitId::parse(&id.to_string()).ok_or_else(|| Error::Source {
        url: remote.url.clone(),
        fault: Fault::Protocol,
        detail: "it uses SHA-256 object ids, which are not supported".into(),
    })
}
