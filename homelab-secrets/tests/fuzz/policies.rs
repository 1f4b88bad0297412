//! The text of policies, in Vault's language.

use homelab_core::meta::Account;
use homelab_secrets::policy::Identity;
use homelab_secrets::policy::acl::{AclPolicy, AclSet};
use proptest::prelude::*;

use crate::change::{changed, config};

const SEEDS: &str = include_str!("seeds/policies.hcl");
const WORDS: &[&str] = &[
    "path",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "=",
    ",",
    "capabilities",
    "\"deny\"",
    "\"sudo\"",
    "*",
    "+",
    "{{",
    "}}",
    "\\",
    "\\u",
    "#",
    "//",
    "/*",
    "*/",
    "<<EOF\n",
    "\n",
    "null",
    "true",
    "-1",
    "1e9",
    "../",
    "\u{0}",
    "\u{feff}",
];

/// The seeds stand in one file, with a line of dashes between them.
fn seeds() -> Vec<Vec<u8>> {
    SEEDS.split("\n# ----\n").map(|seed| seed.as_bytes().to_vec()).collect()
}

#[test]
fn the_seeds_are_policies() {
    assert!(seeds().len() > 4);
    for seed in seeds() {
        let text = String::from_utf8(seed).expect("UTF-8");
        let parsed = AclPolicy::parse("seed", &text);
        assert!(parsed.is_ok(), "{parsed:?}: {text}");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_is_a_policy_that_can_be_asked_or_is_refused(sent in changed(seeds(), WORDS), path in "(kv|sys|data|a|\\+|\\*|/){0,9}") {
        let Ok(text) = String::from_utf8(sent) else { return Ok(()) };
        let Ok(policy) = AclPolicy::parse("fuzz", &text) else { return Ok(()) };
        prop_assert_eq!(&AclPolicy::parse("fuzz", &policy.text).expect("it was read once"), &policy);
        let mut set = AclSet::default();
        let is_empty = policy.rules.is_empty();
        set.insert(policy);
        let who = Identity::account(Account::new("web", "web"));
        for listing in [false, true] {
            if let Some(matched) = set.matched(&who, ["fuzz"], &path, listing) {
                prop_assert!(!is_empty);
                prop_assert_eq!(matched.policies, ["fuzz"]);
            }
        }
        prop_assert!(set.matched(&who, ["another"], &path, false).is_none());
    }
}
