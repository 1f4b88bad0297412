//! Writes values into the volume in memory: each file appears whole or not at all.

use std::fs::{DirBuilder, DirEntry, OpenOptions, read_dir, remove_file, rename};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::failure::Failure;
use crate::value::{Values, env_file};
use crate::wish::{Secret, Target};

/// Only the kubelet reads env files, and it is root.
const ENV_FILE_MODE: u32 = 0o400;

/// Writes one secret to its place below `root`.
pub(crate) fn write(root: &Path, mode: u32, secret: &Secret, values: &Values) -> Result<(), Failure> {
    let place = root.join(&secret.to);
    match &secret.target {
        Target::Env(prefix) => {
            let text = env_file(secret, prefix, values)?;
            put(root, &secret.to, text.as_bytes(), ENV_FILE_MODE).map_err(|error| trouble(secret, &secret.to, &error))
        }
        Target::Files(folder) => {
            if let Some(key) = values.keys().find(|key| !is_file_name(key)) {
                let Secret { path, version, .. } = secret;
                return Err(Failure::fixed(format!("key {key:?} of {path}@{version} is no file name; rename the key")));
            }
            make_folder(&place, mode).map_err(|error| trouble(secret, folder, &error))?;
            for (key, value) in values {
                let file = || format!("{folder}/{key}");
                put(&place, key, value.as_bytes(), mode).map_err(|error| trouble(secret, &file(), &error))?;
            }
            Ok(())
        }
    }
}

/// Takes away what an earlier version had in its folder and this one has not.
pub(crate) fn keep(root: &Path, secret: &Secret, values: &Values) -> Result<(), Failure> {
    let place = root.join(&secret.to);
    let stale = |entry: io::Result<DirEntry>| {
        let name = entry.ok()?.file_name();
        (!name.to_str().is_some_and(|name| values.contains_key(name))).then_some(name)
    };
    let entries = read_dir(&place).map_err(|error| trouble(secret, &secret.to, &error))?;
    for name in entries.filter_map(stale) {
        remove_file(place.join(&name)).map_err(|error| trouble(secret, &name.to_string_lossy(), &error))?;
    }
    Ok(())
}

/// Whoever may read the files may enter the folder.
fn make_folder(place: &Path, mode: u32) -> io::Result<()> {
    let enter = mode | ((mode & 0o444) >> 2);
    match DirBuilder::new().mode(enter | 0o700).create(place) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn put(folder: &Path, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    // No key starts with a dot followed by nothing but our word: see is_file_name.
    let draft = folder.join(DRAFT);
    match remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(content)?;
    rename(&draft, folder.join(name))
}

/// Name of a file that is being written.
const DRAFT: &str = ".homelab-draft";

fn is_file_name(key: &str) -> bool {
    !matches!(key, "" | "." | ".." | DRAFT) && key.len() <= 250 && !key.chars().any(|c| c == '/' || c.is_control())
}

fn trouble(secret: &Secret, file: &str, error: &io::Error) -> Failure {
    let Secret { path, version, .. } = secret;
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the volume homelab-secrets is full: make the values smaller"
        }
        _ => "can the agent's user write to the volume homelab-secrets?",
    };
    Failure::passing(format!("{path}@{version}: {file} can not be written: {error}; {hint}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use zeroize::Zeroizing;

    use super::*;

    fn secret(target: Target, to: &str) -> Secret {
        Secret { path: "kv/web/db".into(), version: 3, keys: vec!["a".into()], target, to: to.into() }
    }

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(key, value)| ((*key).into(), Zeroizing::new((*value).into()))).collect()
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_have_their_mode_and_can_be_written_again() {
        let root = tempfile::tempdir().unwrap();
        let secret = secret(Target::Files("/run/db".into()), "0");
        for content in ["one", "two"] {
            write(root.path(), 0o440, &secret, &values(&[("a", content), (".b c", "x")])).unwrap();
            let file = root.path().join("0/a");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
            assert_eq!((mode(&file), mode(&root.path().join("0"))), (0o440, 0o750));
        }
        assert_eq!(read_dir(root.path().join("0")).unwrap().count(), 2, "no draft is left");
    }

    #[test]
    fn env_files_are_for_the_kubelet_alone() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 0o444, &secret(Target::Env("P_".into()), "0.env"), &values(&[("a", "x")])).unwrap();
        let file = root.path().join("0.env");
        assert_eq!((std::fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("P_a='x'\n", 0o400));
    }

    #[test]
    fn odd_names_and_places_fail_in_words() {
        let root = tempfile::tempdir().unwrap();
        let secret = secret(Target::Files("/run/db".into()), "0");
        for key in ["", ".", "..", "a/b", "a\0", "x\ny", DRAFT] {
            let error = write(root.path(), 0o444, &secret, &values(&[(key, "topsecret")])).unwrap_err().to_string();
            assert!(error.contains("is no file name") && !error.contains("topsecret"), "{error}");
        }
        let gone = root.path().join("gone");
        let error = write(&gone, 0o444, &secret, &values(&[("a", "topsecret")])).unwrap_err().to_string();
        assert!(error.contains("/run/db can not be written") && !error.contains("topsecret"), "{error}");
    }
}
