use serde_json::json;

use super::*;

fn read(name: &str, text: &str) -> Result<Value, String> {
    parse(Path::new(name), text).map(|plain| plain.values.into()).map_err(|e| e.to_string())
}

#[test]
fn yaml_and_json_give_their_keys() {
    assert_eq!(read("a.yaml", "b: two\na: {c: [1, true]}\n"), Ok(json!({"b": "two", "a": {"c": [1, true]}})));
    assert_eq!(read("a.json", r#"{"a": "x"}"#), Ok(json!({"a": "x"})));
    assert_eq!(read("a.yaml", "# nothing\n"), Ok(json!({})));
    let plain = parse(Path::new("a.yaml"), "on: yes\npin: 0123\nport: 1e5\ntext: \"0123\"\ntls: true\n").expect("YAML");
    assert_eq!(plain.not_text, ["pin", "port", "tls"]);
    assert_eq!(plain.values["on"], "yes");
}

#[test]
fn env_files_are_taken_as_they_are_written() {
    let text = "# note\nexport A=1\nB= two words # note\nC='$HOME \"#\"'\nD=\"line\\nnext \\$x \\\"q\\\"\"\n\nE=\"more\nlines\"\nF=a#b\nG=\n";
    let expected = json!({"A": "1", "B": "two words", "C": "$HOME \"#\"", "D": "line\nnext $x \"q\"", "E": "more\nlines", "F": "a#b", "G": ""});
    assert_eq!(read(".env", text), Ok(expected));
    insta::assert_snapshot!(read("a.env", "A=1\nhunter2\n").expect_err("no pair"), @"a.env: line 2 is not KEY=VALUE");
    insta::assert_snapshot!(read("a.env", "A=1\nB=\"hunter2\n").expect_err("no end"), @"a.env: line 2: the value of B has no end quote");
    insta::assert_snapshot!(read("a.env", "A=1\nA=2\n").expect_err("twice"), @"a.env: line 2: A stands here twice");
}

#[test]
fn a_kubernetes_secret_gives_its_values() {
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\ndata: {a: aHVudGVyMg==, b: eA==}\nstringData: {b: z}\n";
    assert_eq!(read("a.yaml", secret), Ok(json!({"a": "hunter2", "b": "z"})));
    insta::assert_snapshot!(read("a.yaml", "apiVersion: v1\nkind: Secret\ndata: {a: /w==}\n").expect_err("binary"), @"a.yaml: data.a is not UTF-8 text: write it as base64 text in stringData");
    assert!(
        read("a.yaml", "apiVersion: v1\nkind: Secret\n").expect_err("empty").contains("neither data nor stringData")
    );
}

#[test]
fn mistakes_do_not_repeat_the_text() {
    for (name, text) in [
        ("a.json", "{\"a\": hunter2}"),
        ("a.yaml", "a: [hunter2"),
        ("a.yaml", "hunter2"),
        ("a.yaml", "a: 1\na: hunter2\n"),
    ] {
        let error = read(name, text).expect_err(text);
        assert!(!error.contains("hunter2") && error.starts_with(name), "{error}");
    }
}

#[test]
fn what_is_shown_reads_back() {
    for data in [
        json!({}),
        json!({"a": "x", "multi": "one\ntwo\n", "end": "one\n\n\n", "yes": "no", "n": 5, "t": "5", "l": [null, {"a": " x "}]}),
        json!({"kind": "Secret", "apiVersion": "v1", "odd": "\u{7f}\u{0}\u{2028}\u{feff}", "": "---\n", "tab": "\t", "crlf": "a\r\nb\r"}),
    ] {
        let data = data.as_object().cloned().expect("an object");
        let text = shown(&data).expect("text");
        assert_eq!(yaml("it", &text).expect("reads back").values, data, "{}", *text);
    }
}
