//! Requests of people, as data: the annotation `homelab.dev/request`.
//!
//! `id=…;verb=…;revision=…;by=…;reason=…`: one line, fields in any order, because an admission policy has to split it
//! with CEL. A value has no `;`; the last field that may hold anything else is `reason`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Approve, and go to the end of the rollout without further steps.
    Promote,
    /// Answer the approval gates of a revision.
    Approve,
    /// Take the traffic back and remember the revision as failed.
    Abort,
    /// Go back to an earlier revision.
    Rollback,
    /// Try a failed revision again.
    Retry,
    /// Hold the rollout where it is.
    Pause,
    /// Go on; also: take the route back from who edited it.
    Resume,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Promote, Self::Approve, Self::Abort, Self::Rollback, Self::Retry, Self::Pause, Self::Resume];

    /// As written in a request, and as the RBAC verb that it needs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Approve => "approve",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Retry => "retry",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by who asks; a request is answered once.
    pub id: String,
    /// What.
    pub verb: Verb,
    /// Which revision is meant; none: the one that the verb is about now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Who asks.
    pub by: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Request {
    /// Reads the annotation. The error says what is wrong and how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut fields = std::collections::BTreeMap::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!("{part:?} is not KEY=VALUE: a request is {SHAPE}"));
            };
            if !["id", "verb", "revision", "by", "reason"].contains(&key) {
                return Err(format!("unknown field {key:?}: a request is {SHAPE}"));
            }
            if fields.insert(key, value).is_some() {
                return Err(format!("field {key} is there twice"));
            }
        }
        let get = |key: &str| fields.get(key).copied().filter(|value| !value.is_empty());
        let need = |key: &str| get(key).ok_or_else(|| format!("field {key} is missing: a request is {SHAPE}"));
        let word = need("verb")?;
        let verb = Verb::ALL.into_iter().find(|verb| verb.as_str() == word).ok_or_else(|| {
            let known: Vec<_> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
            format!("unknown verb {word:?}: one of {}", known.join(", "))
        })?;
        Ok(Self {
            id: need("id")?.into(),
            verb,
            revision: get("revision").map(Into::into),
            by: need("by")?.into(),
            reason: get("reason").unwrap_or_default().into(),
        })
    }
}

const SHAPE: &str = "id=…;verb=…;revision=…;by=…;reason=…";

impl fmt::Display for Request {
    /// The annotation's text; `;` and line ends in values become spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clean = |text: &str| text.replace([';', '\n', '\r'], " ").trim().to_owned();
        write!(f, "id={};verb={}", clean(&self.id), self.verb)?;
        if let Some(revision) = &self.revision {
            write!(f, ";revision={}", clean(revision))?;
        }
        write!(f, ";by={}", clean(&self.by))?;
        let reason = clean(&self.reason);
        if reason.is_empty() { Ok(()) } else { write!(f, ";reason={reason}") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "field verb is missing"),
            ("id=1;verb=explode;by=me", "unknown verb \"explode\": one of promote"),
            ("id=1;verb=abort", "field by is missing"),
            ("id=1;verb=abort;by=me;x=1", "unknown field \"x\""),
            ("id=1;id=2;verb=abort;by=me", "field id is there twice"),
            ("hello", "not KEY=VALUE"),
        ] {
            let error = Request::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_reason_may_hold_an_equals_sign() {
        let request =
            Request::parse("id=1;verb=rollback;revision=;by=system:serviceaccount:a:b;reason=p99=2s").unwrap();
        assert_eq!((request.revision, request.reason.as_str()), (None, "p99=2s"));
    }

    proptest! {
        #[test]
        fn text_survives(id in "[a-z0-9-]{1,12}", verb in 0_usize..7, revision in proptest::option::of("[0-9a-f]{10}"), by in "[a-z:@./-]{1,20}", reason in "[a-z][a-z =,.]{0,9}[a-z]") {
            let request = Request { id, verb: Verb::ALL[verb], revision, by, reason };
            prop_assert_eq!(Request::parse(&request.to_string()).unwrap(), request);
        }

        #[test]
        fn nothing_panics(text in ".{0,60}") {
            let _ = Request::parse(&text);
        }
    }
}
