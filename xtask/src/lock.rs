//! One process at a time: locks that a crash gives back.

use std::{fs::File, os::fd::AsFd as _};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::{paths, shell::say};

/// Held as long as the value lives; the kernel gives it back when the process dies.
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock of this name, and says so if another process has it.
pub(crate) fn take(name: &str) -> Result<Lock> {
    let path = paths::in_cache("locks")?.join(name);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("lock {} can not be opened; check its owner", path.display()))?;
    if flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err() {
        say(format!("waiting for another xtask that holds the lock `{name}` …"));
        flock(file.as_fd(), FlockOperation::LockExclusive)
            .with_context(|| format!("lock {} can not be taken", path.display()))?;
    }
    Ok(Lock { _file: file })
}
