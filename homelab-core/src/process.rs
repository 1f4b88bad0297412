//! The only place that starts a program: cleared environment, no inherited descriptors, time and output limits, and its
//! whole process group is killed when it runs over or is dropped.
//!
//! Who is killed with SIGKILL can not kill in turn. What it has started then ends with its container, where it is the
//! first process, or with its systemd unit, whose control group goes; of a daemon started by hand it runs to its own end.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::class::Class;

mod execute;

pub use execute::kill_running;

/// A program to run once.
#[derive(Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    timeout: Duration,
    output_limit: usize,
    cwd: Option<PathBuf>,
}

impl std::fmt::Debug for Program {
    /// Only the program's path: arguments, environment and input may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Program {
    /// The program at `path`, without arguments, environment and input, for 60 s and 16 MiB of output at most. A bare
    /// name is looked for on our own PATH.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(60),
            output_limit: 16 << 20,
            cwd: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// One variable of its environment, which is empty otherwise (also without `PATH` and `HOME`).
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// What it reads; nothing by default.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may run.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many bytes it may write to stdout; more is an error. Of stderr as many are kept.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// The folder it runs in.
    #[must_use]
    pub fn cwd(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cwd = Some(folder.into());
        self
    }

    /// Runs it to its end; a bad exit status is in the output, not an error.
    pub async fn run(self) -> Result<Output, ProcessError> {
        execute::run(self).await
    }

    /// Runs it to its end; a bad exit status is an error with the end of its stderr.
    pub async fn run_ok(self) -> Result<Output, ProcessError> {
        let program = self.name();
        let output = self.run().await?;
        if output.status.success() {
            return Ok(output);
        }
        Err(ProcessError::Failed { program, status: output.status, stderr: output.complaint() })
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// What a program left behind.
#[derive(Clone)]
pub struct Output {
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// The start of what it wrote to stderr.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub status: ExitStatus,
}

impl std::fmt::Debug for Output {
    /// Sizes and status: the output may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Output({} bytes, {} bytes of errors, {})", self.stdout.len(), self.stderr.len(), self.status)
    }
}

impl Output {
    /// stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The end of stderr, trimmed: what a person wants to read when it failed.
    pub fn complaint(&self) -> String {
        const MOST: usize = 2000;
        let text = String::from_utf8_lossy(&self.stderr);
        let text = text.trim();
        let start = text.char_indices().map(|(at, _)| at).find(|at| text.len() - at <= MOST).unwrap_or(0);
        text[start..].to_owned()
    }
}

/// Why a program has no output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It could not be started.
    #[error("can not start {}: is it installed and executable?", .path.display())]
    Start {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ran over its time and was killed.
    #[error("{program} did not end within {} s and was killed", .limit.as_secs_f32())]
    Timeout {
        /// Its name.
        program: String,
        /// Its time.
        limit: Duration,
    },
    /// It wrote too much and was killed.
    #[error("{program} wrote more than {limit} bytes and was killed")]
    Output {
        /// Its name.
        program: String,
        /// What it may write.
        limit: usize,
    },
    /// Its pipes or its end could not be followed.
    #[error("lost track of {program}")]
    Lost {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended badly (only by [`Program::run_ok`]).
    #[error("{program} ended with {status}: {stderr}")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its stderr.
        stderr: String,
    },
}

impl ProcessError {
    /// What it asks of its caller.
    pub fn class(&self) -> Class {
        match self {
            Self::Start { .. } | Self::Output { .. } | Self::Failed { .. } => Class::Invalid,
            Self::Timeout { .. } | Self::Lost { .. } => Class::Retry,
        }
    }
}

#[cfg(test)]
mod tests;
