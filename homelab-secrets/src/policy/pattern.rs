//! Path patterns, as Vault's: `+` is one whole segment, `*` at the very end is any rest.

use std::fmt;

use super::sys_paths::{AUTH, SYS};
use crate::sealed::GIT_MOUNT;

/// A pattern of logical paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// The last segment is only the beginning of what may follow, slashes included.
    open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path {text:?}: {reason}")]
pub struct PatternError {
    text: String,
    reason: String,
}

/// Longest path or pattern, in bytes.
const LONGEST: usize = 512;

impl Pattern {
    /// Reads a pattern that may stand anywhere (ClusterSecretPolicy).
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let fail = |reason: &str| PatternError { text: text.into(), reason: reason.into() };
        let (body, open) = text.strip_suffix('*').map_or((text, false), |body| (body, true));
        let mut segments = Vec::new();
        let count = body.split('/').count();
        for (index, segment) in body.split('/').enumerate() {
            let last = index + 1 == count;
            segments.push(match segment {
                "+" if last && open => {
                    return Err(fail("`+` stands for a whole segment and can not be followed by `*`"));
                }
                "+" => Segment::Any,
                "" if !last => return Err(fail("it has an empty segment")),
                literal => Segment::Literal(literal.into()),
            });
            if segment.contains('*') {
                return Err(fail("`*` may only stand at its end"));
            }
            if segment.contains('+') && segment != "+" {
                return Err(fail("`+` stands for a whole segment, as in kv/web/+/db"));
            }
        }
        if let Some(reason) = unclean(body.strip_suffix('/').unwrap_or(body), |c| c == '+') {
            // An open pattern may end anywhere, even right at its beginning.
            if !(open && body.is_empty()) {
                return Err(fail(reason));
            }
        }
        if !open && count < 2 {
            return Err(fail("it names a mount only; write MOUNT/PATH, as in kv/web/db"));
        }
        Ok(Self { segments, open })
    }

    /// Reads a pattern that has to stay below `MOUNT/<namespace>/` (SecretPolicy).
    pub fn parse_within(text: &str, namespace: &str) -> Result<Self, PatternError> {
        let pattern = Self::parse(text)?;
        let literal = |index: usize| match pattern.segments.get(index) {
            Some(Segment::Literal(text)) => Some(text.as_str()),
            _ => None,
        };
        if literal(0) == Some(GIT_MOUNT) {
            return Err(PatternError {
                text: text.into(),
                reason:
                    "the paths of sealed files in Git are git/REPOSITORY/…, and a repository belongs to no namespace: \
                         write a ClusterSecretPolicy"
                        .into(),
            });
        }
        if matches!(literal(0), Some(SYS | AUTH)) {
            let reason =
                "the care of the store, and who comes in, belongs to no namespace: write a ClusterSecretPolicy";
            return Err(PatternError { text: text.into(), reason: reason.into() });
        }
        let mount_is_literal = literal(0).is_some_and(|mount| !mount.is_empty());
        if mount_is_literal && literal(1) == Some(namespace) && pattern.segments.len() > 2 {
            return Ok(pattern);
        }
        let reason = format!(
            "a SecretPolicy of namespace {namespace} reaches only paths that start with MOUNT/{namespace}/, as in \
             kv/{namespace}/*; for anything wider write a ClusterSecretPolicy"
        );
        Err(PatternError { text: text.into(), reason })
    }

    /// Whether it matches `path`. The caller has checked that the path is clean.
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut rest = Some(path);
        for (index, segment) in self.segments.iter().enumerate() {
            let Some(here) = rest else { return false };
            if let (true, Segment::Literal(start)) = (self.open && index + 1 == self.segments.len(), segment) {
                return here.starts_with(start.as_str());
            }
            let (first, after) = here.split_once('/').map_or((here, None), |(first, after)| (first, Some(after)));
            let fits = match segment {
                Segment::Any => !first.is_empty(),
                Segment::Literal(text) => first == text,
            };
            if !fits {
                return false;
            }
            rest = after;
        }
        rest.is_none()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            let slash = if index > 0 { "/" } else { "" };
            match segment {
                Segment::Literal(text) => write!(f, "{slash}{text}")?,
                Segment::Any => write!(f, "{slash}+")?,
            }
        }
        f.write_str(if self.open { "*" } else { "" })
    }
}

/// Why a path can not be asked for; none if it is clean. A folder comes without the slash at its end.
pub(crate) fn unclean(path: &str, also_allowed: impl Fn(char) -> bool) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.len() > LONGEST {
        return Some("it is longer than 512 bytes");
    }
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Some("it has an empty segment, `.` or `..`");
    }
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '%' | '\\' | '?' | '#' | '*' | '+');
    path.chars().any(|c| odd(c) && !also_allowed(c)).then_some("it has white space or one of % \\ ? # * +")
}
