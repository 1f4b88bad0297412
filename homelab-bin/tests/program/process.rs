//! `homelab server` as a child of the test, and `homelab` as a person runs it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

pub(crate) const TOKEN: &str = "root-token-of-this-test";
/// Longer than any start, so that a test that waits in vain fails.
const START: Duration = Duration::from_secs(60);

/// Any free ports, and logs that a test can read.
pub(crate) const SERVE: [&str; 6] =
    ["server", "--listen", "127.0.0.1:0", "--listen-metrics", "127.0.0.1:0", "--log-json"];

/// A running server; it ends with the test.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) metrics: String,
    pub(crate) token: String,
}

impl Server {
    /// A server in memory.
    pub(crate) fn dev() -> Self {
        let mut command = homelab();
        command.args(SERVE).args(["--dev", "--root-token", TOKEN]);
        Self::start(command, || TOKEN.to_owned())
    }

    /// A server that `command` starts, and the token that it has then.
    pub(crate) fn start(mut command: Command, token: impl FnOnce() -> String) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        let stderr = child.stderr.take().expect("stderr");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Read to the end: a full pipe would stop the server.
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let (mut address, mut metrics, mut said) = (None, None, String::new());
        while address.is_none() || metrics.is_none() {
            let line = lines.recv_timeout(START).unwrap_or_default();
            assert!(!line.is_empty(), "the server did not start: {said}");
            said = said + &line + "\n";
            let Ok(event) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            let fields = &event["fields"];
            let at = fields["address"].as_str().map(|at| format!("http://{at}"));
            match fields["listener"].as_str() {
                Some("secrets") => address = at,
                Some("metrics") => metrics = at,
                _ => {}
            }
        }
        let (address, metrics) = (address.expect("set"), metrics.expect("set"));
        Self { token: token(), child, address, metrics }
    }

    /// `homelab ARGS` with this server's address and token.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = homelab();
        command.env("HOMELAB_ADDR", &self.address).env("HOMELAB_TOKEN", &self.token).args(args);
        command
    }

    /// What it prints, if it goes well.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        good(&self.command(args).output().expect("started"), args)
    }

    /// What the health listener says at `path`, and its status.
    pub(crate) fn health(&self, path: &str) -> (u16, String) {
        let mut stream = connect(&self.metrics);
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    /// The value of a metric by its name and labels; zero if it is not there.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.health("/metrics").1;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().parse::<f64>().map_or(0, |value| value as u64)
    }
}

pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address.trim_start_matches("http://")).expect("connected");
    stream.set_read_timeout(Some(START)).expect("set");
    stream
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, without anything that the person who runs the tests has set.
pub(crate) fn homelab() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homelab"));
    for name in ["ADDR", "TOKEN", "CACERT"] {
        for prefix in ["HOMELAB", "BAO", "VAULT"] {
            command.env_remove(format!("{prefix}_{name}"));
        }
    }
    command.env_remove("VISUAL").env_remove("KUBECONFIG").env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn good(output: &Output, args: &[&str]) -> String {
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
