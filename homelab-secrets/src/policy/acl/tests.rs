use std::sync::Arc;

use homelab_core::meta::Account;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::api::v1alpha1::SecretPolicy;
use crate::policy::{Access, Combined, Holder, PathForm, Policy, PolicySet, Ruling, capabilities, explain};

fn set(policies: &[(&str, &str)]) -> AclSet {
    let mut set = AclSet::default();
    for (name, text) in policies {
        set.insert(AclPolicy::parse(name, text).unwrap());
    }
    set
}

fn shared(policies: &[(&str, &str)]) -> SharedAcl {
    let acl = SharedAcl::default();
    acl.replace(set(policies));
    acl
}

fn program() -> Identity {
    Identity::AppRole { role: "ci".into() }
}

fn account(namespace: &str, name: &str) -> Identity {
    Identity::account(Account::new(namespace, name))
}

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

/// What OpenBao 2.7.2 answers at `sys/capabilities` for a token of these policies.
#[derive(Deserialize)]
struct Answered {
    policies: Vec<String>,
    paths: BTreeMap<String, String>,
}

#[test]
fn the_same_rule_wins_as_in_openbao() {
    let cases: Vec<Answered> = serde_json::from_str(include_str!("openbao.json")).unwrap();
    let mut asked = 0;
    for Answered { policies, paths } in cases {
        let mut set = AclSet::default();
        let names: Vec<_> = (0..policies.len()).map(|n| format!("g{n}")).collect();
        for (name, text) in names.iter().zip(&policies) {
            set.insert(AclPolicy::parse(name, text).unwrap());
        }
        for (path, expect) in paths {
            // That end point takes a slash in front for nothing.
            let path = path.trim_start_matches('/');
            let matched = set.matched(&program(), names.iter().map(String::as_str), path, true);
            let got = matched.map_or_else(|| vec!["deny".into()], |matched| matched.rights.names()).join(" ");
            assert_eq!(got, expect, "{path} by {policies:#?}");
            asked += 1;
        }
    }
    assert!(asked > 500, "{asked}");
}

#[test]
fn what_is_no_policy_is_refused_with_its_line_and_path() {
    let why = |text: &str| AclPolicy::parse("p", text).unwrap_err().to_string();
    let all = [
        r#"path "a" { capabilities = ["bogus"] }"#,
        r#"path "a" { capabilities = "read" }"#,
        r#"path "a" { capabilities = [1] }"#,
        r#"path "a" { capabilities = ["read"] bogus = 1 }"#,
        r#"path "a" { policy = "much" }"#,
        "\nfoo \"a\" { }",
        r#"path "a/+*" { }"#,
        r#"path "a" "b" { }"#,
        r#"path "a/{{identity.entity.id}}" { }"#,
        r#"path "a/{{namespace" { }"#,
        r#"path "a" { capabilities = ["update"] allowed_parameters = { "x" = [] } }"#,
        r#"path "a" { capabilities = ["read"] expiration = "2030-01-01T00:00:00Z" }"#,
        r#"path "a"#,
    ];
    insta::assert_snapshot!(all.map(why).join("\n"), @r#"
    failed to parse policy: line 1: path "a": invalid capability "bogus"
    failed to parse policy: line 1: path "a": capabilities is a list, as in ["read"]
    failed to parse policy: line 1: path "a": capabilities are strings
    failed to parse policy: line 1: path "a": invalid key "bogus"
    failed to parse policy: line 1: path "a": invalid policy "much"
    failed to parse policy: line 2: invalid key "foo": a policy has blocks `path "…" { … }`
    failed to parse policy: line 1: path "a/+*": invalid use of wildcards ('+*' is forbidden)
    failed to parse policy: line 1: a path is written `path "…" { … }`
    failed to parse policy: line 1: path "a/{{identity.entity.id}}": the template {{identity.entity.id}} is not supported: there are {{namespace}} and {{serviceaccount}}
    failed to parse policy: line 1: path "a/{{namespace": a template `{{` is not closed: `}}` is missing
    failed to parse policy: line 1: path "a": allowed_parameters is not supported here, and without it the rule would allow more
    failed to parse policy: line 1: path "a": expiration is not supported here, and without it the rule would allow more
    failed to parse policy: line 1: a string is not closed: `"` is missing
    "#);
    assert!(AclPolicy::parse(DEFAULT, DEFAULT_TEXT).is_ok());
    let json = r#"{"path": {"a/*": {"capabilities": ["read"]}, "b": {"policy": "deny"}}}"#;
    assert_eq!(AclPolicy::parse("json", json).unwrap().rules.len(), 2);
}

#[test]
fn templates_are_those_of_the_serviceaccount() {
    let text = r#"path "kv/data/{{namespace}}/{{ serviceaccount }}/*" { capabilities = ["read"] }"#;
    let set = set(&[("own", text)]);
    let reads = |who: &Identity, path: &str| {
        set.matched(who, ["own"], path, false).is_some_and(|matched| matched.rights.allow(Capability::Read))
    };
    assert!(reads(&account("web", "api"), "kv/data/web/api/db"));
    assert!(
        !reads(&account("web", "api"), "kv/data/web/other/db") && !reads(&account("db", "api"), "kv/data/web/api/db")
    );
    assert!(!reads(&program(), "kv/data/web/api/db") && !reads(&program(), "kv/data///db"));
    for odd in ["*", "+", "a/b", "..", ""] {
        assert!(!reads(&account(odd, "api"), &format!("kv/data/{odd}/api/db")), "{odd}");
    }
}

#[test]
fn both_sorts_of_policies_say_yes_and_deny_wins() {
    let object: SecretPolicy = serde_json::from_value(serde_json::json!({
        "apiVersion": "homelab.dev/v1alpha1", "kind": "SecretPolicy", "metadata": {"namespace": "web", "name": "app"},
        "spec": {"rules": [{"serviceAccounts": ["api"], "paths": ["kv/web/*"], "capabilities": ["read"]}]},
    }))
    .unwrap();
    let acl = shared(&[
        (
            "more",
            r#"path "kv/data/web/api" { capabilities = ["update"] } path "sys/mounts" { capabilities = ["read"] }"#,
        ),
        ("less", r#"path "kv/+/web/root" { capabilities = ["deny"] }"#),
        ("seal", r#"path "sys/seal" { capabilities = ["update"] }"#),
        ("root", ""),
    ]);
    let policy = Combined { acl, objects: Arc::new(PolicySet::build([&object], [])) };
    let policies = names(&["more", "less", "seal"]);
    let api = account("web", "api");
    let ask = |who: &Identity, policies: &[String], path: &str, capability| {
        explain(&policy, Holder { identity: who, policies }, path, PathForm::Guess, capability).to_string()
    };
    let seal = Access { api: "sys/seal", needs: Capability::Update, sudo: true, secret: None };
    let lines = [
        ask(&api, &policies, "kv/web/db", Capability::Read),
        ask(&api, &policies, "kv/data/web/api", Capability::Update),
        ask(&api, &policies, "kv/web/root", Capability::Read),
        ask(&api, &policies, "kv/metadata/web/x", Capability::Delete),
        ask(&api, &[], "sys/mounts", Capability::Read),
        ask(&api, &policies, "/v1/sys/mounts", Capability::Read),
        ask(&api, &policies, "kv/web", Capability::List),
        ask(&program(), &names(&["none"]), "kv/web/db", Capability::Sudo),
        ask(&program(), &names(&["root"]), "kv/web/db", Capability::Sudo),
        policy.admit(Holder { identity: &api, policies: &policies }, &seal).to_string(),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r#"
    serviceaccount web/api may read kv/data/web/db (the secret kv/web/db): allowed by SecretPolicy.homelab.dev web/app rule 0
    serviceaccount web/api may update kv/data/web/api (the secret kv/web/api): allowed by path "kv/data/web/api" of policy more
    serviceaccount web/api may not read kv/data/web/root (the secret kv/web/root): path "kv/+/web/root" of policy less denies it
    serviceaccount web/api may not delete kv/metadata/web/x (sudo on the secret kv/web/x): no rule for that in SecretPolicy web/app; add to a SecretPolicy in namespace web: {serviceAccounts: [api], paths: ["kv/web/x"], capabilities: [sudo]}; no rule of the policies more, less, seal has "kv/metadata/web/x"
    serviceaccount web/api may not read sys/mounts: the token names no policy
    serviceaccount web/api may read sys/mounts: allowed by path "sys/mounts" of policy more
    serviceaccount web/api may not list kv/metadata/web/ (the secret kv/web): no rule for that in SecretPolicy web/app; add to a SecretPolicy in namespace web: {serviceAccounts: [api], paths: ["kv/web/*"], capabilities: [list]}; no rule of the policies more, less, seal has "kv/metadata/web/"
    approle ci may not update kv/destroy/web/db (sudo on the secret kv/web/db): no policy names it; add to a policy that its token names: path "kv/destroy/web/db" { capabilities = ["update"] }; no rule of the policies none has "kv/destroy/web/db"
    approle ci may update kv/destroy/web/db (sudo on the secret kv/web/db): allowed by the root policy
    path "sys/seal" of policy seal decides there and does not give sudo
    "#);
    let truth = |who: &Identity, path: &str| {
        let kv = crate::policy::kv_paths::KvPath::parse(path);
        let secret = |needs| kv.as_ref().and_then(|kv| Some((kv.secret(), kv.verb.on_secret(needs)?)));
        capabilities(&policy, Holder { identity: who, policies: &policies }, path, secret).join(" ")
    };
    assert_eq!(truth(&api, "kv/data/web/api"), "read update");
    assert_eq!(truth(&api, "kv/data/web/root"), "deny");
    assert_eq!(truth(&api, "kv/metadata/web/db"), "read");
    assert_eq!(truth(&program(), "kv/data/web/db"), "deny");
}

#[test]
fn a_ruling_without_a_token_is_the_objects() {
    let acl = shared(&[("all", r#"path "*" { capabilities = ["read"] }"#)]);
    assert!(!acl.decide(&program(), "kv/web/db", Capability::Read).is_allowed());
    let policies = names(&["all"]);
    let access = Access { api: "kv/data/x", needs: Capability::Read, sudo: false, secret: None };
    let ruling = acl.admit(Holder { identity: &program(), policies: &policies }, &access);
    assert_eq!(ruling, Ruling::Allow("path \"*\" of policy all".into()));
}

proptest! {
    #[test]
    fn any_policy_is_read_or_refused_and_any_path_judged(
        path in "(a|b|/|\\+|\\*|\\{\\{namespace\\}\\}|\\{\\{|\\}\\}){0,8}", asked in "\\PC{0,20}",
    ) {
        if let Ok(policy) = AclPolicy::parse("p", &format!("path {path:?} {{ capabilities = [\"read\"] }}")) {
            let mut set = AclSet::default();
            set.insert(policy);
            for who in [program(), account("a", "b")] {
                let _ = set.matched(&who, ["p"], &asked, true);
            }
        }
    }

    /// A rule without wildcards reaches its own path and nothing else.
    #[test]
    fn a_plain_rule_is_about_one_path(rule in "[ab/]{1,6}", asked in "[ab/]{1,6}") {
        let set = set(&[("p", &format!("path {rule:?} {{ capabilities = [\"read\"] }}"))]);
        let plain = rule.strip_prefix('/').unwrap_or(&rule);
        prop_assert_eq!(set.matched(&program(), ["p"], &asked, false).is_some(), plain == asked);
    }
}
