//! Who may do what, and why: policies as Kubernetes objects and policies in Vault's language, asked together.
//!
//! ```sh
//! cargo run -p homelab-secrets --example policy
//! ```
#![expect(clippy::print_stderr, reason = "an example talks to whoever tries it")]

use std::error::Error;
use std::sync::Arc;

use homelab_core::meta::Account;
use homelab_secrets::api::v1alpha1::SecretPolicy;
use homelab_secrets::policy::acl::AclPolicy;
use homelab_secrets::policy::{Capability, Combined, Holder, Identity, PathForm, PolicySet, SharedAcl, explain};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    // An object of the cluster gives ServiceAccounts of its namespace rights below kv/NAMESPACE/.
    let object: SecretPolicy = serde_json::from_value(json!({
        "apiVersion": "homelab.dev/v1alpha1",
        "kind": "SecretPolicy",
        "metadata": {"namespace": "web", "name": "app"},
        "spec": {"rules": [{"serviceAccounts": ["web"], "paths": ["kv/web/*"], "capabilities": ["read", "list"]}]},
    }))?;
    let objects = PolicySet::build([&object], []);
    assert!(objects.problems().is_empty());

    // A text in Vault's language is named by tokens, and its `deny` wins over every yes.
    let acl = SharedAcl::default();
    let text = r#"path "kv/data/web/root" { capabilities = ["deny"] }"#;
    acl.update(|set| match AclPolicy::parse("careful", text) {
        Ok(policy) => set.insert(policy),
        Err(error) => eprintln!("{error}"),
    });
    let policy = Combined { acl, objects: Arc::new(objects) };

    let web = Identity::account(Account::new("web", "web"));
    let other = Identity::account(Account::new("blog", "blog"));
    let careful = ["careful".to_owned()];
    for (identity, policies, path, capability, expected) in [
        (&web, &[][..], "kv/web/db", Capability::Read, true),
        (&web, &[], "kv/web/db", Capability::Update, false),
        (&web, &[], "kv/blog/db", Capability::Read, false),
        (&other, &[], "kv/web/db", Capability::Read, false),
        (&web, &[], "kv/data/web/root", Capability::Read, true),
        (&web, &careful, "kv/data/web/root", Capability::Read, false),
    ] {
        let answer = explain(&policy, Holder { identity, policies }, path, PathForm::Guess, capability);
        eprintln!("{answer}");
        assert_eq!(answer.ruling.is_allowed(), expected, "{answer}");
    }
    Ok(())
}

#[test]
fn runs() {
    main().expect("it holds what it says");
}
