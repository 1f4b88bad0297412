//! Sealed files: secrets in Git, one file a secret, readable but for its values.
//!
//! ```yaml
//! homelab: sealed/1
//! repository: home
//! id: 5b0f8f0a-6d0c-4c4e-9d54-0b4f6a1f2c3d
//! path: web/db
//! values:
//!   password:
//!     e1.q83vEjRWeJ…
//!
//!   user:
//!     e1.Zm9vYmFy…
//!
//! ...
//! ```
//! Each value is sealed alone (AES-256-SIV, deterministic within an epoch) for exactly this repository, path and field, so
//! an unchanged value keeps its text, one changed value is one changed line, and no value can be moved. A key and its
//! value have a line each and an empty one behind them, which is what lets plain Git merge changes of different keys.
//!
//! The *path* is what the secret is called (policies and mounts see `git/REPOSITORY/PATH`) and stands in the file, not in
//! its name: a file can be moved freely, and Git's textconv, which hands over a temporary copy, still knows what it is.
//! Changing the line `path` by hand makes every value refuse to open.
//!
//! What a file can not show by itself: that a value was left out, or put back to an older one. Signed commits do.
//!
//! ```
//! use homelab_secrets::sealed::{Fields, RepositoryKeys, RepositoryName, SealedFile, open_file, seal_file};
//! # fn main() -> Result<(), homelab_secrets::Error> {
//! # let random = |buffer: &mut [u8]| { buffer.fill(7); Ok(()) };
//! # let now = jiff::Timestamp::UNIX_EPOCH;
//! let keys = RepositoryKeys::create(&RepositoryName::parse("home")?, now, &random)?.open()?;
//! let secret = serde_json::json!({"password": "hunter2"});
//! let fields = Fields::from_json(secret.as_object().expect("an object"))?;
//! let text = seal_file(&keys, "web/db", &fields, None)?.to_string();
//!
//! let file: SealedFile = text.parse()?;
//! assert_eq!(open_file(&keys, &file)?.to_json()?["password"], "hunter2");
//! # Ok(())
//! # }
//! ```

use zeroize::Zeroizing;

use crate::Error;
use crate::policy::unclean;

mod fields;
mod file;
mod keys;
mod merge;
mod mount;
mod name;
mod schema;
mod snapshot;
mod value;

pub use fields::Fields;
pub use file::{FORMAT, SealedFile};
pub use keys::{EpochInfo, RepositoryKeys, RepositoryRing};
pub use merge::{Merged, Side, merge};
pub use mount::{GitCommit, SealedMount};
pub use name::{RepositoryId, RepositoryName};
pub use schema::schema;
pub use snapshot::Snapshot;

use value::{Place, SealedValue};

/// First part of the logical paths of sealed files, `git/REPOSITORY/PATH`, and the mount that shows those of GitSyncs.
pub const GIT_MOUNT: &str = "git";
/// End of the name of every sealed file.
pub const SUFFIX: &str = ".sealed.yaml";
/// Largest sealed file, bytes.
pub const MAX_FILE: usize = 512 * 1024;
/// Longest name of a field, bytes. YAML's simple keys may have 1024 characters.
const MAX_FIELD: usize = 256;

/// Seals `fields` as the secret `path`. A value that `previous` already holds keeps its text, also if that is of an
/// earlier epoch; all others are sealed in the active one.
pub fn seal_file(
    ring: &RepositoryRing,
    path: &str,
    fields: &Fields,
    previous: Option<&SealedFile>,
) -> Result<SealedFile, Error> {
    check_path(ring.name(), path)?;
    if let Some(previous) = previous {
        belongs(ring, previous)?;
        if previous.path() != path {
            let was = previous.path();
            return Err(Error::Invalid(format!(
                "the sealed file is the secret {was}, not {path}: open it and seal it anew under its new path"
            )));
        }
    }
    let mut file = SealedFile::empty(ring.name().clone(), ring.id(), path);
    for (field, content) in fields.iter() {
        check_field(field)?;
        let place = Place { repository: ring.id(), path, field };
        let kept = previous.and_then(|previous| previous.value(field)).filter(|old| holds(ring, place, old, content));
        let sealed = match kept {
            Some(old) => old.clone(),
            None => value::seal(ring.active(), place, content.as_bytes())?,
        };
        file.set(field, sealed);
    }
    fits(&file)?;
    Ok(file)
}

/// Opens a file whole: when one value does not open, none is given, and the error names all that do not.
pub fn open_file(ring: &RepositoryRing, file: &SealedFile) -> Result<Fields, Error> {
    belongs(ring, file)?;
    check_path(ring.name(), file.path())?;
    let mut fields = Fields::default();
    let mut broken = Vec::new();
    for (field, sealed) in file.values() {
        match value::open(ring, Place { repository: ring.id(), path: file.path(), field }, sealed) {
            Ok(content) => fields.set_written(field, content),
            Err(problem) => broken.push(format!("`{field}` {problem}")),
        }
    }
    if broken.is_empty() {
        return Ok(fields);
    }
    let (path, name, broken) = (file.path(), ring.name(), broken.join("; "));
    Err(Error::Invalid(format!("the sealed file {path} of repository {name} does not open: {broken}")))
}

/// The same file with every value sealed in epoch `to`. Values that already are keep their text.
pub fn reseal(ring: &RepositoryRing, file: &SealedFile, to: u64) -> Result<SealedFile, Error> {
    let key = ring.epoch(to).ok_or_else(|| Error::Invalid(format!("repository {} has no epoch {to}", ring.name())))?;
    let fields = open_file(ring, file)?;
    let mut next = SealedFile::empty(ring.name().clone(), ring.id(), file.path());
    for (field, content) in fields.iter() {
        let place = Place { repository: ring.id(), path: file.path(), field };
        next.set(field, value::seal(key, place, content.as_bytes())?);
    }
    fits(&next)?;
    Ok(next)
}

/// The logical path that policies decide about, `git/REPOSITORY/PATH`.
pub fn logical_path(repository: &RepositoryName, path: &str) -> String {
    format!("{GIT_MOUNT}/{repository}/{path}")
}

/// Whether `path` can name a secret in a sealed file.
pub fn check_path(repository: &RepositoryName, path: &str) -> Result<(), Error> {
    match unclean(&logical_path(repository, path), |_| false) {
        None => Ok(()),
        Some(reason) => {
            Err(Error::Invalid(format!("{path:?} can not be the path of a sealed file: {reason}; write it as web/db")))
        }
    }
}

fn check_field(field: &str) -> Result<(), Error> {
    if field.len() > MAX_FIELD {
        let size = field.len();
        return Err(Error::Invalid(format!("a key in a sealed file may have {MAX_FIELD} bytes, one here has {size}")));
    }
    Ok(())
}

/// A file of another repository is told apart before any key is tried.
fn belongs(ring: &RepositoryRing, file: &SealedFile) -> Result<(), Error> {
    if file.repository() != ring.name() {
        let (asked, found) = (ring.name(), file.repository());
        return Err(Error::Invalid(format!("the sealed file belongs to repository {found}, not {asked}")));
    }
    if file.id() != ring.id() {
        let (name, found, own) = (ring.name(), file.id(), ring.id());
        return Err(Error::Invalid(format!(
            "the sealed file belongs to another repository {name} ({found}; the one of this store is {own}): it was \
             sealed by another store"
        )));
    }
    Ok(())
}

fn holds(ring: &RepositoryRing, place: Place<'_>, old: &SealedValue, content: &Zeroizing<String>) -> bool {
    use subtle::ConstantTimeEq as _;
    value::open(ring, place, old).is_ok_and(|found| found.as_bytes().ct_eq(content.as_bytes()).into())
}

fn fits(file: &SealedFile) -> Result<(), Error> {
    let (size, path) = (file.to_string().len(), file.path());
    if size > MAX_FILE {
        return Err(Error::Invalid(format!(
            "the sealed file {path} would have {size} bytes, {MAX_FILE} is the most: put what is large elsewhere"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
