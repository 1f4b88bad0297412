//! Starting programs: every failure names the command, its exit and what it said last.

use std::{
    ffi::{OsStr, OsString},
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

/// Says something to the person at the terminal; data never goes this way.
pub(crate) fn say(text: impl AsRef<str>) {
    // Who does not listen any more (`2>&1 | head`) need not be told.
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Prints data. A reader that has seen enough (`| head`) is no failure; a full disk is said.
pub(crate) fn print(text: impl AsRef<str>) {
    match writeln!(io::stdout(), "{}", text.as_ref()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => say(format!("stdout can not be written: {error}")),
        _ => {}
    }
}

/// A command to run, and how to speak of it.
pub(crate) struct Cmd {
    inner: Command,
}

impl Cmd {
    /// A command for a program that is looked up on PATH or given by path.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut inner = Command::new(program);
        inner.stdin(Stdio::null());
        Self { inner }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.inner.args(args);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(key, value);
        self
    }

    /// Sets environment variables.
    pub(crate) fn envs(mut self, vars: &[(String, OsString)]) -> Self {
        self.inner.envs(vars.iter().map(|(k, v)| (k, v)));
        self
    }

    /// Runs in a folder.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// The command as one would type it.
    pub(crate) fn text(&self) -> String {
        let words = std::iter::once(self.inner.get_program()).chain(self.inner.get_args());
        words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    /// Hands over the standard library's command, for what this type does not cover.
    pub(crate) fn into_inner(self) -> Command {
        self.inner
    }

    /// Runs it with its output on our stderr (stdout is for data).
    pub(crate) fn run(mut self) -> Result<()> {
        self.inner.stdout(io::stderr());
        let status = self.inner.status().with_context(|| self.no_start())?;
        if !status.success() {
            bail!("`{}` failed: {status}", self.text());
        }
        Ok(())
    }

    /// Runs it silently; what it said is shown only when it fails.
    pub(crate) fn quiet(self) -> Result<()> {
        self.output().map(drop)
    }

    /// Runs it and returns what it printed.
    pub(crate) fn read(self) -> Result<String> {
        let output = self.output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same while its stderr is shown as it comes: for compilers.
    pub(crate) fn read_shown(mut self) -> Result<String> {
        self.inner.stderr(Stdio::inherit());
        let output = self.inner.output().with_context(|| self.no_start())?;
        if !output.status.success() {
            bail!("`{}` failed: {}", self.text(), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it, shows what it says as it comes, and returns whether it succeeded and what it said.
    pub(crate) fn tee(mut self) -> Result<(bool, String)> {
        self.inner.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.inner.spawn().with_context(|| self.no_start())?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let said = thread::scope(|scope| {
            let out = scope.spawn(move || out.map(show).unwrap_or_default());
            let err = err.map(show).unwrap_or_default();
            out.join().unwrap_or_default() + &err
        });
        let status = child.wait().with_context(|| format!("`{}` can not be waited for", self.text()))?;
        Ok((status.success(), said))
    }

    /// Whether it ran and succeeded.
    pub(crate) fn ok(mut self) -> bool {
        self.inner.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }

    fn output(mut self) -> Result<Output> {
        let output = self.inner.output().with_context(|| self.no_start())?;
        self.check(output)
    }

    fn check(&self, output: Output) -> Result<Output> {
        if output.status.success() {
            return Ok(output);
        }
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        Err(anyhow!("`{}` failed: {}\n{}", self.text(), output.status, tail(&String::from_utf8_lossy(&said), 15)))
    }

    fn no_start(&self) -> String {
        format!("`{}` can not be started; is {} installed?", self.text(), self.inner.get_program().to_string_lossy())
    }
}

/// Copies a program's output to ours, line by line.
fn show(from: impl io::Read) -> String {
    let mut said = String::new();
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        say(&*line);
        said.push_str(&line);
        said.push('\n');
    }
    said
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Does something long: says what and about how long it takes, then every half minute that it still runs.
pub(crate) fn during<T>(what: &str, expected: Duration, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format!("{what} (about {}) …", human(expected)));
    let start = Instant::now();
    let (done, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(Duration::from_secs(30)) == Err(mpsc::RecvTimeoutError::Timeout) {
                say(format!("  … {what}: {} of about {}", human(start.elapsed()), human(expected)));
            }
        });
        let result = work();
        drop(done);
        if result.is_ok() {
            say(format!("  {what}: done in {}", human(start.elapsed())));
        }
        result
    })
}

/// Asks again and again until the answer is yes, or says what was waited for and the last reason why not.
pub(crate) fn wait<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => {
                return Err(error.context(format!("{what}: not within {}", human(limit))));
            }
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// A duration as people say it.
pub(crate) fn human(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_its_exit_and_its_words() {
        let error = Cmd::new("sh").args(["-c", "echo no space left >&2; exit 3"]).quiet().unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.contains('3') && error.contains("no space left"), "{error}");
    }

    #[test]
    fn durations_read_well() {
        let said = [1_500, 42_000, 465_000].map(|ms| human(Duration::from_millis(ms)));
        assert_eq!(said, ["1.5 s", "42 s", "7 min 45 s"]);
    }
}
