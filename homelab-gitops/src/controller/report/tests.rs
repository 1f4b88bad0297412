use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homelab_core::class::Class;

use super::super::memory::{Loaded, Shown};
use super::*;
use crate::desired::DesiredSet;
use crate::render::Rendered;
use crate::sealed::SealedText;
use crate::source::{CommitId, GitRef, RepoPath};

fn commit() -> CommitId {
    CommitId::parse(&"a".repeat(40)).unwrap()
}

/// In force since the epoch, with a minute to become healthy.
fn memory(health: Health, object: ObjectRef) -> Memory {
    let sync: GitSync = serde_json::from_value(json!({
        "apiVersion": "homelab.dev/v1alpha1", "kind": "GitSync", "metadata": {"name": "home", "namespace": "infra"},
        "spec": {"url": "https://git.example/home", "timeout": "1m"},
    }))
    .unwrap();
    let loaded = Loaded {
        commit: commit(),
        reference: GitRef::Head,
        rendered: Rendered::default(),
        sealed: Arc::new([]),
        trees: BTreeMap::new(),
    };
    let set = Arc::new(DesiredSet::new(commit(), Rendered::default()));
    Memory {
        settings: Some(Settings::read(&sync).unwrap()),
        in_force: Some(InForce { loaded, set, since: Timestamp::UNIX_EPOCH, complete: true }),
        health: BTreeMap::from([(object, ("1".into(), health))]),
        ..Memory::default()
    }
}

fn after_minutes(memory: &Memory, minutes: u64) -> Verdict {
    let converged = Converged::default();
    let now = after(Timestamp::UNIX_EPOCH, Duration::from_secs(60 * minutes));
    verdict(memory, &converged, &waits(memory, &converged), now)
}

#[test]
fn an_object_that_does_not_become_healthy_in_time_fails_and_an_app_has_its_own_time() {
    let moving = || Health::InProgress("on its way".into());
    let app = ObjectRef::namespaced("homelab.dev", "App", "web", "web");
    let deployment = ObjectRef::namespaced("apps", "Deployment", "web", "web");
    let progressing = |reference: &ObjectRef| Verdict::Progressing {
        reason: "Progressing",
        message: format!("{reference}: on its way"),
    };
    let one = memory(moving(), deployment.clone());
    assert_eq!(after_minutes(&one, 0), progressing(&deployment));
    assert_eq!(
        after_minutes(&one, 2),
        Verdict::Failed {
            reason: "HealthTimeout",
            message: "not healthy after 60 s: Deployment.apps web/web: on its way".into(),
            passing: false
        }
    );
    let mut other = memory(moving(), app.clone());
    assert_eq!(after_minutes(&other, 2), progressing(&app));
    other.health.insert(deployment, ("1".into(), Health::Current));
    assert_eq!(after_minutes(&other, 2), progressing(&app));
    assert_eq!(after_minutes(&memory(Health::Current, app.clone()), 2), Verdict::Ready);
    let stalled = memory(Health::Failed("its secret is missing".into()), app);
    assert!(matches!(after_minutes(&stalled, 0), Verdict::Failed { reason: "ObjectFailed", .. }));
}

#[test]
fn a_sealed_file_that_is_not_shown_is_said_and_a_store_that_is_away_only_where_there_are_such_files() {
    let app = ObjectRef::namespaced("homelab.dev", "App", "web", "web");
    let mut one = memory(Health::Current, app);
    let mut failed = |class, with_file: bool| {
        let error = Error::Sealed { detail: "db.sealed.yaml: it was cut".into(), class };
        one.shown = Some(Shown { commit: commit(), failed: Some((error, Timestamp::UNIX_EPOCH)) });
        if let (Some(in_force), true) = (&mut one.in_force, with_file) {
            let path = RepoPath::parse("db.sealed.yaml").unwrap();
            in_force.loaded.sealed = Arc::new([SealedText { path, text: String::new() }]);
        }
        after_minutes(&one, 0)
    };
    assert_eq!(failed(Class::Retry, false), Verdict::Ready);
    let message = "sealed files: db.sealed.yaml: it was cut (the secrets of an earlier commit stay as they are)";
    let (reason, passing, message) = ("SealedFilesBroken", false, message.to_owned());
    assert_eq!(failed(Class::Invalid, true), Verdict::Failed { reason, message, passing });
    assert!(matches!(failed(Class::Retry, true), Verdict::Progressing { reason: "SecretStoreUnavailable", .. }));
}
