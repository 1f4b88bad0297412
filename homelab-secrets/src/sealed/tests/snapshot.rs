//! All files of a commit.

use super::*;

fn file(path: &str) -> String {
    seal_file(&ring(), path, &fields(&json!({"a": 1})), None).unwrap().to_string()
}

#[test]
fn secrets_are_found_by_their_paths_wherever_the_files_lie() {
    let [db, api, top, twin] = ["web/db", "web/x/api", "web", "twin"].map(file);
    let foreign =
        seal_file(&keys_of("other", 9, 1).open().unwrap(), "x", &Fields::default(), None).unwrap().to_string();
    let snapshot = Snapshot::read(
        &RepositoryName::parse("home").unwrap(),
        "0123abc",
        [
            ("README.md", "# hello"),
            ("deep/moved.sealed.yaml", db.as_str()),
            ("api.sealed.yaml", &api),
            ("web.sealed.yaml", &top),
            ("a.sealed.yaml", &twin),
            ("b.sealed.yaml", &twin),
            ("plain.sealed.yaml", "password: hunter2\n"),
            ("foreign.sealed.yaml", &foreign),
        ],
    );
    assert_eq!(snapshot.commit(), "0123abc");
    assert_eq!(snapshot.get("web/db").unwrap().to_string(), db);
    assert!(snapshot.get("twin").is_none() && snapshot.get("deep/moved").is_none());
    assert_eq!(snapshot.list(""), ["web", "web/"]);
    assert_eq!(snapshot.list("web/"), ["db", "x/"]);
    assert_eq!(snapshot.list("nothing/"), Vec::<String>::new());
    insta::assert_snapshot!(snapshot.problems().join("\n"), @r"
    b.sealed.yaml and a.sealed.yaml are both the secret twin: keep one
    foreign.sealed.yaml: belongs to repository other, not home
    plain.sealed.yaml: line 1: this is no sealed file: a sealed file begins with `homelab: sealed/1`
    ");
}
