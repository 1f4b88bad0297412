use super::*;

fn check(name: &str, text: &str) -> String {
    let found = findings(name, text.as_bytes());
    found.iter().map(|finding| format!("{}: {}\n", finding.line, finding.what)).collect()
}

const SEALED: &str = include_str!("../../../../../tests/formats/sealed-file/v1.sealed.yaml");

#[test]
fn a_sealed_file_has_to_be_sealed_whole() {
    assert_eq!(check("a/db.sealed.yaml", SEALED), "");
    insta::assert_snapshot!(check("db.sealed.yaml", "password: hunter2\n"), @"1: not a sealed file: this is no sealed file: a sealed file begins with `homelab: sealed/1`");
    insta::assert_snapshot!(check("db.sealed.yaml", &SEALED.replace("  host:\n", "  host: plain\n")), @"10: not a sealed file: this is not a key on a line of its own with its sealed value on the next; is it a plain value? `homelab seal --in-place FILE` seals a plain file");
}

#[test]
fn secrets_of_kubernetes_are_found_where_they_hold_values() {
    let plain = "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {p: hunter2}\n";
    insta::assert_snapshot!(check("a.yaml", plain), @"5: a Kubernetes Secret with plain values (base64 hides nothing)");
    assert!(
        check("a.json", r#"{"kind": "List", "items": [{"kind": "Secret", "data": {"a": "aHVudGVyMg=="}}]}"#)
            .contains("Kubernetes Secret")
    );
    for fine in [
        "kind: Secret\nmetadata: {name: a}\n",
        "kind: Secret\ndata: {a: \"\"}\n",
        "kind: Secret\nstringData: {a: \"${homelab.secret.a}\"}\n",
        "kind: Secret\ndata: {a: ENC[x]}\nsops: {mac: x}\n",
        "kind: Secret # homelab:allow\nstringData: {a: example}\n",
        "kind: SecretPolicy\ndata: {a: b}\n",
        "{{ if .Values.x }}\nkind: Secret\ndata: {a: {{ .Values.a }}}\n",
    ] {
        assert_eq!(check("a.yaml", fine), "", "{fine}");
    }
    assert_eq!(check("notes.md", plain), "", "text is no manifest");
}

#[test]
fn values_are_guessed_in_config_only_and_can_be_allowed() {
    let random = ["xK9f2Lq8", "Zr4Tn6Wb"].concat();
    let line = format!("a: 1\npassword: {random}\n");
    assert_eq!(check("values.yaml", &line), "2: `password` has a value that looks like a secret\n");
    assert_eq!(check(".env.local", &line.replace(": ", "=")), "2: `password` has a value that looks like a secret\n");
    assert_eq!(check("main.rs", &line), "");
    assert_eq!(check("values.yaml", &format!("password: {random} # homelab:allow\n")), "");
    assert_eq!(findings("a.bin", &[0xff, 0xfe]), vec![]);
}
