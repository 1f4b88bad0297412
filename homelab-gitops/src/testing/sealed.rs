//! The contract of [`SealedFiles`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use homelab_core::class::Class;
use homelab_core::meta::Account;

use super::{owner, path};
use crate::Error;
use crate::sealed::{SealedFiles, SealedText};
use crate::source::{CommitId, Owner};

/// Makes files for the subject, and sees what it shows.
#[async_trait]
pub trait TestSecrets: Send + Sync {
    /// Who is under test.
    fn subject(&self) -> Arc<dyn SealedFiles>;
    /// An account that may show everything, and one that may show nothing.
    fn accounts(&self) -> (Account, Account);
    /// A sealed file with this value of a secret.
    async fn file(&self, path: &str, secret: &str, value: &str) -> SealedText;
    /// The newest value of a secret, if it is shown.
    async fn shown(&self, secret: &str) -> Option<String>;
}

/// Runs the suite; panics at the first rule that does not hold.
pub async fn sealed_contract(secrets: &dyn TestSecrets) {
    let (subject, (may, may_not)) = (secrets.subject(), secrets.accounts());
    let commit = CommitId::parse(&"c".repeat(40)).unwrap();
    let show = async |name: &str, account: &Account, files: &[SealedText]| match subject
        .show(&owner(name), account, &commit, files)
        .await
    {
        Ok(()) => None,
        Err(Error::Sealed { class, detail }) => Some((class, detail)),
        Err(other) => panic!("expected an error about sealed files, not {other:?}"),
    };
    let class = |result: Option<(Class, String)>| result.map(|(class, _)| class);
    let db = secrets.file("apps/db.sealed.yaml", "db", "one").await;
    let api = secrets.file("apps/api.sealed.yaml", "api", "x").await;
    assert_eq!(show("a", &may, &[db.clone(), api.clone()]).await, None);
    assert_eq!(show("a", &may, &[db.clone(), api.clone()]).await, None, "twice is fine");
    assert_eq!(secrets.shown("db").await.as_deref(), Some("one"));

    let newer = secrets.file("apps/db.sealed.yaml", "db", "two").await;
    let broken = SealedText { path: path("apps/api.sealed.yaml"), text: "nothing: sealed\n".into() };
    let (why, detail) = show("a", &may, &[newer.clone(), broken]).await.unwrap();
    assert!(why == Class::Invalid && detail.contains("apps/api.sealed.yaml"), "the file is named: {detail}");
    assert_eq!(class(show("a", &may_not, std::slice::from_ref(&newer)).await), Some(Class::Denied));
    assert_eq!(class(show("b", &may, std::slice::from_ref(&newer)).await), Some(Class::Invalid), "it is another's");
    assert_eq!(secrets.shown("db").await.as_deref(), Some("one"), "what was shown stays");
    assert_eq!(secrets.shown("api").await.as_deref(), Some("x"));

    assert_eq!(show("a", &may, std::slice::from_ref(&newer)).await, None);
    assert_eq!((secrets.shown("db").await.as_deref(), secrets.shown("api").await), (Some("two"), None));
    subject.retain(&BTreeSet::from([owner("a")])).await.unwrap();
    assert_eq!(secrets.shown("db").await.as_deref(), Some("two"));
    subject.retain(&BTreeSet::from([owner("b")])).await.unwrap();
    assert_eq!(secrets.shown("db").await, None);
    assert_eq!(show("b", &may, &[newer]).await, None, "now another can have it");
}

/// A subject in memory. A "sealed" file is `SECRET=VALUE`; accounts of the namespace `home` may show them.
#[derive(Debug, Default)]
pub struct MemorySealed(Mutex<BTreeMap<String, (Owner, String)>>);

#[async_trait]
impl SealedFiles for MemorySealed {
    async fn show(&self, owner: &Owner, account: &Account, _: &CommitId, files: &[SealedText]) -> Result<(), Error> {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = shown.clone();
        next.retain(|_, (of, _)| of != owner);
        for SealedText { path, text } in files {
            let failed = |class, why: &str| Err(Error::Sealed { detail: format!("{path}: {why}"), class });
            let Some((secret, value)) = text.split_once('=') else { return failed(Class::Invalid, "is broken") };
            if account.namespace != "home" {
                return failed(Class::Denied, "the account may not");
            }
            if next.insert(secret.into(), (owner.clone(), value.into())).is_some() {
                return failed(Class::Invalid, "another one shows it");
            }
        }
        *shown = next;
        Ok(())
    }

    async fn retain(&self, owners: &BTreeSet<Owner>) -> Result<(), Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (of, _)| owners.contains(of));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Memory(Arc<MemorySealed>);

    #[async_trait]
    impl TestSecrets for Memory {
        fn subject(&self) -> Arc<dyn SealedFiles> {
            self.0.clone()
        }

        fn accounts(&self) -> (Account, Account) {
            (Account::new("home", "git"), Account::new("other", "git"))
        }

        async fn file(&self, at: &str, secret: &str, value: &str) -> SealedText {
            SealedText { path: path(at), text: format!("{secret}={value}") }
        }

        async fn shown(&self, secret: &str) -> Option<String> {
            self.0.0.lock().unwrap().get(secret).map(|(_, value)| value.clone())
        }
    }

    #[tokio::test]
    async fn the_one_in_memory_keeps_the_contract() {
        sealed_contract(&Memory(Arc::default())).await;
    }
}
