//! What the Kubernetes Secret has to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::values::Text;
use super::{MAX_SECRET, Opened, Problem, Source, template};
use crate::api::v1alpha1::{Decoding, NamedSecret, SecretSyncSpec, SecretTemplate, SyncedKey, SyncedPath};

/// Longest key of a Secret.
const MAX_KEY: usize = 253;

/// What the Secret has to hold. Wiped when dropped; `Debug` shows how many keys and no more.
#[derive(Default, PartialEq, Eq)]
pub struct Content {
    /// Its data.
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// What it was made of, `PATH@VERSION` each, sorted.
    pub versions: Vec<String>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} keys of {})", self.data.len(), self.versions.join(", "))
    }
}

/// The secrets that were read.
pub type Found = BTreeMap<Source, Opened>;

/// Makes the content; a problem if a key is missing, can not be a key of a Secret, comes twice, or is too large.
pub fn build(spec: &SecretSyncSpec, found: &Found) -> Result<Content, Problem> {
    let mut draft = Draft { found, data: BTreeMap::new(), from: BTreeMap::new() };
    for key in &spec.data {
        draft.single(key)?;
    }
    for whole in &spec.data_from {
        draft.whole(whole)?;
    }
    if let Some(template) = &spec.template {
        draft.template(template)?;
    }
    let size: usize = draft.data.values().map(|value| value.len()).sum();
    if size > MAX_SECRET {
        return Err(Problem::stalled(
            "TooLarge",
            format!(
                "the values have {size} bytes together, and a Secret holds at most {MAX_SECRET}: take fewer keys, or several \
                 SecretSyncs"
            ),
        ));
    }
    let versions: BTreeSet<_> =
        found.iter().map(|(source, opened)| format!("{}@{}", source.path, opened.version)).collect();
    Ok(Content { data: draft.data, versions: versions.into_iter().collect() })
}

struct Draft<'a> {
    found: &'a Found,
    data: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// Where each key comes from.
    from: BTreeMap<String, String>,
}

impl<'a> Draft<'a> {
    fn opened(&self, path: &str, version: Option<u64>) -> Result<&'a Opened, Problem> {
        let source = Source { path: path.into(), version };
        let missing = || Problem::stalled("Bug", format!("{source} was not read: report this"));
        self.found.get(&source).ok_or_else(missing)
    }

    fn single(&mut self, wish: &SyncedKey) -> Result<(), Problem> {
        let opened = self.opened(&wish.path, wish.version)?;
        let property = wish.property.as_ref().unwrap_or(&wish.key);
        let value = opened.values.get(property).ok_or_else(|| no_key(&wish.path, opened, property))?;
        let bytes = match wish.decode {
            None => Zeroizing::new(value.plain.as_bytes().to_vec()),
            Some(Decoding::Base64) => Zeroizing::new(decoded(&value.plain).ok_or_else(|| {
                Problem::stalled(
                    "InvalidValue",
                    format!(
                        "key {property:?} of {}@{} is no base64, which `decode: base64` of key {:?} asks for: correct the \
                         value, or leave `decode` out",
                        wish.path, opened.version, wish.key
                    ),
                )
            })?),
        };
        self.add(&wish.key, bytes, format!("key {property:?} of {}", wish.path))
    }

    fn whole(&mut self, wish: &SyncedPath) -> Result<(), Problem> {
        let opened = self.opened(&wish.path, wish.version)?;
        let prefix = wish.prefix.as_deref().unwrap_or_default();
        for (name, value) in opened.values.iter() {
            let bytes = Zeroizing::new(value.plain.as_bytes().to_vec());
            self.add(&format!("{prefix}{name}"), bytes, format!("key {name:?} of {}", wish.path))?;
        }
        Ok(())
    }

    fn template(&mut self, wish: &SecretTemplate) -> Result<(), Problem> {
        let mut named: BTreeMap<&str, (&NamedSecret, &Opened)> = BTreeMap::new();
        for secret in &wish.secrets {
            let opened = self.opened(&secret.path, secret.version)?;
            if named.insert(&secret.name, (secret, opened)).is_some() {
                let message =
                    format!("spec.template.secrets names {:?} twice: give each a name of its own", secret.name);
                return Err(Problem::stalled("InvalidTemplate", message));
            }
        }
        for (key, text) in &wish.data {
            let find = |name: &str, property: &str| look_up(&named, name, property);
            let value = template::render(text, find).map_err(|why| {
                Problem::stalled("InvalidTemplate", format!("spec.template.data.{key} does not render: {why}"))
            })?;
            self.add(key, Zeroizing::new(value.as_bytes().to_vec()), "the template".to_owned())?;
        }
        Ok(())
    }

    fn add(&mut self, key: &str, value: Zeroizing<Vec<u8>>, from: String) -> Result<(), Problem> {
        if let Some(why) = unfit(key) {
            return Err(Problem::stalled(
                "InvalidKey",
                format!("{from} can not be key {key:?} of a Secret: {why}; give it another name by spec.data"),
            ));
        }
        if let Some(other) = self.from.insert(key.into(), from.clone()) {
            return Err(Problem::stalled(
                "DuplicateKey",
                format!("key {key:?} comes from both {other} and {from}: rename one of them"),
            ));
        }
        self.data.insert(key.into(), value);
        Ok(())
    }
}

fn look_up<'a>(
    named: &BTreeMap<&str, (&NamedSecret, &'a Opened)>,
    name: &str,
    property: &str,
) -> Result<&'a Text, String> {
    let Some((secret, opened)) = named.get(name) else {
        return Err(format!("names {name:?}, which spec.template.secrets does not"));
    };
    opened.values.get(property).ok_or_else(|| {
        format!("finds no such key in {}@{} (it has {})", secret.path, opened.version, opened.values.names())
    })
}

fn no_key(path: &str, opened: &Opened, property: &str) -> Problem {
    Problem::stalled(
        "KeyNotFound",
        format!(
            "{path}@{} has no key {property:?} (it has {}): write it with `homelab kv patch {path} {property}=…`, or correct \
             the name",
            opened.version,
            opened.values.names()
        ),
    )
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let bare = Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>());
    STANDARD.decode(bare.as_bytes()).ok()
}

/// Why `key` can not be a key of a Secret (Kubernetes' `IsConfigMapKey`).
fn unfit(key: &str) -> Option<&'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if key.is_empty() || !key.chars().all(fits) {
        Some("it may have letters, digits, -, _ and . only")
    } else if key.len() > MAX_KEY {
        Some("it is longer than 253 characters")
    } else if key == "." || key.starts_with("..") {
        Some("it may not be `.` or begin with `..`")
    } else {
        None
    }
}
