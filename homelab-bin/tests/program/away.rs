//! A server that does not answer.

use std::net::TcpListener;

use crate::process::{homelab, text};

#[test]
fn it_is_said_who_is_waited_for_and_what_to_do() {
    // Takes connections and says nothing, as a process that hangs does.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    let mut command = homelab();
    command.env("HOMELAB_ADDR", &address).env("HOMELAB_TOKEN", "t");
    let output = command.args(["kv", "get", "kv/web", "--request-timeout", "4s"]).output().expect("started");
    let words = text(&output.stderr);
    assert!(!output.status.success());
    assert!(words.starts_with(&format!("waiting for the secret server at {address} …\n")), "{words}");
    assert!(
        words.contains(
            "has not answered in 4s; see whether it runs (`homelab status`), or wait longer with --request-timeout"
        ),
        "{words}"
    );
    let mut write = homelab();
    write.env("HOMELAB_ADDR", &address).env("HOMELAB_TOKEN", "t");
    let output = write.args(["kv", "put", "kv/web", "k=hunter2", "--request-timeout", "1s"]).output().expect("started");
    let words = text(&output.stderr);
    assert!(words.contains("whether what was asked is done") && !words.contains("hunter2"), "{words}");

    drop(silent);
    let output = homelab()
        .env("HOMELAB_ADDR", &address)
        .env("HOMELAB_TOKEN", "t")
        .args(["kv", "get", "kv/web"])
        .output()
        .expect("started");
    let words = text(&output.stderr);
    assert!(words.contains("Connection refused") && words.contains("is the server there"), "{words}");
}
