//! The program `homelab` with the real git and an open store behind it: what a person with a checkout goes through.
#![expect(clippy::disallowed_methods, reason = "tests run git and homelab in a folder of their own")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use homelab_secrets::backend::System;
use homelab_secrets::backend::memory::Memory;
use homelab_secrets::keys::{SlotKey, Unlock};
use homelab_secrets::policy::PolicySet;
use homelab_secrets::server::{ServerConfig, ServerState, router};
use homelab_secrets::store::SecretStore;

const TOKEN: &str = "root-of-this-test";

/// A checkout and a secret server.
struct Home {
    folder: tempfile::TempDir,
    address: String,
    _server: tokio::runtime::Runtime,
}

impl Home {
    fn new() -> Self {
        homelab_bin::install_crypto();
        let server = tokio::runtime::Runtime::new().expect("a runtime");
        let address = server.block_on(serve());
        let home = Self { folder: tempfile::tempdir().expect("a folder"), address, _server: server };
        home.done("git", &["init", "--quiet", "--initial-branch=main"]);
        home.done("git", &["config", "user.name", "t"]);
        home.done("git", &["config", "user.email", "t@t"]);
        home.done("homelab", &["seal", "--install", "--repository", "home"]);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("read")
    }

    fn command(&self, program: &str) -> Command {
        let own = Path::new(env!("CARGO_BIN_EXE_homelab"));
        let path = std::env::var("PATH").expect("a PATH");
        let path = format!("{}:{path}", own.parent().expect("a folder").display());
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("PATH", path).env("HOME", self.folder.path());
        command.env("HOMELAB_ADDR", &self.address).env("HOMELAB_TOKEN", TOKEN).env_remove("VISUAL");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").env("LC_ALL", "C");
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        self.command(program).args(args).output().expect("started")
    }

    fn done(&self, program: &str, args: &[&str]) -> String {
        good(&self.run(program, args), args)
    }

    fn refused(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        assert!(!output.status.success(), "{args:?} went well");
        text(&output.stdout) + &text(&output.stderr)
    }

    fn edit(&self, editor: &str, file: &str) -> Output {
        self.command("homelab").env("EDITOR", editor).args(["edit", file]).output().expect("started")
    }

    fn commit(&self, message: &str) {
        self.done("git", &["add", "--all"]);
        self.done("git", &["commit", "--quiet", "--message", message]);
    }

    /// Seals `db.sealed.yaml` with these lines of YAML, and commits it.
    fn sealed(&self, plain: &str, message: &str) {
        self.write("db.sealed.yaml", plain);
        self.done("homelab", &["seal", "--in-place", "db.sealed.yaml"]);
        self.commit(message);
    }
}

async fn serve() -> String {
    let host = Arc::new(System);
    let key = SlotKey::generate(&|buffer| homelab_secrets::backend::Host::random(&System, buffer)).expect("a key");
    let backend = Arc::new(Memory::default());
    let store = SecretStore::open_or_init(backend, Unlock::KeyFile(key), host.clone()).await.expect("a store");
    let policy = Arc::new(PolicySet::default());
    let config = ServerConfig { store, policy, host, kubernetes: None };
    let app = router(ServerState::new(config, Some(TOKEN)).expect("a server"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn good(output: &Output, args: &[&str]) -> String {
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_plain_file_is_sealed_opened_and_shown_by_git() {
    let home = Home::new();
    home.write("db.yaml", "user: web\npassword: hunter2\n");
    home.done("homelab", &["seal", "db.yaml"]);
    let sealed = home.read("db.sealed.yaml");
    assert!(!sealed.contains("hunter2") && sealed.contains("path: db\n") && sealed.contains("repository: home\n"));
    home.done("homelab", &["seal", "db.yaml"]);
    assert_eq!(home.read("db.sealed.yaml"), sealed, "sealed again it is the same");
    assert_eq!(home.done("homelab", &["seal", "--open", "db.sealed.yaml"]), "password: hunter2\nuser: web\n");
    std::fs::remove_file(home.path("db.yaml")).expect("removed");
    home.commit("first");

    good(&home.edit("sed -i s/hunter2/hunter3/", "db.sealed.yaml"), &["edit"]);
    let stat = home.done("git", &["diff", "--numstat", "--no-textconv"]);
    assert_eq!(stat.split_whitespace().collect::<Vec<_>>(), ["1", "1", "db.sealed.yaml"]);
    let diff = home.done("git", &["diff"]);
    assert!(diff.contains("-password: hunter2\n+password: hunter3\n"), "{diff}");
    let away = home.command("git").env("HOMELAB_TOKEN", "wrong").arg("diff").output().expect("started");
    let shown = good(&away, &["diff"]);
    assert!(shown.contains("+    e1.") && !shown.contains("hunter"), "{shown}");
    let why = text(&away.stderr);
    assert!(why.contains("shown sealed: open git/home/db") && why.contains("permission denied"), "{why}");

    home.done("homelab", &["seal", "--path", "web/db", "db.sealed.yaml"]);
    assert!(home.read("db.sealed.yaml").contains("path: web/db\n"));
    assert!(home.done("homelab", &["seal", "--open", "db.sealed.yaml"]).contains("hunter3"));
    home.write("db.sealed.yaml", &home.read("db.sealed.yaml").replace("path: web/db", "path: db"));
    let error = home.refused("homelab", &["seal", "--open", "db.sealed.yaml"]);
    assert!(error.contains("`password` was sealed for another field, path or repository"), "{error}");
}

#[test]
fn nothing_plain_is_written_over_and_names_are_kept() {
    let home = Home::new();
    home.write("a.yaml", "k: v\n");
    home.write("a.sealed.yaml", "k: plain\n");
    assert!(home.refused("homelab", &["seal", "a.yaml"]).contains("exists and is not sealed"));
    assert_eq!(home.read("a.sealed.yaml"), "k: plain\n");
    assert!(home.refused("homelab", &["seal", "--in-place", "a.yaml"]).contains("ends in .sealed.yaml"));
    assert!(home.refused("homelab", &["seal", "a.sealed.yaml"]).contains("--in-place"));
    home.done("homelab", &["seal", "--in-place", "a.sealed.yaml"]);
    assert!(home.refused("homelab", &["seal", "a.sealed.yaml"]).contains("is sealed already"));
    let other = home.refused("homelab", &["seal", "--repository", "other", "--out", "b.sealed.yaml", "a.yaml"]);
    assert!(other.contains("the store has no repository other"), "{other}");
}

#[test]
fn an_edit_that_changes_nothing_writes_nothing_and_a_mistake_comes_up_again() {
    let home = Home::new();
    home.sealed("password: hunter2\n", "first");
    let before = home.read("db.sealed.yaml");
    let same = home.edit("true", "db.sealed.yaml");
    assert!(text(&same.stderr).contains("is unchanged"), "{}", text(&same.stderr));
    let broken = home.edit("false", "db.sealed.yaml");
    assert!(!broken.status.success() && text(&broken.stderr).contains("nothing was changed"));

    // Breaks the text at first, and mends it when it comes up again with the reason.
    home.write("mend", "#!/bin/sh\nif grep -q '^#: the text is not YAML' \"$1\"; then printf 'password: mended\\n' > \"$1\"\nelse printf 'password: [hunter4\\n' > \"$1\"; fi\n");
    good(&home.edit("sh ./mend", "db.sealed.yaml"), &["edit"]);
    assert_eq!(home.done("homelab", &["seal", "--open", "db.sealed.yaml"]), "password: mended\n");
    home.done("git", &["checkout", "--quiet", "db.sealed.yaml"]);

    // Breaks it and leaves it so.
    home.write("break", "#!/bin/sh\ngrep -q '^#: the text' \"$1\" || printf 'password: [hunter4\\n' > \"$1\"\n");
    let left = home.edit("sh ./break", "db.sealed.yaml");
    let words = text(&left.stderr);
    assert!(!left.status.success() && !words.contains("hunter4"), "{words}");
    let (_, kept) = words.split_once("is kept in ").expect("says where");
    let kept = PathBuf::from(kept.split_once(':').expect("a path").0);
    assert!(std::fs::read_to_string(&kept).expect("kept").contains("hunter4"));
    std::fs::remove_dir_all(kept.parent().expect("a folder")).expect("removed");
    assert_eq!(home.read("db.sealed.yaml"), before);

    good(&home.edit("sh -c 'printf \"a: b\\n\" > \"$1\"' -", "new.sealed.yaml"), &["edit"]);
    assert_eq!(home.done("homelab", &["seal", "--open", "new.sealed.yaml"]), "a: b\n");
}

#[test]
fn the_check_stands_in_front_of_a_commit_and_setting_up_again_changes_nothing() {
    let home = Home::new();
    let (attributes, hook) = (home.read(".gitattributes"), home.read(".git/hooks/pre-commit"));
    let config = home.read(".git/config");
    home.done("homelab", &["seal", "--install"]);
    assert_eq!((home.read(".gitattributes"), home.read(".git/hooks/pre-commit")), (attributes, hook));
    assert_eq!(home.read(".git/config"), config);
    assert_eq!(home.done("git", &["config", "diff.homelab.cachetextconv"]), "false\n");

    home.write("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {p: hunter2}\n");
    home.write("db.sealed.yaml", "password: hunter2\n");
    home.done("git", &["add", "--all"]);
    let refused = home.refused("git", &["commit", "--message", "plain"]);
    assert!(
        refused.contains("secret.yaml:2: a Kubernetes Secret")
            && refused.contains("db.sealed.yaml:1: not a sealed file")
    );
    assert!(!refused.contains("hunter2"), "{refused}");
    home.done("git", &["rm", "--quiet", "--cached", "secret.yaml"]);
    home.done("homelab", &["seal", "--in-place", "db.sealed.yaml"]);
    home.done("git", &["add", "db.sealed.yaml"]);
    home.done("git", &["commit", "--quiet", "--message", "sealed"]);
    home.done("homelab", &["seal", "--check"]);
    assert!(
        home.refused("homelab", &["seal", "--check", "secret.yaml"]).contains("secret.yaml:2"),
        "not tracked, but named"
    );

    let foreign = "#!/bin/sh\nexit 0\n";
    home.write(".git/hooks/pre-commit", foreign);
    let said = home.run("homelab", &["seal", "--install"]);
    assert!(text(&said.stderr).contains("add this line to"), "{}", text(&said.stderr));
    assert_eq!(home.read(".git/hooks/pre-commit"), foreign);
}

#[test]
fn git_merges_by_field_and_leaves_what_two_people_changed() {
    let home = Home::new();
    home.sealed("host: db\npassword: one\n", "base");
    let branch = |name: &str, plain: &str| {
        home.done("git", &["checkout", "--quiet", "-b", name, "main"]);
        home.sealed(plain, name);
    };
    branch("zone", "host: db\npassword: one\nzone: eu\n");
    branch("other", "host: db\npassword: two\n");
    home.done("git", &["checkout", "--quiet", "main"]);
    home.sealed("host: db\npassword: one\nuser: web\n", "a user, where the zone comes too");
    home.done("git", &["merge", "--quiet", "--message", "merge", "zone"]);
    let opened = home.done("homelab", &["seal", "--open", "db.sealed.yaml"]);
    assert_eq!(opened, "host: db\npassword: one\nuser: web\nzone: eu\n");

    home.sealed("host: db\npassword: three\nuser: web\nzone: eu\n", "another password");
    let conflict = home.refused("git", &["merge", "--message", "merge", "other"]);
    assert!(conflict.contains("both sides changed password") && conflict.contains("CONFLICT"), "{conflict}");
    assert!(home.read("db.sealed.yaml").contains("<<<<<<< ours"));
    home.done("git", &["add", "--all"]);
    assert!(home.refused("git", &["commit", "--message", "unresolved"]).contains("Git left a conflict here"));
}

#[test]
fn a_new_epoch_reseals_all_files_of_a_checkout_at_once() {
    let home = Home::new();
    home.sealed("password: hunter2\n", "one");
    home.write("api.json", r#"{"key": "hunter3"}"#);
    home.done("homelab", &["seal", "--path", "web/api", "api.json"]);
    std::fs::remove_file(home.path("api.json")).expect("removed");
    home.commit("two");
    let clean = home.read("db.sealed.yaml");
    home.write("db.sealed.yaml", &clean.replace("  password:", "  passwort:"));
    assert!(home.refused("homelab", &["secrets", "rotate", "--git"]).contains("not committed"));
    home.commit("broken");
    let broken = home.refused("homelab", &["secrets", "rotate", "--git"]);
    assert!(broken.contains("`passwort` was sealed for another field"), "{broken}");
    home.write("db.sealed.yaml", &clean);
    home.commit("mended");
    home.done("homelab", &["secrets", "rotate", "--git"]);
    for (file, value) in [("db.sealed.yaml", "hunter2"), ("api.sealed.yaml", "hunter3")] {
        assert!(home.read(file).contains("    e2.") && !home.read(file).contains("    e1."), "{file}");
        assert!(home.done("homelab", &["seal", "--open", file]).contains(value));
    }
    home.commit("rotated");
    let log = home.done("git", &["log", "--patch", "--reverse", "--", "api.sealed.yaml"]);
    assert!(log.contains("+key: hunter3"), "earlier commits still open: {log}");
}
