//! `homelab kv edit`.

use std::path::PathBuf;
use std::process::Output;

use crate::process::{Server, good, text};

fn edit(server: &Server, editor: &str, path: &str) -> Output {
    server.command(&["kv", "edit", path]).env("EDITOR", editor).output().expect("started")
}

fn data(server: &Server, path: &str) -> (serde_json::Value, serde_json::Value) {
    let mut shown: serde_json::Value =
        serde_json::from_str(&server.done(&["kv", "get", path, "-o", "json"])).expect("JSON");
    (shown["version"].take(), shown["data"].take())
}

/// What is kept, read and removed.
fn kept(words: &str) -> String {
    let (_, place) = words.split_once("is kept in ").expect("says where");
    let place = PathBuf::from(place.split_once(':').expect("a path").0);
    let text = std::fs::read_to_string(&place).expect("kept");
    std::fs::remove_dir_all(place.parent().expect("a folder")).expect("removed");
    text
}

#[test]
fn the_newest_version_is_edited_into_the_next() {
    let server = Server::dev();
    let made = edit(&server, "sh -c 'printf \"user: web\\npassword: one\\n\" > \"$1\"' -", "kv/web/db");
    good(&made, &["edit"]);
    assert_eq!(data(&server, "kv/web/db"), (1.into(), serde_json::json!({"user": "web", "password": "one"})));

    let folder = tempfile::tempdir().expect("a folder");
    let seen = folder.path().join("seen");
    let script = format!("sh -c 'cp \"$1\" {}; sed -i s/one/two/ \"$1\"' -", seen.display());
    let output = edit(&server, &script, "kv/web/db");
    good(&output, &["edit"]);
    assert!(text(&output.stderr).contains("wrote kv/web/db version 2"), "{}", text(&output.stderr));
    let seen = std::fs::read_to_string(seen).expect("seen");
    assert!(seen.starts_with("#: kv/web/db (version 1), as YAML") && seen.ends_with("password: one\nuser: web\n"));
    assert_eq!(data(&server, "kv/web/db"), (2.into(), serde_json::json!({"user": "web", "password": "two"})));

    let same = edit(&server, "true", "kv/web/db");
    good(&same, &["edit"]);
    assert!(text(&same.stderr).contains("kv/web/db is unchanged"));
    let away = edit(&server, "false", "kv/web/db");
    assert!(!away.status.success() && text(&away.stderr).contains("nothing was changed"));
    assert_eq!(data(&server, "kv/web/db").0, 2);
}

#[test]
fn values_that_are_no_text_stay_what_they_are() {
    let server = Server::dev();
    let mut put = server.command(&["kv", "put", "kv/app", "-"]);
    let json = r#"{"port": 5432, "list": [1, {"a": null}], "odd": "0123", "text": "line\nline\n"}"#;
    let mut child = put.stdin(std::process::Stdio::piped()).spawn().expect("started");
    std::io::Write::write_all(&mut child.stdin.take().expect("stdin"), json.as_bytes()).expect("sent");
    assert!(child.wait().expect("ended").success());
    let output = edit(&server, "sh -c 'echo \"new: 007\" >> \"$1\"' -", "kv/app");
    good(&output, &["edit"]);
    assert!(text(&output.stderr).contains("not text, as YAML reads it: new;"), "{}", text(&output.stderr));
    let mut expected: serde_json::Value = serde_json::from_str(json).expect("JSON");
    expected["new"] = data(&server, "kv/app").1["new"].clone();
    assert!(expected["new"].is_number());
    assert_eq!(data(&server, "kv/app").1, expected);
}

#[test]
fn a_change_made_meanwhile_is_kept_and_so_is_the_draft() {
    let server = Server::dev();
    server.done(&["kv", "put", "kv/web/db", "password=one"]);
    let script = format!(
        "sh -c '{} kv put kv/web/db password=theirs; sed -i s/one/mine/ \"$1\"' -",
        env!("CARGO_BIN_EXE_homelab")
    );
    let output = edit(&server, &script, "kv/web/db");
    let words = text(&output.stderr);
    assert!(!output.status.success() && !words.contains("mine"), "{words}");
    assert!(words.contains("was changed by somebody else while you edited version 1: it is at version 2"), "{words}");
    assert!(kept(&words).contains("password: mine"));
    assert_eq!(data(&server, "kv/web/db"), (2.into(), serde_json::json!({"password": "theirs"})));

    server.done(&["kv", "delete", "kv/web/db"]);
    let deleted = text(&edit(&server, "true", "kv/web/db").stderr);
    assert!(deleted.contains("version 2 is deleted since") && deleted.contains("undelete"), "{deleted}");
}
