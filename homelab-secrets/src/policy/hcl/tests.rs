use proptest::prelude::*;

use super::*;

fn shown(text: &str) -> String {
    match parse(text) {
        Ok(items) => items.iter().map(show_item).collect::<Vec<_>>().join("; "),
        Err(error) => format!("! {error}"),
    }
}

fn show_item(item: &Item) -> String {
    format!("{} {}", item.keys.join(" "), show(&item.value))
}

fn show(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Word(word) => word.clone(),
        Value::List(values) => format!("[{}]", values.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(items) => format!("{{{}}}", items.iter().map(show_item).collect::<Vec<_>>().join("; ")),
    }
}

#[test]
fn what_vault_takes_is_taken() {
    let cases = [
        (r#"path "a" { capabilities = ["read"] }"#, r#"path a {capabilities ["read"]}"#),
        (r#"path "a" { capabilities = ["read",] }"#, r#"path a {capabilities ["read"]}"#),
        (r#"path "a" { x = ["r"] comment = "c" }"#, r#"path a {x ["r"]; comment "c"}"#),
        (r#"path "a" { x = ["r"], n = 3 }"#, r#"path a {x ["r"]; n 3}"#),
        (r#"path "a" { x = 1 } path "b" { y = true }"#, "path a {x 1}; path b {y true}"),
        (r#""path" "a" { "x" = 1 }"#, "path a {x 1}"),
        ("path a { x = 1 }", "path a {x 1}"),
        ("# c\n// d\n/* e\n */ path \"a\" {\n x = [ # f\n \"r\", // g\n \"l\" ]\n}", r#"path a {x ["r" "l"]}"#),
        (r#"path "a" { p = { "foo" = [] "bar" = ["x"] } c=["u"] }"#, r#"path a {p {foo []; bar ["x"]}; c ["u"]}"#),
        (r#"path "a\u0041\n\"" { }"#, "path aA\n\" {}"),
        (r#"{"path": {"a/*": {"capabilities": ["read"]}}}"#, r#"path {a/* {capabilities ["read"]}}"#),
        (r#"{"path": [{"a": {"n": 1}}]}"#, "path [{a {n 1}}]"),
        ("", ""),
    ];
    for (text, expect) in cases {
        assert_eq!(shown(text), expect, "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let cases = [
        ("path \"a", "! line 1: a string is not closed: `\"` is missing"),
        ("\npath \"a\" { x = [\"r\"", "! line 2: a list goes on with `,` or ends with `]`"),
        ("path \"a\" {\n x = [\"r\"]", "! line 2: a block is not closed: `}` is missing"),
        ("path \"a\" = { }", "! line 1: `=` stands where `{` or a value is expected"),
        ("path \"a\" { x = [\"r\"]; }", "! line 1: ';' has no meaning here"),
        ("path <<EOT\na\nEOT\n{ }", "! line 1: here-documents are not taken: write the text in quotes"),
        ("/* x", "! line 1: a comment is not closed: `*/` is missing"),
        ("path \"\\q\" {}", "! line 1: a string has an escape that HCL does not know"),
        ("{\"path\": ", "! line 1: it starts like JSON, but is none"),
        ("}", "! line 1: `}` stands where a name is expected"),
        ("a", "! line 1: it ends where `{` or a value is expected"),
        ("a = ", "! line 1: it ends where a value is expected"),
    ];
    for (text, expect) in cases {
        assert_eq!(shown(text), expect, "{text}");
    }
    assert!(shown(&"a = [".repeat(5)).contains("value is expected"));
    assert!(shown(&format!("a = {}", "[".repeat(100_000))).contains("nested deeper"));
    assert!(shown(&"a {".repeat(40_000)).contains("nested deeper"));
    assert!(shown(&" ".repeat(MAX_TEXT + 1)).contains("longer"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn text_that_looks_like_a_policy_too(text in "(path|\"a\\*\"|\\{|\\}|\\[|\\]|=|,|\"|\\\\|#|//|/\\*|\\*/|[0-9]|\n| |true|<){0,40}") {
        let _ = parse(&text);
    }
}
