//! What a pod wants, checked as far as one can without the pod.

use std::collections::BTreeMap;

use super::{InjectedSecret, SecretTarget};
use crate::Error;

/// One secret with its place in the volume.
pub(super) struct Wish<'a> {
    pub(super) secret: &'a InjectedSecret,
    /// Folder or file in the volume.
    pub(super) to: String,
    pub(super) place: Place,
}

/// Where the containers see it.
pub(super) enum Place {
    /// A folder, without a slash at its end.
    Folder(String),
    /// Variables.
    Variables(Vec<String>),
}

/// Folders that the pod needs for something else: nothing may be mounted over them.
const NEEDED: [&str; 13] = [
    "",
    "/bin",
    "/etc",
    "/lib",
    "/lib64",
    "/run",
    "/run/secrets",
    "/sbin",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/var",
];
/// Folders of which not even a part may be mounted over.
const RESERVED: [&str; 5] = ["/proc", "/sys", "/dev", "/run/secrets/kubernetes.io", "/run/secrets/homelab.dev"];

/// Checks all secrets of one pod.
pub(super) fn wishes(secrets: &[InjectedSecret]) -> Result<Vec<Wish<'_>>, Error> {
    let wishes =
        secrets.iter().enumerate().map(|(index, secret)| wish(index, secret)).collect::<Result<Vec<_>, _>>()?;
    let mut folders: Vec<(&str, &str)> = Vec::new();
    let mut variables: BTreeMap<&str, &str> = BTreeMap::new();
    for Wish { secret, place, .. } in &wishes {
        match place {
            Place::Folder(folder) => {
                if let Some((other, path)) =
                    folders.iter().find(|(other, _)| inside(folder, other) || inside(other, folder))
                {
                    return refuse(format!(
                        "{} and {path} can not both be files: {folder} and {other} are the same folder or one lies in the \
                         other; give each a folder of its own",
                        secret.path
                    ));
                }
                folders.push((folder, &secret.path));
            }
            Place::Variables(names) => {
                for name in names {
                    if let Some(path) = variables.insert(name, &secret.path) {
                        return refuse(format!(
                            "variable {name} comes from both {path} and {}; give one of them another prefix",
                            secret.path
                        ));
                    }
                }
            }
        }
    }
    Ok(wishes)
}

fn wish(index: usize, secret: &InjectedSecret) -> Result<Wish<'_>, Error> {
    if secret.version == 0 {
        return refuse(format!("{}: versions start at 1", secret.path));
    }
    match &secret.target {
        SecretTarget::Files(folder) => {
            if let Some(key) = secret.keys.iter().find(|key| !is_file_name(key)) {
                return refuse(format!("key {key:?} of {} is no file name; rename the key", secret.path));
            }
            Ok(Wish { secret, to: index.to_string(), place: Place::Folder(checked_folder(&secret.path, folder)?) })
        }
        SecretTarget::Env(prefix) => {
            let names: Vec<_> = secret.keys.iter().map(|key| format!("{prefix}{key}")).collect();
            if names.is_empty() {
                return refuse(format!(
                    "{} has no keys at version {}, so it gives no variables",
                    secret.path, secret.version
                ));
            }
            if let Some(name) = names.iter().find(|name| !is_variable(name)) {
                return refuse(format!(
                    "{name:?} of {} is no variable name (letters, digits, _, not starting with a digit); rename the key, \
                     or take it as files",
                    secret.path
                ));
            }
            Ok(Wish { secret, to: format!("{index}.env"), place: Place::Variables(names) })
        }
    }
}

fn checked_folder(path: &str, folder: &str) -> Result<String, Error> {
    let trimmed = folder.trim_end_matches('/');
    if !folder.starts_with('/') {
        return refuse(format!("folder {folder:?} of {path} is not absolute; write it as in /run/secrets/db"));
    }
    let odd_segment = trimmed.split('/').skip(1).any(|segment| matches!(segment, "" | "." | ".."));
    if odd_segment || folder.contains(':') || folder.chars().any(char::is_control) {
        return refuse(format!("folder {folder:?} of {path} has an empty segment, `.`, `..` or `:`"));
    }
    let plain = canonical(trimmed);
    if NEEDED.contains(&plain) || RESERVED.iter().any(|reserved| inside(plain, reserved)) {
        return refuse(format!(
            "folder {folder:?} of {path} would hide what the pod needs; take one below, as in /run/secrets/db"
        ));
    }
    Ok(trimmed.into())
}

/// `/var/run` is a link to `/run` nearly everywhere: as far as clashes go they are the same.
fn canonical(folder: &str) -> &str {
    let folder = folder.trim_end_matches('/');
    folder.strip_prefix("/var").filter(|rest| *rest == "/run" || rest.starts_with("/run/")).unwrap_or(folder)
}

/// Whether `folder` is `other` or lies in it.
pub(super) fn inside(folder: &str, other: &str) -> bool {
    canonical(folder).strip_prefix(canonical(other)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_file_name(key: &str) -> bool {
    !matches!(key, "" | "." | "..") && key.len() <= 250 && !key.chars().any(|c| c == '/' || c.is_control())
}

fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

pub(super) fn refuse<T>(message: String) -> Result<T, Error> {
    Err(Error::Invalid(message))
}
