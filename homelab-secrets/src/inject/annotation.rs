//! The annotation with which a pod outside Apps says what it wants.

use super::{InjectedSecret, SecretTarget};
use crate::Error;

/// One secret that a pod wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `MOUNT/PATH`.
    pub path: String,
    /// Exact version; none for the newest.
    pub version: Option<u64>,
    /// Where it goes.
    pub target: SecretTarget,
}

/// Reads `kv/web/db=files:/run/secrets/db,kv/web/api@3=env:API_`.
pub fn parse_annotation(text: &str) -> Result<Vec<Wanted>, Error> {
    let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
    let wanted = items.map(parse).collect::<Result<Vec<_>, _>>()?;
    if wanted.is_empty() {
        return Err(Error::Invalid("it names no secret; write PATH=files:FOLDER or PATH=env:PREFIX".into()));
    }
    Ok(wanted)
}

/// Writes the same with the versions that were found.
pub fn format_annotation(secrets: &[InjectedSecret]) -> String {
    let items = secrets.iter().map(|InjectedSecret { path, version, target, .. }| match target {
        SecretTarget::Files(folder) => format!("{path}@{version}=files:{folder}"),
        SecretTarget::Env(prefix) => format!("{path}@{version}=env:{prefix}"),
    });
    items.collect::<Vec<_>>().join(",")
}

fn parse(item: &str) -> Result<Wanted, Error> {
    let invalid = |why: &str| {
        Error::Invalid(format!(
            "{item:?} {why}; write PATH=files:FOLDER or PATH@VERSION=env:PREFIX, as in kv/web/db=files:/run/secrets/db"
        ))
    };
    let (secret, target) = item.split_once('=').ok_or_else(|| invalid("does not say where it goes"))?;
    let (path, version) = match secret.rsplit_once('@') {
        Some((path, version)) => {
            let version = version.parse().ok().filter(|version| *version > 0);
            (path, Some(version.ok_or_else(|| invalid("has a version that is no number from 1 on"))?))
        }
        None => (secret, None),
    };
    if !path.contains('/') {
        return Err(invalid("names no path"));
    }
    let target = match target.split_once(':') {
        Some(("files", folder)) => SecretTarget::Files(folder.into()),
        Some(("env", prefix)) => SecretTarget::Env(prefix.into()),
        _ => return Err(invalid("goes neither to files: nor to env:")),
    };
    Ok(Wanted { path: path.into(), version, target })
}
