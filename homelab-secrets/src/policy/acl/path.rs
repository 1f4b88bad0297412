//! Paths of rules, and which of two that match comes first.

use std::cmp::Reverse;
use std::fmt;

use super::{Cow, Identity};

/// A path of a rule, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclPath {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Namespace,
    ServiceAccount,
}

/// How well a rule fits; greater comes first. In order: no wildcard at all, place of the first wildcard, not open at its
/// end, few `+`, length.
pub(super) type Rank = (bool, usize, bool, Reverse<usize>, usize);

impl AclPath {
    /// Reads a path; says why it is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.strip_prefix('/').unwrap_or(text);
        if rest.contains("+*") {
            return Err("invalid use of wildcards ('+*' is forbidden)".into());
        }
        let mut parts = Vec::new();
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or("a template `{{` is not closed: `}}` is missing")?;
            if !before.is_empty() {
                parts.push(Part::Literal(before.into()));
            }
            parts.push(match name.trim() {
                "namespace" => Part::Namespace,
                "serviceaccount" => Part::ServiceAccount,
                other => {
                    return Err(format!(
                        "the template {{{{{other}}}}} is not supported: there are {{{{namespace}}}} and {{{{serviceaccount}}}}"
                    ));
                }
            });
            rest = after;
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Ok(Self { parts })
    }

    /// The path for `who`; none if it speaks of a ServiceAccount and `who` is none.
    pub(super) fn of(&self, who: &Identity) -> Option<Cow<'_, str>> {
        if let [Part::Literal(only)] = self.parts.as_slice() {
            return Some(Cow::Borrowed(only));
        }
        let Identity::ServiceAccount { account, .. } = who else { return None };
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Namespace => text.push_str(plain(&account.namespace)?),
                Part::ServiceAccount => text.push_str(plain(&account.name)?),
            }
        }
        Some(Cow::Owned(text))
    }
}

/// Names of Kubernetes only: nothing that has a meaning in a path.
fn plain(name: &str) -> Option<&str> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    (!name.is_empty() && name.chars().all(fits) && !name.starts_with('.')).then_some(name)
}

impl fmt::Display for AclPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(text),
            Part::Namespace => f.write_str("{{namespace}}"),
            Part::ServiceAccount => f.write_str("{{serviceaccount}}"),
        })
    }
}

/// Whether `rule` matches `path` and how well. A listing's path ends with a slash, and a rule without it matches, too.
pub(super) fn rank(rule: &str, path: &str, listing: bool) -> Option<Rank> {
    let segmented = rule == "+" || rule.contains("/+") || rule.starts_with("+/");
    let (body, open) = rule.strip_suffix('*').map_or((rule, false), |body| (body, true));
    if !segmented && !open {
        let same = rule == path || (listing && path.strip_suffix('/') == Some(rule));
        return same.then_some((true, 0, true, Reverse(0), rule.len()));
    }
    if !segmented {
        return path.starts_with(body).then_some((false, body.len(), false, Reverse(0), body.len()));
    }
    let plus = segments(body, open, path)?;
    Some((false, rule.find('+').unwrap_or(rule.len()), !open, Reverse(plus), body.len()))
}

/// Matches segment by segment; gives how many `+` there were.
fn segments(body: &str, open: bool, path: &str) -> Option<usize> {
    let (mut rules, mut parts, mut plus) = (body.split('/').peekable(), path.split('/'), 0);
    while let Some(rule) = rules.next() {
        let part = parts.next()?;
        let last = rules.peek().is_none();
        match rule {
            "+" => plus += 1,
            literal if literal == part => {}
            literal if open && last && part.starts_with(literal) => {}
            _ => return None,
        }
    }
    (open || parts.next().is_none()).then_some(plus)
}
