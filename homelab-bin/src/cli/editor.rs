//! A person's own editor on text that must not stay anywhere: a file only they can read, in memory where there is such a
//! folder, wiped and removed in the end.
#![expect(
    clippy::disallowed_methods,
    reason = "an editor needs this person's terminal and environment, which homelab-core's process takes away"
)]

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::output;
use super::seal::{Plain, from_yaml};

/// Begins the lines that we put in front of the text.
const MARK: &str = "#: ";

/// The line in front of the text of the secret `name`.
pub(super) fn head(name: &str) -> String {
    format!("{MARK}{name}, as YAML; comments are not kept\n")
}

/// What the person wrote below `head`. What can not be read comes up again with the reason, until they leave it as it
/// came.
pub(super) async fn edited(draft: &Draft, head: &str) -> Result<Plain> {
    let mut shown = None;
    loop {
        let text = draft.edit().await?;
        match from_yaml(&text) {
            Ok(plain) => return Ok(plain),
            Err(error) if shown.as_ref() == Some(&text) => return Err(error),
            Err(error) => {
                let own = text.lines().filter(|line| !line.starts_with(MARK));
                let own = Zeroizing::new(own.fold(String::new(), |all, line| all + line + "\n"));
                let again = Zeroizing::new(format!("{head}{MARK}{error:#}\n{}", *own));
                draft.write(&again)?;
                shown = Some(again);
            }
        }
    }
}

/// Text in an editor. Dropped, it is gone.
pub(super) struct Draft {
    folder: Option<TempDir>,
    file: PathBuf,
    first: Zeroizing<String>,
}

impl Draft {
    /// A draft of `text`; editors show and colour it by `name`.
    pub(super) fn new(name: &str, text: &str) -> Result<Self> {
        let place = memory_folder();
        if place.is_none() {
            output::note(
                "no folder in memory was found: the open text is in the folder for temporary files while you edit",
            );
        }
        let place = place.unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new()
            .prefix("homelab-edit-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(&place)
            .with_context(|| format!("make a folder in {}", place.display()))?;
        let first = Zeroizing::new(text.to_owned());
        let this = Self { file: folder.path().join(name), folder: Some(folder), first };
        this.write(text)?;
        Ok(this)
    }

    /// Puts other text there.
    pub(super) fn write(&self, text: &str) -> Result<()> {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.file)?;
        file.write_all(text.as_bytes()).with_context(|| format!("write {}", self.file.display()))
    }

    /// Lets the person edit; gives what they left. Ctrl-C is the editor's; a closed terminal ends the edit.
    pub(super) async fn edit(&self) -> Result<Zeroizing<String>> {
        let editor =
            ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.trim().is_empty()));
        let editor = editor.unwrap_or_else(|| "vi".into());
        // As Git does it: the variable may hold arguments.
        let mut command = tokio::process::Command::new("/bin/sh");
        command.arg("-c").arg(format!("{editor} \"$@\"")).arg(&editor).arg(&self.file).kill_on_drop(true);
        let mut running = command.spawn().with_context(|| format!("start the editor {editor}"))?;
        let (mut hup, mut term) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let status = loop {
            tokio::select! {
                status = running.wait() => break status.context("wait for the editor")?,
                _ = hup.recv() => bail!("the terminal was closed; nothing was changed"),
                _ = term.recv() => bail!("ended from outside; nothing was changed"),
                _ = interrupt.recv() => {}
            }
        };
        if !status.success() {
            bail!("the editor {editor} ended with {status}; nothing was changed");
        }
        super::seal::read(&self.file)
    }

    /// An error that ends the edit. What the person wrote is kept, and the error says where.
    pub(super) fn kept(self, error: anyhow::Error) -> anyhow::Error {
        if !self.is_touched() {
            return error;
        }
        let place = self.keep();
        anyhow::anyhow!("{error:#}; what you wrote is kept in {}: remove it when you are done", place.display())
    }

    /// Whether the person wrote anything.
    fn is_touched(&self) -> bool {
        super::seal::read(&self.file).is_ok_and(|text| text != self.first)
    }

    /// Leaves the draft where it is, for a person to take their work from.
    fn keep(mut self) -> PathBuf {
        if let Some(folder) = self.folder.take() {
            let _ = folder.keep();
        }
        self.file.clone()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        // Editors leave swap and backup files beside it. What can not be wiped is removed all the same.
        for entry in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let _ = wipe(&entry.path());
        }
        if let Err(error) = folder.close()
            && error.kind() != ErrorKind::NotFound
        {
            output::note(&format!("the open text could not be removed: {error}"));
        }
    }
}

fn wipe(file: &Path) -> std::io::Result<()> {
    let mut open = std::fs::OpenOptions::new().write(true).open(file)?;
    let size = usize::try_from(open.metadata()?.len()).unwrap_or_default();
    open.write_all(&vec![0; size])?;
    open.sync_all()
}

/// A folder of this person's that is kept in memory only.
fn memory_folder() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let shared = Some(PathBuf::from("/dev/shm"));
    own.into_iter().chain(shared).find(|folder| is_writable(folder) && is_in_memory(&mounts, folder))
}

fn is_writable(folder: &Path) -> bool {
    tempfile::tempfile_in(folder).is_ok()
}

/// By the mount that holds the folder: the longest one above it, and of those the last.
fn is_in_memory(mounts: &str, folder: &Path) -> bool {
    let parts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let holding = parts.filter(|(at, _)| folder.starts_with(at)).max_by_key(|(at, _)| at.len());
    holding.is_some_and(|(_, kind)| matches!(kind, "tmpfs" | "ramfs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_by_the_mount_that_holds_the_folder() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/sdb1 /run/media ext4 rw 0 0\n";
        assert!(is_in_memory(mounts, Path::new("/run/user/1000")));
        assert!(!is_in_memory(mounts, Path::new("/run/media/x")) && !is_in_memory(mounts, Path::new("/tmp")));
        assert!(!is_in_memory(mounts, Path::new("/running")), "a name that only begins alike");
    }

    #[test]
    fn a_draft_is_private_and_gone_in_the_end() {
        let draft = Draft::new("a.yaml", "password: hunter2\n").expect("a draft");
        let (file, folder) = (draft.file.clone(), draft.file.parent().expect("a folder").to_owned());
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&folder)), (0o600, 0o700));
        std::fs::write(folder.join(".a.yaml.swp"), "hunter2").expect("a swap file");
        let linked = folder.with_extension("link");
        std::fs::hard_link(&file, &linked).expect("a second name");
        drop(draft);
        assert!(!folder.exists());
        let left = std::fs::read(&linked).expect("the second name");
        std::fs::remove_file(&linked).expect("removed");
        assert!(left.iter().all(|byte| *byte == 0), "it was wiped before it was removed");
    }
}
