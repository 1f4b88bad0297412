//! A GitSync's spec, read once into what the rest works with. Pure.

use std::time::Duration;

use homelab_core::meta::Account;
use kube::ResourceExt as _;

use crate::Error;
use crate::api::v1alpha1::{GitSync, Reference};
use crate::source::{CommitId, GitRef, Owner, RepoPath};

/// What a GitSync wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which GitSync.
    pub owner: Owner,
    /// Where the repository is.
    pub url: String,
    /// Which commit.
    pub reference: GitRef,
    /// Which folder.
    pub path: RepoPath,
    /// Time between two polls.
    pub interval: Duration,
    /// Time that objects may take to become healthy.
    pub timeout: Duration,
    /// In whose name everything is written.
    pub account: Account,
    /// Secret with credentials.
    pub secret: Option<String>,
    /// Whether what is no longer in Git is deleted.
    pub prune: bool,
}

/// The owner of a GitSync's clone and inventory.
pub fn owner(sync: &GitSync) -> Owner {
    Owner { namespace: sync.namespace().unwrap_or_default(), name: sync.name_any() }
}

impl Settings {
    /// Reads the spec. CEL has checked most of it; what an old object or a server without CEL lets through is named here.
    pub fn read(sync: &GitSync) -> Result<Self, Error> {
        let (owner, spec) = (owner(sync), &sync.spec);
        let path = RepoPath::parse(&spec.path).ok_or_else(|| {
            Error::Spec(format!("spec.path {:?} leaves the repository: name a folder inside it", spec.path))
        })?;
        Ok(Self {
            url: spec.url.clone(),
            reference: reference(spec.reference.as_ref())?,
            path,
            interval: duration("spec.interval", &spec.interval)?.max(Duration::from_secs(5)),
            timeout: duration("spec.timeout", &spec.timeout)?,
            account: Account::new(&owner.namespace, &spec.service_account),
            secret: spec.secret_ref.as_ref().map(|secret| secret.name.clone()),
            prune: spec.prune,
            owner,
        })
    }

    /// Whether both look at the same place in the same repository with the same rights.
    pub fn has_same_source(&self, other: &Self) -> bool {
        let of = |s: &Self| (s.url.clone(), s.reference.clone(), s.path.clone(), s.account.clone(), s.secret.clone());
        of(self) == of(other)
    }
}

fn reference(reference: Option<&Reference>) -> Result<GitRef, Error> {
    let Some(Reference { branch, tag, commit }) = reference else { return Ok(GitRef::Head) };
    match (branch, tag, commit) {
        (Some(branch), None, None) => Ok(GitRef::Branch(branch.clone())),
        (None, Some(tag), None) => Ok(GitRef::Tag(tag.clone())),
        (None, None, Some(commit)) => CommitId::parse(commit)
            .map(GitRef::Commit)
            .ok_or_else(|| Error::Spec(format!("spec.ref.commit {commit:?} is no full commit id of 40 digits"))),
        _ => Err(Error::Spec("spec.ref must name exactly one of branch, tag and commit".into())),
    }
}

/// Reads `1h30m`, `90s` and the like.
fn duration(field: &str, text: &str) -> Result<Duration, Error> {
    let invalid = || Error::Spec(format!("{field} {text:?} is no duration: write it as 30s, 5m or 1h30m"));
    let (mut total, mut digits) = (0_u64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(invalid()),
        };
        let count: u64 = digits.parse().map_err(|_| invalid())?;
        total = count.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        digits.clear();
    }
    if total == 0 || !digits.is_empty() { Err(invalid()) } else { Ok(Duration::from_secs(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubernetes_writes_them() {
        let read = |text| duration("spec.interval", text).ok().map(|d| d.as_secs());
        assert_eq!([read("30s"), read("1m"), read("1h30m5s")], [Some(30), Some(60), Some(5405)]);
        assert_eq!([read(""), read("5"), read("0s"), read("1d"), read("m")], [None; 5]);
        assert_eq!(read("99999999999999999999h"), None);
    }

    #[test]
    fn a_reference_names_one_thing() {
        let branch = Reference { branch: Some("main".into()), ..Reference::default() };
        assert_eq!(reference(Some(&branch)).unwrap(), GitRef::Branch("main".into()));
        assert_eq!(reference(None).unwrap(), GitRef::Head);
        assert!(reference(Some(&Reference { tag: Some("v1".into()), ..branch })).is_err());
        assert!(reference(Some(&Reference { commit: Some("abc".into()), ..Reference::default() })).is_err());
    }
}
