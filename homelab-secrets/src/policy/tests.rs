use homelab_core::meta::Account;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::v1alpha1::{ClusterSecretPolicy, SecretPolicy};

fn policy(namespace: &str, name: &str, rules: serde_json::Value) -> SecretPolicy {
    serde_json::from_value(json!({
        "apiVersion": "homelab.dev/v1alpha1", "kind": "SecretPolicy",
        "metadata": {"namespace": namespace, "name": name}, "spec": {"rules": rules},
    }))
    .unwrap()
}

fn cluster(name: &str, rules: serde_json::Value) -> ClusterSecretPolicy {
    serde_json::from_value(json!({
        "apiVersion": "homelab.dev/v1alpha1", "kind": "ClusterSecretPolicy",
        "metadata": {"name": name}, "spec": {"rules": rules},
    }))
    .unwrap()
}

fn web(paths: &[&str], capabilities: &[&str]) -> PolicySet {
    let rule = json!([{"serviceAccounts": ["web"], "paths": paths, "capabilities": capabilities}]);
    PolicySet::build(&[policy("web", "app", rule)], &[])
}

fn account(namespace: &str, name: &str) -> Identity {
    Identity::account(Account::new(namespace, name))
}

fn person(name: &str, groups: &[&str]) -> Identity {
    Identity::User { name: name.into(), groups: groups.iter().map(|g| (*g).into()).collect() }
}

fn reads(set: &PolicySet, path: &str) -> bool {
    set.decide(&account("web", "web"), path, Capability::Read).is_allowed()
}

#[test]
fn patterns_match_as_vaults_do() {
    let cases = [
        ("kv/web/db", "kv/web/db", true),
        ("kv/web/db", "kv/web/db2", false),
        ("kv/web/db", "kv/web/db/x", false),
        ("kv/web/*", "kv/web/db", true),
        ("kv/web/*", "kv/web/db/x", true),
        ("kv/web/*", "kv/webs/db", false),
        ("kv/web/db*", "kv/web/db2/x", true),
        ("kv/web/+/db", "kv/web/a/db", true),
        ("kv/web/+/db", "kv/web/a/b/db", false),
        ("kv/web/+/db", "kv/web/db", false),
        ("kv/web/+", "kv/web/db", true),
        ("kv/web/+", "kv/web/db/x", false),
    ];
    for (pattern, path, expect) in cases {
        assert_eq!(reads(&web(&[pattern], &["read"]), path), expect, "{pattern} on {path}");
    }
}

#[test]
fn a_folder_is_listed_with_or_without_its_slash() {
    let set = web(&["kv/web/*"], &["list"]);
    let lists = |path| set.decide(&account("web", "web"), path, Capability::List).is_allowed();
    assert!(lists("kv/web") && lists("kv/web/") && lists("kv/web/sub/"));
    assert!(!lists("kv") && !lists("kv/") && !lists("kv/other"));
    assert!(!reads(&set, "kv/web/db"), "list is not read");
}

#[test]
fn path_tricks_never_match() {
    let set = web(&["kv/web/*"], &["read", "list"]);
    for path in [
        "kv/web/../db/x",
        "kv/web/..",
        "kv/web/.",
        "kv/web//x",
        "/kv/web/x",
        "kv/web/x/",
        "kv/web/%2f",
        "kv/web/a%00",
        "kv/web/a\0",
        "kv/web/a\nb",
        "kv/web/a b",
        "kv/web\\x",
        "kv/web/",
        "kv/web",
        "kv/web/*",
        "kv/web/+",
        "",
        "kv",
        "kv/web/x?version=1",
        "kv/web/x#y",
    ] {
        assert!(!reads(&set, path), "{path:?}");
    }
}

#[test]
fn wrong_policies_are_reported_and_not_applied() {
    let rule = |paths: &[&str]| {
        json!([
            {"serviceAccounts": ["web"], "paths": ["kv/web/ok"], "capabilities": ["read"]},
            {"serviceAccounts": ["web"], "paths": paths, "capabilities": ["read"]},
        ])
    };
    let wide = cluster(
        "wide",
        json!([{"subjects": [{"user": "anna", "group": "x"}], "paths": ["*"], "capabilities": ["read"]}]),
    );
    let objects = [
        policy("web", "a-foreign", rule(&["kv/other/*"])),
        policy("web", "b-mount", rule(&["+/web/x"])),
        policy("web", "c-prefix", rule(&["kv/web*"])),
        policy("web", "d-star", rule(&["kv/web/*/x"])),
        policy("web", "e-dots", rule(&["kv/web/../other/x"])),
        policy("web", "f-nobody", json!([])),
        policy("web", "g-empty", rule(&[])),
    ];
    let set = PolicySet::build(&objects, &[wide]);
    assert!(set.is_empty());
    let report: Vec<_> = set.problems().iter().map(|p| format!("{}: {}", p.policy, p.reasons.join("; "))).collect();
    insta::assert_snapshot!(report.join("\n"), @r#"
    ClusterSecretPolicy.homelab.dev wide: rule 0: each subject names exactly one of serviceAccount, user, group
    SecretPolicy.homelab.dev web/a-foreign: rule 1: path "kv/other/*": a SecretPolicy of namespace web reaches only paths that start with MOUNT/web/, as in kv/web/*; for anything wider write a ClusterSecretPolicy
    SecretPolicy.homelab.dev web/b-mount: rule 1: path "+/web/x": a SecretPolicy of namespace web reaches only paths that start with MOUNT/web/, as in kv/web/*; for anything wider write a ClusterSecretPolicy
    SecretPolicy.homelab.dev web/c-prefix: rule 1: path "kv/web*": a SecretPolicy of namespace web reaches only paths that start with MOUNT/web/, as in kv/web/*; for anything wider write a ClusterSecretPolicy
    SecretPolicy.homelab.dev web/d-star: rule 1: path "kv/web/*/x": `*` may only stand at its end
    SecretPolicy.homelab.dev web/e-dots: rule 1: path "kv/web/../other/x": it has an empty segment, `.` or `..`
    SecretPolicy.homelab.dev web/f-nobody: it has no rules, so it lets nobody in
    SecretPolicy.homelab.dev web/g-empty: rule 1: it has no paths or no capabilities, so it lets nobody in
    "#);
}

#[test]
fn a_denial_says_where_it_looked_and_what_to_add() {
    let objects = [
        policy("web", "app", json!([{"serviceAccounts": ["web"], "paths": ["kv/web/*"], "capabilities": ["read"]}])),
        policy("web", "broken", json!([])),
    ];
    let set = PolicySet::build(&objects, &[]);
    let anna = person("anna", &[]);
    let lines = [
        set.explain(&account("web", "web"), "kv/web/db", Capability::Read),
        set.explain(&account("web", "web"), "kv/web/db", Capability::Update),
        set.explain(&account("web", "web"), "kv/db/x", Capability::Read),
        set.explain(&account("db", "x"), "kv/db/x", Capability::Read),
        set.explain(&anna, "kv/web", Capability::List),
        PolicySet::loading().explain(&anna, "kv/web/db", Capability::Read),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r#"
    serviceaccount web/web may read "kv/web/db": allowed by SecretPolicy.homelab.dev web/app rule 0
    serviceaccount web/web may not update "kv/web/db": no rule for that in SecretPolicy web/app (SecretPolicy web/broken is invalid and left out: see its status); add to a SecretPolicy in namespace web: {serviceAccounts: [web], paths: ["kv/web/db"], capabilities: [update]}
    serviceaccount web/web may not read "kv/db/x": no rule for that in SecretPolicy web/app (SecretPolicy web/broken is invalid and left out: see its status); add to a ClusterSecretPolicy: {subjects: [{serviceAccount: web/web}], paths: ["kv/db/x"], capabilities: [read]}
    serviceaccount db/x may not read "kv/db/x": no policy names it; add to a SecretPolicy in namespace db: {serviceAccounts: [x], paths: ["kv/db/x"], capabilities: [read]}
    user anna may not list "kv/web": no policy names it; add to a ClusterSecretPolicy: {subjects: [{user: "anna"}], paths: ["kv/web/*"], capabilities: [list]}
    user anna may not read "kv/web/db": the policies are not loaded yet; try again in a moment
    "#);
}

#[test]
fn cluster_policies_reach_users_groups_and_accounts() {
    let rules = json!([{
        "subjects": [{"user": "anna"}, {"group": "system:serviceaccounts:ops"}, {"serviceAccount": "web/web"}],
        "paths": ["kv/+/db"], "capabilities": ["read"],
    }]);
    let set = PolicySet::build(&[], &[cluster("wide", rules)]);
    let may = |identity: &Identity| set.decide(identity, "kv/other/db", Capability::Read).is_allowed();
    assert!(may(&person("anna", &[])) && may(&account("ops", "any")) && may(&account("web", "web")));
    assert!(!may(&person("bert", &[])) && !may(&account("web", "other")));
    assert!(!may(&person("wide", &["anna"])), "a group is not a user");
}

#[test]
fn only_two_part_user_names_are_accounts() {
    let reviewed = |user: &str| Identity::reviewed(user, vec![], None);
    assert_eq!(reviewed("system:serviceaccount:web:api"), account("web", "api"));
    for odd in ["system:serviceaccount:web", "system:serviceaccount::x", "system:serviceaccount:a:b:c", "anna"] {
        assert_eq!(reviewed(odd), person(odd, &[]));
    }
}

#[test]
fn the_root_token_needs_no_policy() {
    assert!(PolicySet::loading().decide(&Identity::Root, "kv/web/db", Capability::Sudo).is_allowed());
}

proptest! {
    /// Whatever a SecretPolicy of `web` says: it never reaches beyond `MOUNT/web/`.
    #[test]
    fn nothing_outside_the_own_namespace(
        patterns in prop::collection::vec("[kv+*]{0,3}/?(web|other|\\+|\\*|\\.\\.)?/?[a-z+*./%]{0,6}", 1..4),
        path in "[kv]{0,3}/?(web|other|\\.\\.)?/?[a-z./%]{0,6}",
    ) {
        let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
        let set = web(&patterns, &["read", "list"]);
        for capability in [Capability::Read, Capability::List] {
            if set.decide(&account("web", "web"), &path, capability).is_allowed() {
                let mut segments = path.split('/');
                let mount = segments.next().unwrap_or_default();
                prop_assert!(!mount.is_empty() && segments.next() == Some("web"), "{path} by {patterns:?}");
                prop_assert!(!path.contains("..") && !path.contains("//") && !path.contains('%'));
            }
        }
    }

    /// Every pattern that is read is written back the same and survives any path.
    #[test]
    fn patterns_are_total(text in "[a-c/+*.]{0,12}", path in "\\PC{0,20}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(pattern.to_string(), text);
            let _ = pattern.matches(&path);
        }
    }
}
