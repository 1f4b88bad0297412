//! The real clock, real randomness, and the key file.

#![expect(clippy::disallowed_methods, reason = "this file is where clock, randomness and the key file come in")]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::Host;
use crate::Error;
use crate::keys::{SlotKey, Unlock};

/// The computer that we run on.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Host for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self, buffer: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(buffer).map_err(|e| Error::Backend(format!("the system gave no random bytes: {e}")))
    }
}

/// Reads the key file at `path`. Where there is none and `may_create`, makes one that only its owner can read.
///
/// Say `may_create` only while there is no store yet: a new key opens none.
pub fn key_file(path: &Path, may_create: bool, host: &dyn Host) -> Result<Unlock, Error> {
    let failed = |what: &str, e: std::io::Error| Error::Backend(format!("key file {}: {what}: {e}", path.display()));
    match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => {
            let mode = fs::metadata(path).map_err(|e| failed("can not be looked at", e))?.permissions().mode();
            if mode & 0o007 != 0 {
                let name = path.display();
                return Err(Error::Invalid(format!("key file {name} can be read by everybody: chmod 600 {name}")));
            }
            SlotKey::from_file(&text).map(Unlock::KeyFile)
        }
        Err(e) if e.kind() == ErrorKind::NotFound && may_create => {
            let key = SlotKey::generate(&|buffer| host.random(buffer))?;
            create(path, key.to_file().as_bytes()).map_err(|e| failed("can not be made", e))?;
            Ok(Unlock::KeyFile(key))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let name = path.display();
            Err(Error::Invalid(format!(
                "key file {name} is missing, and without it the store does not open: restore it from your backup"
            )))
        }
        Err(e) => Err(failed("can not be read", e)),
    }
}

/// Writes beside it, syncs, and only then gives it its name: a crash leaves a whole key or none.
fn create(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_only_where_it_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.key");
        assert!(key_file(&path, false, &System).unwrap_err().to_string().contains("restore it from your backup"));
        key_file(&path, true, &System).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        key_file(&path, true, &System).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "the second start keeps it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(key_file(&path, true, &System).unwrap_err().to_string().contains("chmod 600"));
    }
}
