//! All files of a commit.

use super::*;

fn file(path: &str) -> String {
    seal_file(&ring(), path, &fields(&json!({"a": 1})), None).unwrap().to_string()
}

#[test]
fn secrets_are_found_by_their_paths_wherever_the_files_lie() {
    let [db, api, twin] = ["web/db", "web/x/api", "twin"].map(file);
    let foreign =
        seal_file(&keys_of("other", 9, 1).open().unwrap(), "x", &Fields::default(), None).unwrap().to_string();
    let snapshot = Snapshot::read(
        "0123abc",
        [
            ("README.md", "# hello"),
            ("deep/moved.sealed.yaml", db.as_str()),
            ("api.sealed.yaml", &api),
            ("a.sealed.yaml", &twin),
            ("b.sealed.yaml", &twin),
            ("plain.sealed.yaml", "password: hunter2\n"),
            ("foreign.sealed.yaml", &foreign),
        ],
    );
    assert_eq!(snapshot.commit(), "0123abc");
    assert_eq!(snapshot.get("git/home/web/db").unwrap().to_string(), db);
    assert!(snapshot.get("git/home/twin").is_none() && snapshot.get("git/home/deep/moved").is_none());
    let found: Vec<String> = snapshot.files().map(|(name, file)| format!("{name} {}", file.logical_path())).collect();
    insta::assert_snapshot!(found.join("\n"), @r"
    deep/moved.sealed.yaml git/home/web/db
    api.sealed.yaml git/home/web/x/api
    foreign.sealed.yaml git/other/x
    ");
    insta::assert_snapshot!(snapshot.problems().join("\n"), @r"
    b.sealed.yaml and a.sealed.yaml are both the secret git/home/twin: keep one
    plain.sealed.yaml: line 1: this is no sealed file: a sealed file begins with `homelab: sealed/1`
    ");
}
