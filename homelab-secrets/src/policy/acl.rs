//! Policies in Vault's own language, by API path: `path "kv/data/web/*" { capabilities = ["read"] }`.
//!
//! A token names policies. Of all rules of its policies that match a path, the one of highest priority decides alone;
//! rules with the same path count as one, and `deny` in any of them is a no. Priority, highest first, as OpenBao's
//! `AllowOperation` orders it:
//!
//! 1. a rule without wildcards (for a listing: with the slash at its end before the one without it; where nothing fits
//!    the folder with its slash, the folder without it is looked for);
//! 2. the rule whose first `+` or last `*` comes later;
//! 3. one that does not end in `*`; 4. one with fewer `+`; 5. a longer one; 6. the one that sorts later.
//!
//! `*` is a wildcard at the very end only, `+` only as a whole segment. `{{namespace}}` and `{{serviceaccount}}` stand
//! for those of who is logged in; for anybody who is no ServiceAccount such a rule does not exist. What Vault has beside
//! `capabilities` and narrows a rule (parameters, wrapping, expiry) is refused: left out, the rule would allow more than
//! it says.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::hcl::{self, Item, Value};
use super::{Capability, Identity};

mod path;
mod set;

pub use path::AclPath;
pub use set::{AclSet, Matched, SharedAcl};

/// Name of the policy that every token has unless it is made without.
pub const DEFAULT: &str = "default";
/// Name of the policy that allows everything; it has no text.
pub const ROOT: &str = "root";
/// Rules of one policy.
const MAX_RULES: usize = 1024;

/// What [`DEFAULT`] says until somebody writes it anew.
pub const DEFAULT_TEXT: &str = r#"# A token may look at itself, renew itself and end itself.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# It may ask what it may do.
path "sys/capabilities-self" {
  capabilities = ["update"]
}
"#;

/// What a rule gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Nothing, whatever others say.
    pub deny: bool,
    /// These.
    pub capabilities: BTreeSet<Capability>,
}

impl Rights {
    /// Whether they allow it. Who may create may not thereby update, nor the other way round.
    pub fn allow(&self, capability: Capability) -> bool {
        !self.deny && self.capabilities.contains(&capability)
    }

    /// Their names, sorted, as `sys/capabilities` gives them.
    pub fn names(&self) -> Vec<String> {
        if self.deny || self.capabilities.is_empty() {
            return vec!["deny".into()];
        }
        let mut names: Vec<_> = self.capabilities.iter().map(Capability::to_string).collect();
        names.sort_unstable();
        names
    }

    fn add(&mut self, other: &Self) {
        self.deny |= other.deny;
        self.capabilities.extend(&other.capabilities);
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    /// Where it holds.
    pub path: AclPath,
    /// What it gives there.
    pub rights: Rights,
}

/// A policy that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclPolicy {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its rules.
    pub rules: Vec<AclRule>,
}

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse policy: {0}")]
pub struct AclError(String);

impl AclPolicy {
    /// Reads a policy.
    pub fn parse(name: &str, text: &str) -> Result<Self, AclError> {
        let items = hcl::parse(text).map_err(|error| AclError(error.to_string()))?;
        let mut rules = Vec::new();
        for item in &items {
            match item.keys.first().map(String::as_str) {
                Some("path") => blocks(item, &mut rules)?,
                // Vault takes the name from the request, too.
                Some("name") if item.keys.len() == 1 => {}
                other => {
                    let key = other.unwrap_or_default();
                    return Err(at(item, format!("invalid key {key:?}: a policy has blocks `path \"…\" {{ … }}`")));
                }
            }
        }
        if rules.len() > MAX_RULES {
            return Err(AclError(format!("it has more than {MAX_RULES} paths: split it")));
        }
        Ok(Self { name: name.into(), text: text.into(), rules })
    }
}

fn at(item: &Item, reason: impl std::fmt::Display) -> AclError {
    AclError(format!("line {}: {reason}", item.line))
}

/// `path "x" { … }`, or JSON's `path = { "x" = { … } }`.
fn blocks(item: &Item, rules: &mut Vec<AclRule>) -> Result<(), AclError> {
    match (&item.keys[1..], &item.value) {
        ([path], Value::Object(fields)) => rule(item, path, fields).map(|found| rules.push(found)),
        ([], Value::Object(paths)) => paths.iter().try_for_each(|inner| match (&inner.keys[..], &inner.value) {
            ([path], Value::Object(fields)) => rule(inner, path, fields).map(|found| rules.push(found)),
            _ => Err(at(inner, "a path has to be an object")),
        }),
        ([], Value::List(objects)) => objects.iter().try_for_each(|object| match object {
            Value::Object(_) => blocks(&Item { value: object.clone(), ..item.clone() }, rules),
            _ => Err(at(item, "a path has to be an object")),
        }),
        _ => Err(at(item, "a path is written `path \"…\" { … }`")),
    }
}

fn rule(item: &Item, path: &str, fields: &[Item]) -> Result<AclRule, AclError> {
    let fail = |reason: String| at(item, format!("path {path:?}: {reason}"));
    let mut rights = Rights::default();
    for field in fields {
        match (field.keys.join(" ").as_str(), &field.value) {
            ("capabilities", Value::List(values)) => {
                for value in values {
                    let Value::Text(word) = value else { return Err(fail("capabilities are strings".into())) };
                    give(&mut rights, word).ok_or_else(|| fail(format!("invalid capability {word:?}")))?;
                }
            }
            ("capabilities", _) => return Err(fail("capabilities is a list, as in [\"read\"]".into())),
            ("policy", Value::Text(word)) => {
                for word in shorthand(word).ok_or_else(|| fail(format!("invalid policy {word:?}")))? {
                    give(&mut rights, word);
                }
            }
            ("comment", _) => {}
            (
                narrowing @ ("allowed_parameters"
                | "denied_parameters"
                | "required_parameters"
                | "min_wrapping_ttl"
                | "max_wrapping_ttl"
                | "expiration"
                | "pagination_limit"
                | "response_keys_filter_path"
                | "list_scan_response_keys_filter_path"
                | "mfa_methods"
                | "control_group"),
                _,
            ) => {
                return Err(fail(format!(
                    "{narrowing} is not supported here, and without it the rule would allow more"
                )));
            }
            (key, _) => return Err(fail(format!("invalid key {key:?}"))),
        }
    }
    Ok(AclRule { path: AclPath::parse(path).map_err(fail)?, rights })
}

fn give(rights: &mut Rights, word: &str) -> Option<()> {
    let capability = match word {
        "deny" => {
            rights.deny = true;
            return Some(());
        }
        // OpenBao's recursive listing, which no path here has.
        "scan" => return Some(()),
        "create" => Capability::Create,
        "read" => Capability::Read,
        "update" => Capability::Update,
        "patch" => Capability::Patch,
        "delete" => Capability::Delete,
        "list" => Capability::List,
        "sudo" => Capability::Sudo,
        _ => return None,
    };
    rights.capabilities.insert(capability);
    Some(())
}

/// The old way to write capabilities, which Vault still takes.
fn shorthand(word: &str) -> Option<&'static [&'static str]> {
    Some(match word {
        "deny" => &["deny"],
        "read" => &["read", "list"],
        "write" => &["create", "read", "update", "delete", "list"],
        "sudo" => &["create", "read", "update", "delete", "list", "sudo"],
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
