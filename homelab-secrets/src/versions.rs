//! Which versions of secrets there are, for those who roll secrets out: never a value.
//!
//! [`Versions`] is answered by the store in this process (`store::StoreVersions`) or by a secret server elsewhere
//! (`client::RemoteVersions`); one contract suite holds for both. What is here is pure: the words, and how they are written
//! between the two.

use async_trait::async_trait;
use homelab_core::class::Class;
use homelab_core::meta::Account;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The role of `auth/kubernetes` by which the daemon that rolls secrets out logs in. The server knows it without anybody
/// writing it.
pub const DAEMON_ROLE: &str = "homelab-daemon";

/// A path and the version that it stands at (0: none).
pub type Known = (String, u64);

/// A secret at one version, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// `MOUNT/PATH`.
    pub path: String,
    /// The version.
    pub version: u64,
    /// Keyed digest of the value (hex): equal content, equal digest.
    pub digest: String,
    /// Names of its keys, sorted.
    pub keys: Vec<String>,
}

/// Versions of secrets, asked for in the name of accounts.
#[async_trait]
pub trait Versions: Send + Sync + 'static {
    /// The newest live version of `path` (or `version`) as `account` may see it. Class `Denied` or `NotFound` name the
    /// path, the account and what to do. Idempotent.
    async fn resolve(&self, account: &Account, path: &str, version: Option<u64>) -> Result<Resolved, Error>;

    /// `holder` now keeps exactly these versions from pruning, whatever it kept before; none lets all go. Idempotent.
    /// Class `NotFound` if a version has no value any more; then nothing has changed.
    async fn pin(&self, holder: &str, versions: &[Known]) -> Result<(), Error>;

    /// Those of these versions whose values are gone for good.
    async fn gone(&self, versions: &[Known]) -> Result<Vec<Known>, Error>;

    /// Waits until the newest live version of any of these paths is another one than the one beside it. What is known is
    /// said with each call, so nothing that happens between two calls, or while nobody answers, is missed. Cancel-safe.
    async fn changed(&self, known: &[Known]) -> Result<(), Error>;
}

/// What came of watching many paths at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Those that stand elsewhere by now, with what was known of them.
    pub moved: Vec<Known>,
    /// Those that can not be looked at.
    #[serde(default)]
    pub failed: Vec<Failed>,
}

impl Moved {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty() && self.failed.is_empty()
    }

    /// What it says to somebody who waits for `known`; none: nothing.
    pub fn about(&self, known: &[Known]) -> Option<Result<(), Error>> {
        if known.iter().any(|known| self.moved.contains(known)) {
            return Some(Ok(()));
        }
        let failed = self.failed.iter().find(|failed| known.iter().any(|(path, _)| *path == failed.path));
        failed.map(|failed| Err(failed.why.error()))
    }
}

/// A path that can not be looked at, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The path.
    pub path: String,
    /// Why.
    #[serde(flatten)]
    pub why: Failure,
}

/// An error on its way between two processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it asks of its caller: `retry`, `conflict`, `notFound`, `invalid`, `denied`; all else is `bug`.
    pub class: String,
    /// In words for people.
    pub error: String,
}

impl Failure {
    /// Of an error.
    pub fn of(error: &Error) -> Self {
        let class = match error.class() {
            Class::Retry => "retry",
            Class::Conflict => "conflict",
            Class::NotFound => "notFound",
            Class::Invalid => "invalid",
            Class::Denied => "denied",
            Class::Bug => "bug",
        };
        Self { class: class.into(), error: error.to_string() }
    }

    /// The error again: of the same class, with the same words.
    pub fn error(&self) -> Error {
        let words = self.error.clone();
        match self.class.as_str() {
            "retry" => Error::Backend(words),
            "conflict" => Error::Conflict(words),
            "notFound" => Error::NotFound(words),
            "invalid" => Error::Invalid(words),
            "denied" => Error::Denied(words),
            _ => Error::Bug(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_with_its_class_and_words() {
        let all = [
            Error::NotFound("a".into()),
            Error::Denied("b".into()),
            Error::Invalid("c".into()),
            Error::Conflict("d".into()),
            Error::Unsealed { what: "e".into() },
            Error::Sealed,
            Error::RolledBack("f".into()),
            Error::Backend("g".into()),
            Error::Bug("h".into()),
        ];
        for error in all {
            let text = serde_json::to_string(&Failure::of(&error)).unwrap();
            let back = serde_json::from_str::<Failure>(&text).unwrap().error();
            assert_eq!((back.class(), back.to_string()), (error.class(), error.to_string()));
        }
    }

    #[test]
    fn who_waits_hears_of_what_it_knows_only() {
        let known = |path: &str, version| (path.to_owned(), version);
        let why = Failure::of(&Error::NotFound("there is no mount `old`".into()));
        let moved = Moved { moved: vec![known("kv/a", 3)], failed: vec![Failed { path: "old/b".into(), why }] };
        assert!(matches!(moved.about(&[known("kv/x", 1), known("kv/a", 3)]), Some(Ok(()))));
        assert!(moved.about(&[known("kv/a", 4)]).is_none(), "that one knows the new version already");
        assert!(matches!(moved.about(&[known("old/b", 1)]), Some(Err(Error::NotFound(_)))));
        assert!(!moved.is_empty() && Moved::default().is_empty());
    }
}
