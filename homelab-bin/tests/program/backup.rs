//! A store that is lost, and comes back from its backup.

use std::path::Path;

use crate::process::{SERVE, Server, homelab, text};

fn serve(data: &Path) -> Server {
    let mut command = homelab();
    command.args(SERVE).arg("--no-tls").arg("--data-dir").arg(data);
    Server::start(command, || std::fs::read_to_string(data.join("root-token")).expect("a token").trim().to_owned())
}

fn refused(command: &mut std::process::Command) -> String {
    let output = command.output().expect("started");
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn a_lost_store_comes_back_from_its_backup_with_versions_policies_and_logins() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let named = |name: &str| path(name).to_str().expect("text").to_owned();
    let server = serve(&path("data"));
    server.done(&["kv", "put", "kv/web/db", "password=planted-one"]);
    server.done(&["kv", "put", "kv/web/db", "password=planted-two"]);

    let (backup, key) = (named("store.backup"), named("data/store.key"));
    let taken = server.command(&["secrets", "backup", &backup, "--verify-recovery", &key]).output().expect("started");
    let said = text(&taken.stderr);
    assert!(taken.status.success() && said.contains("2 of them versions of secrets"), "{said}");
    let slots = server.done(&["secrets", "slots", "list", "-o", "json"]);
    assert!(slots.contains("\"proved\": \"20"), "what was proved is remembered: {slots}");
    assert!(!std::fs::read(&backup).expect("read").windows(7).any(|part| part == b"planted"), "a backup is sealed");

    let over = refused(&mut server.command(&["secrets", "backup", &backup]));
    assert!(over.contains("is there already"), "{over}");
    let nowhere = refused(&mut server.command(&["secrets", "backup", &named("gone/store.backup")]));
    assert!(nowhere.contains("gone/store.backup.part") && nowhere.contains("No such file"), "{nowhere}");
    std::fs::write(path("wrong"), "not the key").expect("written");
    let wrong = ["secrets", "backup", &named("unproved"), "--verify-recovery", &named("wrong")].map(String::from);
    let wrong = refused(&mut server.command(&wrong.each_ref().map(String::as_str)));
    assert!(wrong.contains("open the backup with") && !wrong.contains("not the key"), "{wrong}");
    assert!(!path("unproved").exists() && !path("unproved.part").exists(), "what nobody can open is not kept");
    let stranger = refused(server.command(&["secrets", "backup", &named("stolen")]).env("HOMELAB_TOKEN", "none"));
    assert!(stranger.contains("permission denied") && !path("stolen").exists(), "{stranger}");

    let token = server.token.clone();
    drop(server);
    let restore = |from: &str, to: &str| {
        let mut command = homelab();
        command.args(["secrets", "restore", from, "--data-dir", to]);
        command
    };
    let bytes = std::fs::read(&backup).expect("read");
    std::fs::write(path("cut"), &bytes[..bytes.len() / 2]).expect("written");
    let cut = refused(&mut restore(&named("cut"), &named("again")));
    assert!(cut.contains("ends in the middle") && !path("again/store.redb").exists(), "{cut}");

    let back = restore(&backup, &named("again")).output().expect("started");
    assert!(back.status.success(), "{}", text(&back.stderr));
    let twice = refused(&mut restore(&backup, &named("again")));
    assert!(twice.contains("there is a store already"), "{twice}");
    std::fs::copy(&key, path("again/store.key")).expect("copied");
    // The token is a record of the store, not of the machine: it is the one from before.
    std::fs::write(path("again/root-token"), &token).expect("written");
    let server = serve(&path("again"));
    assert_eq!(server.done(&["kv", "get", "kv/web/db", "--field", "password"]), "planted-two");
    assert_eq!(server.done(&["kv", "get", "kv/web/db", "--version", "1", "--field", "password"]), "planted-one");
    server.done(&["kv", "put", "kv/web/db", "password=planted-three"]);
}
