//! Secrets that leave one store and come into another, and secrets of other programs that come in.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Server, good, text};

/// In every value, and never in what is said.
const PLANTED: &str = "planted";

struct Place {
    folder: TempDir,
    server: Server,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), server: Server::dev() }
    }

    fn put(&self, name: &str, text: &str) {
        let file = self.folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("read")
    }

    /// `homelab secrets ARGS` in the folder. What it says holds no value.
    fn secrets(&self, args: &[&str]) -> Output {
        let mut command = self.server.command(&[&["secrets"], args].concat());
        let output = command.current_dir(self.folder.path()).output().expect("started");
        for said in [&output.stdout, &output.stderr] {
            assert!(args.contains(&"export") || !text(said).contains(PLANTED), "{args:?}: {}", text(said));
        }
        output
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.secrets(args);
        good(&output, args) + &text(&output.stderr)
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.secrets(args);
        assert!(!output.status.success(), "{args:?}: {}", text(&output.stdout));
        text(&output.stdout) + &text(&output.stderr)
    }

    fn kv(&self, args: &[&str]) -> String {
        self.server.done(&[&["kv"], args].concat())
    }

    fn history(&self, path: &str) -> Vec<(u64, &'static str)> {
        let shown: Value = serde_json::from_str(&self.kv(&["history", path, "-o", "json"])).expect("JSON");
        let state = |version: &Value| match (version["destroyed"] == true, version["deleted"].is_string()) {
            (true, _) => "destroyed",
            (false, true) => "deleted",
            (false, false) => "live",
        };
        let versions = shown["versions"].as_array().expect("versions");
        versions.iter().map(|version| (version["version"].as_u64().expect("a number"), state(version))).collect()
    }

    fn field(&self, path: &str, version: u64) -> String {
        self.kv(&["get", path, "--version", &version.to_string(), "--field", "k"])
    }
}

fn filled() -> Place {
    let place = Place::new();
    for version in 1..=4 {
        place.kv(&["put", "kv/web/db", &format!("k=planted-{version}")]);
    }
    place.kv(&["delete", "kv/web/db", "--versions", "2"]);
    place.kv(&["destroy", "kv/web/db", "--versions", "3"]);
    place.kv(&["put", "kv/odd ?name%", "k=planted-odd"]);
    place
}

#[test]
fn a_store_is_exported_and_comes_back_with_its_versions() {
    let place = filled();
    let said = place.done(&["export", "all.export"]);
    assert!(said.contains("2 secrets with 5 versions") && said.contains("in the clear"), "{said}");
    assert!(said.contains("2 versions in it without values"), "{said}");
    let mode = place.folder.path().join("all.export").metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!place.folder.path().join("all.export.part").exists());
    let again = place.refused(&["export", "all.export"]);
    assert!(again.contains("is there already"), "{again}");
    assert_eq!(place.done(&["export", "-", "--mount", "kv/web"]).matches("\"path\"").count(), 1);

    let unchanged = place.done(&["import", "all.export"]);
    assert!(unchanged.matches("unchanged").count() == 2 && unchanged.contains("0 secrets written"), "{unchanged}");

    let copy = Place { server: Server::dev(), ..place };
    let planned = copy.done(&["import", "all.export", "--dry-run"]);
    assert!(planned.matches("create").count() == 2 && planned.contains("nothing was written"), "{planned}");
    assert!(text(&copy.server.command(&["kv", "list", "kv"]).output().expect("started").stderr).contains("nothing"));
    // From here on the server refuses what does not name the version that it follows.
    http(&copy.server, "kv/config", &json!({"cas_required": true}));
    copy.done(&["import", "all.export"]);
    assert_eq!(copy.history("kv/web/db"), [(1, "live"), (2, "destroyed"), (3, "destroyed"), (4, "live")]);
    assert_eq!((copy.field("kv/web/db", 1), copy.field("kv/web/db", 4)), ("planted-1".into(), "planted-4".into()));
    assert_eq!(copy.kv(&["get", "kv/odd ?name%", "--field", "k"]), "planted-odd");
    let again = copy.done(&["import", "all.export", "-o", "json"]);
    assert!(again.contains("\"format\": 1") && again.matches("\"unchanged\"").count() == 2, "{again}");
}

#[test]
fn an_import_goes_on_where_one_was_cut_off_and_writes_over_nothing() {
    let place = filled();
    place.done(&["export", "all.export"]);
    let copy = Place { server: Server::dev(), ..place };
    // As if it had stopped after the second version, which was not taken away yet.
    copy.kv(&["put", "kv/web/db", "k=planted-1"]);
    let empty = copy.server.command(&["kv", "put", "kv/web/db", "-"]).stdin(std::process::Stdio::piped()).spawn();
    let mut empty = empty.expect("started");
    std::io::Write::write_all(&mut empty.stdin.take().expect("stdin"), b"{}").expect("written");
    assert!(empty.wait().expect("ended").success());
    let said = copy.done(&["import", "all.export"]);
    assert!(said.contains("complete"), "{said}");
    assert_eq!(copy.history("kv/web/db"), [(1, "live"), (2, "destroyed"), (3, "destroyed"), (4, "live")]);

    let other = Place { server: Server::dev(), ..copy };
    other.kv(&["put", "kv/web/db", "k=planted-other"]);
    let conflict = other.refused(&["import", "all.export"]);
    assert!(conflict.contains("its version 1 has other values") && conflict.contains("--overwrite"), "{conflict}");
    assert_eq!(other.field("kv/web/db", 1), "planted-other");
    assert_eq!(other.kv(&["get", "kv/odd ?name%", "--field", "k"]), "planted-odd", "the others come in");
    other.done(&["import", "all.export", "--overwrite"]);
    assert_eq!(
        (other.field("kv/web/db", 1), other.field("kv/web/db", 2)),
        ("planted-other".into(), "planted-4".into())
    );
    other.done(&["import", "all.export", "--overwrite"]);
    assert_eq!(other.history("kv/web/db").len(), 2, "once is enough");
}

#[test]
fn of_a_bad_file_nothing_is_written() {
    let place = filled();
    place.done(&["export", "all.export"]);
    let whole = place.read("all.export");
    let copy = Place { server: Server::dev(), ..place };
    copy.put("cut", &whole[..whole.len() / 2]);
    copy.put("trick", &whole.replace("kv/web/db", "kv/web/../db"));
    copy.put("sealed", &whole.replace("kv/web/db", "git/web/db"));
    copy.put("mount", &whole.replace("kv/web/db", "other/web/db"));
    for (file, words) in [
        ("cut", "import cut: the export ends in the middle"),
        ("trick", "`.` and `..` are not allowed"),
        ("sealed", "sealed files in Git"),
        ("mount", "there is no mount other"),
        ("gone", "import gone: it can not be read as text: No such file"),
    ] {
        let said = copy.refused(&["import", file]);
        assert!(said.contains(words), "{said}");
    }
    let listed = copy.server.command(&["kv", "list", "kv"]).output().expect("started");
    assert!(text(&listed.stderr).contains("nothing"), "{}", text(&listed.stdout));
}

#[test]
fn an_export_names_what_may_not_be_read() {
    let place = filled();
    let policy = r#"
        path "kv/metadata/*" { capabilities = ["read", "list"] }
        path "kv/metadata" { capabilities = ["list"] }
        path "kv/data/web/*" { capabilities = ["read"] }
    "#;
    http(&place.server, "sys/policies/acl/some", &json!({"policy": policy}));
    let made = http(&place.server, "auth/token/create", &json!({"policies": ["some"]}));
    let token = made["auth"]["client_token"].as_str().expect("a token");
    let run = |args: &[&str]| {
        let mut command = place.server.command(&[&["secrets", "export"], args].concat());
        command.current_dir(place.folder.path()).env("HOMELAB_TOKEN", token).output().expect("started")
    };
    let output = run(&["some.export"]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("1 could not be read: kv/odd ?name%"), "{said}");
    assert!(!place.folder.path().join("some.export").exists());
    good(&run(&["some.export", "--skip-unreadable"]), &["export"]);
    let copy = Place { server: Server::dev(), ..place };
    let said = copy.done(&["import", "some.export"]);
    assert!(said.contains("could not read it: kv/odd ?name%"), "{said}");
}

/// One request of the API.
fn http(server: &Server, path: &str, body: &Value) -> Value {
    use std::io::{Read as _, Write as _};
    let mut stream = crate::process::connect(&server.address);
    let body = body.to_string();
    let head = format!(
        "POST /v1/{path} HTTP/1.1\r\nHost: h\r\nX-Vault-Token: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        server.token,
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    serde_json::from_str(answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)).unwrap_or_default()
}

fn answer(value: &str) -> Value {
    json!({
        "request_id": "1d2c9f5e-6c5e-4e6a-8c62-6b1b8a7c0a11", "lease_id": "", "lease_duration": 0, "renewable": false,
        "data": {
            "data": {"k": value},
            "metadata": {
                "created_time": "2026-11-24T08:15:30.123456789Z", "custom_metadata": {"owner": "anna"},
                "deletion_time": "", "destroyed": false, "version": 7,
            },
        },
        "warnings": null, "mount_type": "kv",
    })
}

#[test]
fn what_bao_and_vault_print_comes_in() {
    let place = Place::new();
    place.put("db.json", &format!("{:#}\n", answer("planted-1")));
    let nameless = place.refused(&["import", "db.json"]);
    assert!(nameless.contains("--to MOUNT/PATH"), "{nameless}");
    place.done(&["import", "db.json", "--to", "kv/web/db"]);
    place.done(&["import", "db.json", "--to", "kv/after/", "--from", "vault"]);
    assert_eq!((place.field("kv/web/db", 1), place.field("kv/after/db", 1)), ("planted-1".into(), "planted-1".into()));
    let many =
        format!("{}\n{}\n", json!({"secret/a": answer("planted-a")}), json!({"secret/x/b": answer("planted-b")}));
    place.put("many.json", &many);
    place.done(&["import", "many.json", "--to", "kv/old"]);
    assert_eq!((place.field("kv/old/a", 1), place.field("kv/old/x/b", 1)), ("planted-a".into(), "planted-b".into()));
    place.put("db.json", &answer("planted-2").to_string());
    assert!(place.refused(&["import", "db.json", "--to", "kv/web/db"]).contains("conflict"));
    place.done(&["import", "db.json", "--to", "kv/web/db", "--overwrite"]);
    assert_eq!(place.field("kv/web/db", 2), "planted-2");
}

#[test]
fn secrets_of_kubernetes_come_in() {
    let place = Place::new();
    let secret = |name: &str, values: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: web}}\n{values}\n")
    };
    // "planted-1" in base64
    let yaml = [secret("db", "data: {k: cGxhbnRlZC0x}"), secret("api", "stringData: {k: planted-2}")].join("---\n");
    place.put("secrets.yaml", &yaml);
    place.done(&["import", "secrets.yaml"]);
    assert_eq!((place.field("kv/web/db", 1), place.field("kv/web/api", 1)), ("planted-1".into(), "planted-2".into()));
    place.put("binary.yaml", &secret("db", "data: {ok: cGxhbnRlZC0x, store: /w==}"));
    let binary = place.refused(&["import", "binary.yaml"]);
    assert!(binary.contains("Secret web/db: data.store is not UTF-8"), "{binary}");
}

const SEALED: &str = "k: ENC[AES256_GCM,data:eA==]\nsops:\n  mac: ENC[x]\n  version: 3.11.0\n";

/// A program in the place of sops: whoever has a real key has real secrets.
fn stand_in(place: &Place, script: &str) {
    place.put("bin/sops", &format!("#!/bin/sh\n{script}\n"));
    let file = place.folder.path().join("bin/sops");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).expect("set");
}

fn with_path(place: &Place, path: &Path, args: &[&str]) -> Output {
    let mut command = place.server.command(&[&["secrets", "import"], args].concat());
    command.current_dir(place.folder.path()).env("PATH", path).output().expect("started")
}

#[test]
fn files_of_sops_are_opened_by_sops() {
    let place = Place::new();
    place.put("web/db.enc.yaml", SEALED);
    place.put("web/k8s.yaml", SEALED);
    std::fs::create_dir(place.folder.path().join("none")).expect("made");
    let none = with_path(&place, &place.folder.path().join("none"), &["web/db.enc.yaml", "--to", "kv/"]);
    let said = text(&none.stderr);
    assert!(!none.status.success() && said.contains("no program `sops`") && said.contains("install it"), "{said}");

    let bin = place.folder.path().join("bin");
    stand_in(
        &place,
        r#"[ "$*" = "-d --input-type yaml --output-type json web/db.enc.yaml" ] && echo '{"k": "planted-1"}'"#,
    );
    good(&with_path(&place, &bin, &["web/db.enc.yaml", "--to", "kv/"]), &["import"]);
    assert_eq!(place.field("kv/web/db", 1), "planted-1");
    let kubernetes = r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "n"}, "stringData": {"k": "planted-2"}}"#;
    stand_in(&place, &format!("echo '{kubernetes}'"));
    good(&with_path(&place, &bin, &["web/k8s.yaml"]), &["import"]);
    assert_eq!(place.field("kv/n/x", 1), "planted-2");
    for (script, words) in
        [("echo planted", "no JSON"), ("echo 'no identity matched' >&2; exit 128", "no identity matched")]
    {
        stand_in(&place, script);
        let output = with_path(&place, &bin, &["web/db.enc.yaml", "--to", "kv/"]);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(words) && !said.contains(PLANTED), "{said}");
    }
}
