//! `homelab-agent`: writes a pod's secrets to its memory volume before the pod's own containers start.
//!
//! With `HOMELAB_REFRESH` it is a sidecar instead, which keeps them as new as the secret server has them ([`refresh`]).
//!
//! It runs as the first init container of pods that homelab-secrets' `inject` changed. It logs in with a token of the
//! pod's own ServiceAccount, reads each secret at the exact version in its environment, writes it, and ends. Until that
//! is done the pod does not start: passing trouble is waited out up to a deadline, and each failed try is told on stderr
//! and in the container's termination message, with the path, the cause and what to do, never with a value.
#![expect(clippy::disallowed_methods, reason = "a program of its own: it reads its environment, clock and token file")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "stdout and stderr are its only log")]

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

mod failure;
mod files;
mod refresh;
mod server;
mod value;
mod wish;

use failure::{Failure, Patience};
use server::Server;
use wish::Wish;

/// First wait after a failure; doubled up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a refusal is waited out: a policy or a secret of the same commit may be on its way.
const REFUSAL: Duration = Duration::from_secs(15);
/// Where Kubernetes takes a container's last words from.
const LAST_WORDS: &str = "/dev/termination-log";

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|argument| argument == "--version") {
        println!("homelab-agent {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let done = match std::env::var("HOMELAB_REFRESH") {
        Ok(every) => refresh::run(&every),
        Err(_) => run(Instant::now()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("giving up: {failure}"));
            ExitCode::from(failure.patience.exit_code())
        }
    }
}

fn run(start: Instant) -> Result<(), Failure> {
    let wish = Wish::parse(&setting("HOMELAB_SECRETS")?)?;
    let deadline = match std::env::var("HOMELAB_DEADLINE").map(|text| text.parse()) {
        Ok(Ok(seconds)) => Duration::from_secs(seconds),
        Ok(Err(_)) => return Err(Failure::fixed("HOMELAB_DEADLINE is no number of seconds")),
        Err(_) => Duration::from_secs(120),
    };
    let (root, token) = places();
    let mut server = Server::new(&setting("HOMELAB_ADDR")?, &setting("HOMELAB_CA")?)?;
    let mut wait = FIRST_WAIT;
    let mut done = 0;
    loop {
        let Err(failure) = attempt(&mut server, &wish, token.as_ref(), root.as_ref(), &mut done) else { return Ok(()) };
        let limit = match failure.patience {
            Patience::None => return Err(failure),
            Patience::Short => deadline.min(REFUSAL),
            Patience::Long => deadline,
        };
        if start.elapsed() + wait > limit {
            return Err(failure);
        }
        say(&format!("waiting {} ms: {failure}", wait.as_millis()));
        sleep(wait);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Logs in where needed and goes on with the first secret that is not written yet.
fn attempt(
    server: &mut Server,
    wish: &Wish,
    token: &std::path::Path,
    root: &std::path::Path,
    done: &mut usize,
) -> Result<(), Failure> {
    for secret in wish.secrets.iter().skip(*done) {
        server.log_in_with(token)?;
        let answer = server.read(&secret.path, secret.version)?;
        files::write(root, wish.mode, secret, &answer.open(secret)?)?;
        *done += 1;
    }
    Ok(())
}

/// The volume in memory, and the file with the token.
fn places() -> (OsString, OsString) {
    let of = |name, usual: &str| std::env::var_os(name).unwrap_or_else(|| usual.into());
    (of("HOMELAB_ROOT", "/homelab/secrets"), of("HOMELAB_TOKEN_FILE", "/var/run/secrets/homelab.dev/token"))
}

fn setting(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| {
        Failure::fixed(format!("{name} is not set: this program runs as an init container that homelab adds to a pod"))
    })
}

/// Tells it to whoever reads the log and to whoever describes the pod.
fn say(line: &str) {
    eprintln!("homelab-agent: {line}");
    if let Ok(mut file) = std::fs::OpenOptions::new().write(true).truncate(true).open(LAST_WORDS) {
        let _ = file.write_all(line.as_bytes());
    }
}
