//! A CA that is kept in a directory.
#![expect(clippy::disallowed_methods, reason = "on a host the CA is kept in files")]

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::Authority;

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";

/// The CA in this directory; the first time one is made, with a key that only its owner can read.
pub(crate) fn authority_in(directory: &Path, now: Timestamp) -> Result<Authority> {
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    if key.exists() {
        let read = |file: &Path| std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()));
        return Authority::from_pem(read(&certificate)?, read(&key)?)
            .with_context(|| format!("use the CA in {}", directory.display()));
    }
    let made = Authority::generate(now)?;
    std::fs::create_dir_all(directory).with_context(|| format!("make directory {}", directory.display()))?;
    std::fs::write(&certificate, &made.certificate).with_context(|| format!("write {}", certificate.display()))?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key);
    let written = file.as_mut().map_err(|error| std::io::Error::new(error.kind(), error.to_string()));
    written
        .and_then(|file| std::io::Write::write_all(file, made.key.as_bytes()))
        .with_context(|| format!("write {}", key.display()))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_ca_authority_in_is_made_once_and_its_key_is_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let now = "2026-11-23T12:00:00Z".parse().expect("a time");
        let first = authority_in(&directory.path().join("tls"), now).expect("made");
        let second = authority_in(&directory.path().join("tls"), now).expect("kept");
        assert_eq!(first.certificate, second.certificate);
        let mode = std::fs::metadata(directory.path().join("tls/ca.key")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
