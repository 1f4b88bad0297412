//! What plain Git, without anything of ours installed, makes of sealed files.
#![expect(clippy::disallowed_methods, reason = "tests run git on files")]

use std::path::Path;
use std::process::{Command, Output};

use super::*;

fn git(dir: &Path, args: &[&str]) -> Output {
    let config = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"];
    let mut command = Command::new("git");
    // Nothing of this machine's own configuration may help or disturb.
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command.current_dir(dir).args(config).args(args).output().unwrap()
}

fn done(dir: &Path, args: &[&str]) -> String {
    let output = git(dir, args);
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_branches_that_change_different_keys_merge() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let commit = |secret: &Value, message: &str| {
        std::fs::write(dir.join("db.sealed.yaml"), seal(&ring(), secret).to_string()).unwrap();
        done(dir, &["add", "--all"]);
        done(dir, &["commit", "--quiet", "--message", message]);
    };
    done(dir, &["init", "--quiet", "--initial-branch=main"]);
    commit(&json!({"host": "db", "password": "one", "user": "web"}), "base");
    done(dir, &["checkout", "--quiet", "-b", "topic"]);
    commit(&json!({"host": "db", "password": "two", "user": "web", "zone": "eu"}), "a new password and a zone");
    let stat = done(dir, &["diff", "--numstat", "main", "topic"]);
    assert_eq!(stat.split_whitespace().take(2).collect::<Vec<_>>(), ["4", "1"], "one line changed, one value added");
    done(dir, &["checkout", "--quiet", "main"]);
    commit(&json!({"api": "k", "host": "db2", "password": "one", "user": "me"}), "other keys");
    done(dir, &["merge", "--quiet", "--message", "merge", "topic"]);
    let text = std::fs::read_to_string(dir.join("db.sealed.yaml")).unwrap();
    let expected = json!({"api": "k", "host": "db2", "password": "two", "user": "me", "zone": "eu"});
    assert_eq!(open(&ring(), &text), Ok(expected));
}

/// One thing that a branch does to the keys b, d, f, h, j.
type Change = (&'static str, Option<&'static str>);

fn after(base: &Value, changes: &[Change]) -> Value {
    let mut map = base.as_object().unwrap().clone();
    for (key, value) in changes {
        match value {
            Some(value) => drop(map.insert((*key).into(), (*value).into())),
            None => drop(map.remove(*key)),
        }
    }
    map.into()
}

/// Each pair of changes of different keys, by the merge that `git merge` uses. What conflicts is exactly what touches:
/// a key taken away beside one that was added or taken away, and two keys added between the same two.
#[test]
fn plain_git_merges_all_but_touching_additions_and_removals() {
    let dir = tempfile::tempdir().unwrap();
    let base = json!({"b": "1", "d": "1", "f": "1", "h": "1", "j": "1"});
    let changes: Vec<Change> =
        [("b", Some("2")), ("d", Some("2")), ("f", Some("2")), ("h", Some("2")), ("j", Some("2"))]
            .into_iter()
            .chain(["b", "d", "f", "h", "j"].map(|key| (key, None)))
            .chain(["a", "c", "ca", "e", "g", "i", "k"].map(|key| (key, Some("new"))))
            .collect();
    let write = |name: &str, value: &Value| std::fs::write(dir.path().join(name), seal(&ring(), value).to_string());
    write("base", &base).unwrap();
    let (mut conflicts, mut pairs) = (BTreeMap::<&str, (usize, usize)>::new(), 0);
    for (n, ours) in changes.iter().enumerate() {
        for theirs in changes[n + 1..].iter().filter(|theirs| theirs.0 != ours.0) {
            write("ours", &after(&base, &[*ours])).unwrap();
            write("theirs", &after(&base, &[*theirs])).unwrap();
            let output = git(dir.path(), &["merge-file", "-p", "ours", "base", "theirs"]);
            let kind = |(key, value): &Change| match value {
                None => "remove",
                Some(_) if base.get(*key).is_some() => "change",
                Some(_) => "add",
            };
            let kinds = match (kind(ours), kind(theirs)) {
                ("change", "change") => "change and change",
                ("change", _) => "change and add or remove",
                ("add", "add") => "add and add",
                _ => "add or remove and remove",
            };
            let entry = conflicts.entry(kinds).or_default();
            entry.1 += 1;
            pairs += 1;
            if output.status.code() == Some(0) {
                let text = String::from_utf8(output.stdout).unwrap();
                assert_eq!(open(&ring(), &text), Ok(after(&base, &[*ours, *theirs])), "{ours:?} and {theirs:?}");
            } else {
                entry.0 += 1;
            }
        }
    }
    let table: Vec<_> =
        conflicts.iter().map(|(kinds, (bad, all))| format!("{kinds}: {bad} of {all} conflict")).collect();
    insta::assert_snapshot!(format!("{pairs} pairs\n{}", table.join("\n")), @r"
    131 pairs
    add and add: 1 of 21 conflict
    add or remove and remove: 16 of 45 conflict
    change and add or remove: 0 of 55 conflict
    change and change: 0 of 10 conflict
    ");
}
