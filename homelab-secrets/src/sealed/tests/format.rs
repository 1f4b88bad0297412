//! What the text of a file is, for ever.

use super::*;

const FILE: &str = include_str!("../../../../tests/formats/sealed-file/v1.sealed.yaml");
const KEYS: &str = include_str!("../../../../tests/formats/sealed-file/v1.keys.json");
const PLAIN: &str = include_str!("../../../../tests/formats/sealed-file/v1.plain.json");

#[test]
fn a_file_of_version_1_opens_for_ever() {
    let keys: RepositoryKeys = serde_json::from_str(KEYS).unwrap();
    let ring = keys.open().unwrap();
    let plain: Value = serde_json::from_str(PLAIN).unwrap();
    assert_eq!(open(&ring, FILE), Ok(plain.clone()));
    let previous = SealedFile::from_str(FILE).unwrap();
    assert_eq!(previous.epochs().len(), 2, "the sample has values of two epochs");
    let again = seal_file(&ring, previous.path(), &fields(&plain), Some(&previous)).unwrap();
    assert_eq!(again.to_string(), FILE, "and is written as it was");
}

#[test]
fn the_text_of_a_file() {
    insta::assert_snapshot!(seal(&ring(), &json!({"password": "hunter2", "no": 1, "a b": true})), @r#"
    # Sealed: `homelab edit FILE` changes this secret, `homelab seal --open FILE` prints it.
    homelab: sealed/1
    repository: home
    id: 01010101-0101-0101-0101-010101010101
    path: web/db
    values:
      "a b":
        e1.yYdNfufIFcUaNrCceqcUNNZ3lhg59quqyu4kiNVhmuZEasJ4xSY6vYgpxnNrYRCG

      "no":
        e1.nZAmw0q1bR93QQon9vIBDGrG5IwTT4NDJYVia3W4FCAm2b0C3TRuOJxhOCkbyBDN

      password:
        e1.q4J__T_NeTxMcmlKn06Kkxoq-qAyet0uOlLhJD1Xh-hSmCIce41MWhhwP7yT9c70

    ...
    "#);
}

#[test]
fn what_is_no_sealed_file_is_told_by_line_and_never_quoted() {
    let text = seal(&ring(), &json!({"a": "1", "b": "2"})).to_string();
    let refused = |text: &str| SealedFile::from_str(text).unwrap_err().to_string();
    insta::assert_snapshot!(refused("password: hunter2\n"), @"line 1: this is no sealed file: a sealed file begins with `homelab: sealed/1`");
    insta::assert_snapshot!(refused(""), @"the sealed file has no last line `...`: it was cut");
    insta::assert_snapshot!(refused(&text.replace("sealed/1", "sealed/2")), @"line 2: the file has format sealed/2, this program reads sealed/1: use a newer homelab");
    insta::assert_snapshot!(refused(&text.replace("  a:\n", "  a: hunter2\n")), @"line 7: this is not a key on a line of its own with its sealed value on the next; is it a plain value? `homelab seal --in-place FILE` seals a plain file");
    insta::assert_snapshot!(refused(&text.replace("  a:\n", "  a:\n    hunter2\n")), @r#"line 8: the value of "a" is not sealed, or was cut"#);
    insta::assert_snapshot!(refused(&text.replace("  b:\n", "    e1.AAAA\n  b:\n")), @r#"line 10: "a" has a second value: two branches changed it; keep one"#);
    insta::assert_snapshot!(refused(&text.replace("  b:\n", "  a:\n")), @"line 11: this key stands here twice: keep one");
    insta::assert_snapshot!(refused(&text.replace("  b:\n", "<<<<<<< HEAD\n  b:\n")), @"line 10: Git left a conflict here: keep one value for each key, and take the marks away");
    insta::assert_snapshot!(refused(&text.replace("id: ", "id: x")), @"the line `id` holds no UUID");
    insta::assert_snapshot!(refused(&text.replace("id: ", "owner: ")), @"line 4: this line is not known: a sealed file begins with `homelab: sealed/1`");
    insta::assert_snapshot!(refused(&text.replace("...", "")), @"the sealed file has no last line `...`: it was cut");
    insta::assert_snapshot!(refused(&format!("{text}a: hunter2\n")), @"line 14: nothing may stand behind the end of a sealed file");
    insta::assert_snapshot!(refused(&text.replace("values:", "path: web/db\nvalues:")), @"line 6: there are two lines `path`: keep one");
    for wrong in [&text.replace("  a:\n", "  a: hunter2\n"), "password: hunter2\n"] {
        assert!(!refused(wrong).contains("hunter2"));
    }
}

#[test]
fn line_ends_of_windows_order_and_comments_do_not_matter() {
    let file = seal(&ring(), &json!({"a": "1", "b": "2"}));
    let text = file.to_string();
    assert_eq!(SealedFile::from_str(&text.replace('\n', "\r\n")).unwrap(), file);
    let (a, b) = (file::entry("a", file.value("a").unwrap()), file::entry("b", file.value("b").unwrap()));
    let turned = text.replace(&format!("{a}{b}"), &format!("  # a note\n{b}{a}"));
    assert_ne!(turned, text);
    assert_eq!(SealedFile::from_str(&turned).unwrap(), file);
    assert_eq!(SealedFile::from_str(&turned).unwrap().to_string(), text, "and is written in order again");
}

#[test]
fn a_sealed_file_of_any_version_is_known_as_one() {
    let text = seal(&ring(), &json!({})).to_string();
    assert!(SealedFile::is_sealed(&text) && SealedFile::is_sealed(&text.replace("sealed/1", "sealed/9")));
    assert!(!SealedFile::is_sealed("a: homelab: sealed/1") && !SealedFile::is_sealed(""));
}
