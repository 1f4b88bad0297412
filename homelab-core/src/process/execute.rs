//! Starting, feeding, reading and killing a program.
#![expect(clippy::disallowed_methods, reason = "this is the place that starts programs")]

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{Output, ProcessError, Program};

/// Process groups that run now.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Kills every program that runs now, for the way out: a process that exits drops nothing.
pub fn kill_running() {
    for group in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        kill(*group);
    }
}

fn kill(group: i32) {
    if let Some(pid) = Pid::from_raw(group) {
        // It may have just ended by itself.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// A started program's process group, killed on drop unless it ended by itself.
struct Group {
    id: i32,
    ended: bool,
}

impl Group {
    fn of(child: &Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        Some(Self { id, ended: false })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        if !self.ended {
            kill(self.id);
        }
    }
}

pub(super) async fn run(program: Program) -> Result<Output, ProcessError> {
    let mut command = Command::new(find(&program));
    command.args(&program.args).env_clear().envs(program.env.iter().map(|(k, v)| (k, v)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    if let Some(folder) = &program.cwd {
        command.current_dir(folder);
    }
    let child = command.spawn().map_err(|source| ProcessError::Start { path: program.path.clone(), source })?;
    let group = Group::of(&child);
    let (name, limit, time) = (program.name(), program.output_limit, program.timeout);
    match tokio::time::timeout(time, follow(child, group, program.stdin, limit)).await {
        Err(_) => Err(ProcessError::Timeout { program: name, limit: time }),
        Ok(Err(source)) if source.kind() == io::ErrorKind::FileTooLarge => {
            Err(ProcessError::Output { program: name, limit })
        }
        Ok(Err(source)) => Err(ProcessError::Lost { program: name, source }),
        Ok(Ok(output)) => Ok(output),
    }
}

/// A bare name is looked for on our own PATH: the program's environment is empty, and need not say where it is itself.
fn find(program: &Program) -> PathBuf {
    let is_bare = program.path.components().count() == 1 && program.path.is_relative();
    if !is_bare || program.env.iter().any(|(key, _)| key == "PATH") {
        return program.path.clone();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = |folder: PathBuf| folder.join(&program.path);
    std::env::split_paths(&path).map(named).find(|file| Path::is_file(file)).unwrap_or_else(|| program.path.clone())
}

/// Owns `group`, so that however this future ends, nothing of the program is left.
async fn follow(mut child: Child, group: Option<Group>, input: Vec<u8>, limit: usize) -> io::Result<Output> {
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async move {
        if let Some(pipe) = &mut stdin {
            // A program that does not want its input closes the pipe; its exit status tells whether that was right.
            let _ = pipe.write_all(&input).await;
        }
        Ok(())
    };
    let ((), stdout, stderr) = tokio::try_join!(feed, read_all(stdout, limit), read_start(stderr, limit))?;
    let status = child.wait().await?;
    if let Some(mut group) = group {
        group.ended = true;
    }
    Ok(Output { stdout, stderr, status })
}

/// Everything, or an error beyond `limit`.
async fn read_all(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(pipe) = pipe else { return Ok(bytes) };
    pipe.take(limit as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// The first `limit` bytes; the rest is read and dropped, so that the program does not block.
async fn read_start(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(bytes) };
    (&mut pipe).take(limit as u64).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(bytes)
}
