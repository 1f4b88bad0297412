use serde_json::json;

use super::super::tests::{Fixture, by, data, fixture, open, path};
use super::super::{Folder, MountChange};
use super::*;
use crate::backend::Backend as _;
use crate::sealed::{Fields, RepositoryName, seal_file};

/// Lets `infra/git` seal what is below `git/home/`, and everybody read everything.
struct Rights;

impl Policy for Rights {
    fn decide(&self, who: &Identity, path: &str, capability: Capability) -> Decision {
        let infra = who.to_string() == "serviceaccount infra/git" && path.starts_with("git/home/");
        match capability {
            Capability::Read => Decision::Allow,
            Capability::Update if infra => Decision::Allow,
            _ => Decision::Deny { why: "no policy names it".into() },
        }
    }
}

fn account(name: &str) -> Account {
    Account::new("infra", name)
}

impl Fixture {
    async fn sealed(&self, file: &str, secret: &str, value: &str) -> (String, String) {
        let name = RepositoryName::parse("home").unwrap();
        let keys = self.store.create_repository(&name).await.unwrap().0.open().unwrap();
        let fields = Fields::from_json(json!({ "password": value }).as_object().unwrap()).unwrap();
        (file.into(), seal_file(&keys, secret, &fields, None).unwrap().to_string())
    }

    async fn mirror(&self, gitsync: &str, commit: &str, files: &[(String, String)]) -> Result<u64, Error> {
        self.store.mirror(&Rights, &account("git"), GitCommit { gitsync, commit, files }).await
    }

    async fn refused(&self, gitsync: &str, files: &[(String, String)]) -> String {
        let error = self.mirror(gitsync, "c9", files).await.unwrap_err();
        assert_eq!(error.class(), Class::Invalid);
        error.to_string()
    }

    async fn value(&self, secret: &str, version: Option<u64>) -> String {
        match self.store.get(&path(secret), version).await {
            Ok(found) => format!("{} {}", found.version, found.data.expose()["password"].as_str().unwrap()),
            Err(error) => error.to_string(),
        }
    }

    async fn words(&self, secret: &str) -> String {
        let Some(state) = self.store.history(&path(secret)).await.unwrap() else { return "gone".into() };
        let versions: Vec<String> = state.versions.keys().map(u64::to_string).collect();
        format!("{} {:?}", versions.join(" "), state.settings.custom)
    }
}

#[tokio::test]
async fn a_commits_sealed_files_are_secrets_and_only_new_values_are_new_versions() {
    let f = fixture().await;
    assert_eq!(f.mirror("infra/home", "c1", &[]).await.unwrap(), 0);
    assert_eq!(f.store.mounts().len(), 1, "without a sealed file there is no mount");

    let db = f.sealed("apps/db.sealed.yaml", "web/db", "one").await;
    let api = f.sealed("apps/api.sealed.yaml", "web/api", "x").await;
    assert_eq!(f.mirror("infra/home", "c1", &[db.clone(), api.clone()]).await.unwrap(), 2);
    assert_eq!(f.value("git/home/web/db", None).await, "1 one");
    assert_eq!(f.store.list(&Folder::parse("git/home/web").unwrap()).await.unwrap(), ["api", "db"]);
    assert_eq!(f.store.get(&path("git/home/web/db"), None).await.unwrap().writer, "GitSync infra/home");

    let head = f.backend.head().await.unwrap();
    assert_eq!(f.mirror("infra/home", "c2", &[db.clone(), api.clone()]).await.unwrap(), 0);
    assert_eq!(f.backend.head().await.unwrap(), head, "nothing is written where nothing is new");

    let home = RepositoryName::parse("home").unwrap();
    f.store.rotate_repository(&home, 1).await.unwrap();
    let moved = f.sealed("db.sealed.yaml", "web/db", "one").await;
    assert_ne!(moved.1, db.1, "sealed in another epoch");
    let changed = f.sealed("apps/api.sealed.yaml", "web/api", "y").await;
    assert_eq!(f.mirror("infra/home", "c3", &[moved, changed]).await.unwrap(), 1);
    insta::assert_snapshot!(f.words("git/home/web/db").await, @r#"1 {"commit": "c1", "file": "db.sealed.yaml", "gitsync": "infra/home"}"#);
    insta::assert_snapshot!(f.words("git/home/web/api").await, @r#"1 2 {"commit": "c3", "file": "apps/api.sealed.yaml", "gitsync": "infra/home"}"#);

    let again = open(&f.backend, &f.host, &f.key).await.unwrap();
    let read = again.get(&path("git/home/web/api"), None).await.unwrap();
    assert_eq!(read.data.expose()["password"], "y", "no forge is needed after a start");
}

#[tokio::test]
async fn of_a_commit_with_one_broken_file_nothing_is_shown() {
    let f = fixture().await;
    let (db, api) =
        (f.sealed("db.sealed.yaml", "web/db", "one").await, f.sealed("a.sealed.yaml", "web/api", "x").await);
    f.mirror("infra/home", "c1", &[db.clone(), api.clone()]).await.unwrap();

    let next = f.sealed("db.sealed.yaml", "web/db", "two").await;
    let elsewhere = (api.0.clone(), api.1.replace("path: web/api", "path: web/mine"));
    let plain = ("p.sealed.yaml".to_owned(), "password: hunter2\n".to_owned());
    let unknown = ("u.sealed.yaml".to_owned(), db.1.replace("repository: home", "repository: other"));
    insta::assert_snapshot!(f.refused("infra/home", &[next.clone(), elsewhere]).await, @"a.sealed.yaml: the sealed file web/mine of repository home does not open: `password` was sealed for another field, path or repository, or was changed");
    insta::assert_snapshot!(f.refused("infra/home", &[next.clone(), plain]).await, @"p.sealed.yaml: line 1: this is no sealed file: a sealed file begins with `homelab: sealed/1`");
    let denied = f.mirror("infra/home", "c2", &[unknown]).await.unwrap_err();
    assert_eq!(denied.class(), Class::Denied);
    insta::assert_snapshot!(denied, @"u.sealed.yaml: infra/git may not seal git/other/web/db: no policy names it");
    insta::assert_snapshot!(f.refused("apps/other", std::slice::from_ref(&next)).await, @"db.sealed.yaml: git/home/web/db is shown by GitSync infra/home already: keep it in one of the two");
    assert_eq!(
        (f.value("git/home/web/db", None).await, f.value("git/home/web/api", None).await),
        ("1 one".into(), "1 x".into())
    );

    let from = GitCommit { gitsync: "infra/home", commit: "c2", files: &[next] };
    let denied = f.store.mirror(&Rights, &account("default"), from).await.unwrap_err();
    insta::assert_snapshot!(denied, @"db.sealed.yaml: infra/default may not seal git/home/web/db: no policy names it");
}

#[tokio::test]
async fn what_git_has_no_more_goes_but_for_what_revisions_use() {
    let f = fixture().await;
    let db = async |value| f.sealed("db.sealed.yaml", "web/db", value).await;
    let api = f.sealed("api.sealed.yaml", "web/api", "x").await;
    f.mirror("infra/home", "c1", &[db("one").await, api]).await.unwrap();
    f.store.pin("web@r1", &[("git/home/web/db".into(), 1)]).await.unwrap();
    f.mirror("infra/home", "c2", &[db("two").await]).await.unwrap();
    assert_eq!(f.words("git/home/web/api").await, "gone");
    f.mirror("infra/home", "c3", &[]).await.unwrap();
    assert_eq!(f.value("git/home/web/db", None).await, "git/home/web/db: there is no such secret");
    assert_eq!(f.value("git/home/web/db", Some(1)).await, "1 one", "pods of the revision can still be started");
    insta::assert_snapshot!(f.words("git/home/web/db").await, @r#"1 {"commit": "c2", "file": "db.sealed.yaml"}"#);

    let back = f.sealed("moved.sealed.yaml", "web/db", "three").await;
    f.mirror("apps/other", "d1", &[back]).await.unwrap();
    assert_eq!(f.value("git/home/web/db", None).await, "3 three", "another GitSync can have it, and numbers go on");
    f.store.unpin("web@r1").await.unwrap();

    f.store.retain_mirrored(&BTreeSet::from(["apps/other".to_owned()])).await.unwrap();
    assert_eq!(f.value("git/home/web/db", None).await, "3 three");
    f.store.retain_mirrored(&BTreeSet::new()).await.unwrap();
    assert_eq!(f.words("git/home/web/db").await, "gone");
}

#[tokio::test]
async fn a_version_that_no_longer_opens_comes_again_from_git() {
    let f = fixture().await;
    let db = f.sealed("db.sealed.yaml", "web/db", "one").await;
    f.mirror("infra/home", "c1", std::slice::from_ref(&db)).await.unwrap();
    let id = f.store.opened().unwrap().mount(GIT_MOUNT).unwrap().id;
    let mut batch = crate::backend::Batch::default();
    batch.put(record::version_key(&id, "home/web/db", 1), b"broken".to_vec());
    f.backend.commit(f.backend.head().await.unwrap(), batch).await.unwrap();
    assert!(f.value("git/home/web/db", None).await.contains("does not open"));
    assert_eq!(f.mirror("infra/home", "c1", &[db]).await.unwrap(), 1);
    assert_eq!(f.value("git/home/web/db", None).await, "2 one");
}

#[tokio::test]
async fn nobody_else_writes_there() {
    let f = fixture().await;
    let db = path("git/home/web/db");
    let refused = f.store.put(&db, data("{}"), by("me")).await.unwrap_err();
    insta::assert_snapshot!(refused, @"git/home/web/db: below git/ are sealed files, read only here: seal one in Git");
    f.mirror("infra/home", "c1", &[f.sealed("apps/db.sealed.yaml", "web/db", "one").await]).await.unwrap();
    let said =
        "git/home/web/db is a sealed file, read only here: edit in Git: apps/db.sealed.yaml (GitSync infra/home)";
    let all = [
        f.store.put(&db, data("{}"), by("me")).await.map(drop),
        f.store.patch(&db, data("{}"), by("me")).await.map(drop),
        f.store.delete(&db, &[]).await.map(drop),
        f.store.undelete(&db, &[1]).await,
        f.store.destroy(&db, &[1]).await.map(drop),
        f.store.remove(&db).await.map(drop),
        f.store.set(&db, SettingsChange::default(), false).await,
    ];
    for result in all {
        assert_eq!(result.unwrap_err().to_string(), said);
    }
    for result in
        [f.store.remove_mount("git").await.map(drop), f.store.tune_mount("git", MountChange::default()).await.map(drop)]
    {
        assert!(matches!(result, Err(Error::ReadOnly(_))));
    }
    assert_eq!(f.value("git/home/web/db", None).await, "1 one");
}
