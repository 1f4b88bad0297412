//! A server whose audit log has no room left.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command};
use std::time::{Duration, Instant};

use crate::process::{SERVE, Server, homelab, text};

/// A disk of 4 MiB that only this test has, the server on it, and two commands: `fill` and `free`.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs -o size=4m none "$AUDIT"
"$PROGRAM" "$@" & server=$!
while read -r command; do
    case $command in
        fill) dd if=/dev/zero of="$AUDIT/filler" bs=4k 2>/dev/null || true ;;
        free) rm "$AUDIT/filler" ;;
        verify) "$PROGRAM" secrets audit verify --dir "$AUDIT" --key-file "$DATA/store.key" 2>&1 || echo failed ;;
    esac
    echo done
done
kill $server
wait $server || true
"#;

struct Disk {
    server: Server,
    commands: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Disk {
    fn new(folder: &Path) -> Self {
        let (data, audit) = (folder.join("data"), folder.join("audit"));
        std::fs::create_dir(&audit).expect("a folder");
        let program = homelab();
        // With a user of its own it may mount without being root.
        let own_user = if rustix::process::geteuid().is_root() { None } else { Some("--map-root-user") };
        let mut command = Command::new("unshare");
        command.arg("--mount").args(own_user).args(["sh", "-c", SCRIPT, "sh"]).args(SERVE).arg("--no-tls");
        command.arg("--data-dir").arg(&data).arg("--audit-dir").arg(&audit).stdin(std::process::Stdio::piped());
        command.env("PROGRAM", program.get_program()).env("AUDIT", &audit).env("DATA", &data);
        let token = || std::fs::read_to_string(data.join("root-token")).expect("a token").trim().to_owned();
        let mut server = Server::start(command, token);
        let commands = server.child.stdin.take();
        let answers = BufReader::new(server.child.stdout.take().expect("stdout")).lines();
        Self { server, commands, answers }
    }

    fn tell(&mut self, command: &str) -> String {
        writeln!(self.commands.as_mut().expect("open"), "{command}").expect("told");
        let answers = self.answers.by_ref().map(|line| line.expect("a line")).take_while(|line| line != "done");
        answers.collect::<Vec<_>>().join("\n")
    }

    /// Waits until the server says that it is ready, or that it is not.
    fn wait(&self, ready: bool) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let (status, words) = self.server.health("/readyz");
            if (status == 200) == ready {
                return words;
            }
            assert!(Instant::now() < until, "{status} {words}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The script ends the server at the end of its commands.
        drop(self.commands.take());
        let _ = self.server.child.wait();
    }
}

#[test]
fn a_full_audit_log_stops_answers_and_turns_health_red_until_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut disk = Disk::new(folder.path());
    disk.wait(true);
    disk.server.done(&["kv", "put", "kv/web", "k=one"]);
    assert_eq!(disk.server.metric("homelab_audit_blocked"), 0);
    let records = disk.server.metric("homelab_audit_records_total");
    assert!(records > 1 && disk.server.metric("homelab_audit_size_bytes") > 0);

    disk.tell("fill");
    // The records of what is under way still fit into the reserve.
    let refused = (0..100).find_map(|n| {
        let output = disk.server.command(&["kv", "put", "kv/web", &format!("k={n}")]).output().expect("started");
        (!output.status.success()).then(|| text(&output.stderr))
    });
    let refused = refused.expect("writes are refused in the end");
    assert!(refused.contains("the audit log takes no records") && refused.contains("no space is left"), "{refused}");
    let read = disk.server.command(&["kv", "get", "kv/web"]).output().expect("started");
    assert!(!read.status.success() && text(&read.stdout).is_empty(), "a secret left without a record");
    assert!(disk.wait(false).contains("audit"));
    assert_eq!(disk.server.metric("homelab_audit_blocked"), 1);
    assert!(disk.server.metric("homelab_audit_failures_total") > 0);

    disk.tell("free");
    disk.wait(true);
    disk.server.done(&["kv", "put", "kv/web", "k=after"]);
    assert_eq!(disk.server.done(&["kv", "get", "kv/web", "--field", "k"]), "after");
    assert_eq!(disk.server.metric("homelab_audit_blocked"), 0);
    let verified = disk.tell("verify");
    assert!(!verified.contains("failed"), "{verified}");
}
