//! Paths that are about no secret and yet have a logical name: the care of the store, and sealed files in Git.
//!
//! Below `sys/` and `auth/` policies by API path decide. What cares for the store as a whole (its keys, its seal), and who
//! comes in and what they may (logins, roles, policies in Vault's language), can be given by a ClusterSecretPolicy, too, under
//! the same path: `sys/rotate` with `sudo`. So can the files of a Git repository, under `git/REPOSITORY/PATH`.

use super::Capability;
use crate::sealed::GIT_MOUNT;

/// The first part of system paths. No mount has this name.
pub const SYS: &str = "sys";

/// The first part of the paths of logins. No mount has this name.
pub const AUTH: &str = "auth";

/// Logins, and policies in Vault's language: each with all below it.
const ENTRY: [&str; 6] = ["sys/auth", "sys/policies/acl", "sys/policy", "auth/kubernetes", "auth/jwt", "auth/approle"];

const CARE: [&str; 7] = [
    "sys/seal",
    "sys/rotate",
    "sys/rotate/keyring",
    "sys/key-status",
    "sys/homelab/accept-rollback",
    "sys/homelab/backup",
    "sys/homelab/policy/test",
];

/// Whether the path is about the store as a whole.
pub fn is_care(api: &str) -> bool {
    CARE.contains(&api) || api == "sys/homelab/keys" || api.starts_with("sys/homelab/keys/")
}

/// Whether the path is about who comes in, and what they may.
pub fn is_entry(api: &str) -> bool {
    ENTRY.iter().any(|path| api.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// What a capability on a path of care or entry means where policies of secrets are asked: to look is `read`, all else `sudo`.
pub fn on_care(needs: Capability) -> Capability {
    match needs {
        Capability::Read | Capability::List => Capability::Read,
        _ => Capability::Sudo,
    }
}

/// Whether a request with this need has to have `sudo`, too, as Vault's root-protected paths.
pub fn needs_sudo(api: &str, needs: Capability) -> bool {
    (is_care(api) && on_care(needs) == Capability::Sudo)
        || api.starts_with("sys/auth/")
        || git_secret(api, needs).is_some_and(|(_, deed)| deed == Capability::Sudo)
}

/// The logical path and deed behind `sys/homelab/git/REPOSITORY…`; none if nothing is served there for it.
pub fn git_secret(api: &str, needs: Capability) -> Option<(String, Capability)> {
    let rest = api.strip_prefix("sys/homelab/git/")?;
    let mut parts = rest.splitn(3, '/');
    let repository = parts.next().filter(|name| !name.is_empty())?;
    let whole = || format!("{GIT_MOUNT}/{repository}");
    Some(match (parts.next(), parts.next(), needs) {
        (None, _, Capability::Read) => (whole(), Capability::List),
        (None, _, Capability::Update) => (whole(), Capability::Create),
        (Some("rotate"), None, Capability::Update) => (whole(), Capability::Sudo),
        (Some("open"), Some(path), Capability::Update) => (format!("{}/{path}", whole()), Capability::Read),
        (Some("seal" | "reseal"), Some(path), Capability::Update) => {
            (format!("{}/{path}", whole()), Capability::Update)
        }
        _ => return None,
    })
}

/// The API path and need of a deed on `sys/…` or `git/…`; none for any other path.
pub fn system_api(path: &str, deed: Capability) -> Option<(String, Capability)> {
    if path.starts_with("sys/") || path.starts_with("auth/") {
        return Some((path.into(), if deed == Capability::Sudo { Capability::Update } else { deed }));
    }
    let rest = path.strip_prefix("git/")?.trim_end_matches('/');
    let (repository, file) = rest.split_once('/').unwrap_or((rest, ""));
    let whole = format!("sys/homelab/git/{repository}");
    Some(match (deed, file) {
        (Capability::List, _) => (whole, Capability::Read),
        (Capability::Sudo, _) => (format!("{whole}/rotate"), Capability::Update),
        (_, "") => (whole, Capability::Update),
        (Capability::Read, file) => (format!("{whole}/open/{file}"), Capability::Update),
        (_, file) => (format!("{whole}/seal/{file}"), Capability::Update),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_paths_have_a_logical_name_and_back() {
        use Capability::{Create, Delete, List, Read, Sudo, Update};
        for (path, deed, api, needs) in [
            ("sys/rotate", Sudo, "sys/rotate", Update),
            ("sys/homelab/keys", Read, "sys/homelab/keys", Read),
            ("git/home", List, "sys/homelab/git/home", Read),
            ("git/home", Create, "sys/homelab/git/home", Update),
            ("git/home", Sudo, "sys/homelab/git/home/rotate", Update),
            ("git/home/web/db", Read, "sys/homelab/git/home/open/web/db", Update),
            ("git/home/web/db", Update, "sys/homelab/git/home/seal/web/db", Update),
        ] {
            assert_eq!(system_api(path, deed), Some((api.to_owned(), needs)), "{path}");
            if path.starts_with("git/") {
                assert_eq!(git_secret(api, needs), Some((path.to_owned(), deed)), "{api}");
            } else {
                assert!(is_care(api) && on_care(needs) == deed, "{api}");
            }
            assert_eq!(needs_sudo(api, needs), deed == Sudo, "{api}");
        }
        assert_eq!(system_api("kv/web/db", Read), None);
        assert!(git_secret("sys/homelab/git/home/open", Update).is_none() && git_secret("sys/mounts", Read).is_none());
        assert!(!is_care("sys/mounts") && !is_care("sys/homelab/keysx") && !is_care("sys/homelab/git/home"));
        for entry in
            ["sys/auth", "sys/auth/jwt", "sys/policies/acl/a", "sys/policy/a", "auth/kubernetes/role/a", "auth/jwt"]
        {
            assert!(is_entry(entry) && !is_care(entry), "{entry}");
        }
        for other in ["sys/authority", "sys/policies", "auth/token/create", "auth", "kv/auth/jwt", "sys/mounts"] {
            assert!(!is_entry(other), "{other}");
        }
        assert!(needs_sudo("sys/auth/jwt", Read) && !needs_sudo("sys/auth", Read));
        assert!(needs_sudo("sys/homelab/keys/slots/x", Delete) && !needs_sudo("sys/key-status", Read));
    }

    #[test]
    fn the_care_of_the_store_is_given_by_cluster_policies_only() {
        use homelab_core::meta::Account;

        use crate::policy::{Holder, Identity, PathForm, PolicySet, explain};
        let rules = |rule: serde_json::Value| serde_json::json!({"rules": [rule]});
        let own = serde_json::from_value(serde_json::json!({
            "apiVersion": "homelab.dev/v1alpha1", "kind": "SecretPolicy",
            "metadata": {"namespace": "homelab", "name": "own"},
            "spec": rules(serde_json::json!({
                "serviceAccounts": ["a"], "paths": ["sys/homelab/*"], "capabilities": ["sudo"],
            })),
        }))
        .unwrap();
        let wide = serde_json::from_value(serde_json::json!({
            "apiVersion": "homelab.dev/v1alpha1", "kind": "ClusterSecretPolicy", "metadata": {"name": "wide"},
            "spec": rules(serde_json::json!({
                "subjects": [{"serviceAccount": "homelab/b"}], "paths": ["sys/*"], "capabilities": ["sudo"],
            })),
        }))
        .unwrap();
        let set = PolicySet::build([&own], [&wide]);
        assert_eq!(set.problems().len(), 1);
        let ask = |name: &str, path: &str, needs| {
            let who = Identity::account(Account::new("homelab", name));
            explain(&set, Holder { identity: &who, policies: &[] }, path, PathForm::Guess, needs).to_string()
        };
        let said = [
            ask("a", "sys/homelab/accept-rollback", Capability::Update),
            ask("b", "sys/homelab/accept-rollback", Capability::Update),
            ask("b", "sys/rotate", Capability::Update),
            ask("b", "sys/homelab/keys", Capability::Read),
        ];
        insta::assert_snapshot!(said.join("\n"));
    }
}
