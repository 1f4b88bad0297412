//! Questions to the `git` of this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use homelab_core::process::Program;
use homelab_secrets::sealed::{SUFFIX, SealedFile};

/// A checkout.
pub(super) struct Checkout {
    /// Its top folder.
    pub(super) top: PathBuf,
}

/// `git` in a folder, with what it needs of our environment.
fn git(folder: &Path) -> Program {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let passed = |key: &OsString| {
        let key = key.to_string_lossy();
        matches!(&*key, "PATH" | "HOME" | "XDG_CONFIG_HOME" | "TMPDIR") || key.starts_with("GIT_")
    };
    let program = Program::new("git").cwd(folder).output_limit(256 << 20);
    std::env::vars_os().filter(|(key, _)| passed(key)).fold(program, |program, (key, value)| program.env(key, value))
}

impl Checkout {
    /// The checkout that `folder` is in.
    pub(super) async fn find(folder: &Path) -> Result<Self> {
        let output = git(folder).args(["rev-parse", "--show-toplevel"]).run_ok().await;
        let output = output.with_context(|| format!("find the Git checkout of {}", folder.display()))?;
        Ok(Self { top: PathBuf::from(output.text().trim_end_matches('\n')) })
    }

    /// What git prints.
    pub(super) async fn ask(&self, args: &[&str]) -> Result<String> {
        Ok(self.run(args).await?.text())
    }

    /// What git prints, or nothing when it says that there is nothing (status 1).
    pub(super) async fn ask_maybe(&self, args: &[&str]) -> Result<Option<String>> {
        let output = git(&self.top).args(args).run().await?;
        Ok(output.status.success().then(|| output.text().trim_end_matches('\n').to_owned()))
    }

    async fn run(&self, args: &[&str]) -> Result<homelab_core::process::Output> {
        git(&self.top).args(args).run_ok().await.with_context(|| format!("git {}", args.join(" ")))
    }

    /// Paths that git names, separated by NUL.
    pub(super) async fn names(&self, args: &[&str]) -> Result<Vec<String>> {
        let text = self.ask(args).await?;
        Ok(text.split('\0').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect())
    }

    /// Names of all sealed files that Git tracks here, from the top.
    pub(super) async fn sealed_files(&self) -> Result<Vec<String>> {
        self.names(&["ls-files", "-z", "--", &format!("*{SUFFIX}")]).await
    }

    /// Contents as staged, in the order of `names`; none for what has no text there.
    pub(super) async fn staged(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let asked: Vec<_> = names.iter().filter(|name| !name.contains('\n')).collect();
        let input = asked.iter().map(|name| format!(":{name}\n")).collect::<String>();
        let output =
            git(&self.top).args(["cat-file", "--batch"]).stdin(input).run_ok().await.context("read the index")?;
        let mut rest = output.stdout.as_slice();
        names.iter().map(|name| if name.contains('\n') { Ok(None) } else { blob(&mut rest) }).collect()
    }
}

/// One answer of `cat-file --batch`: `ID blob SIZE`, the content, a line end; or `NAME missing`.
fn blob(rest: &mut &[u8]) -> Result<Option<Vec<u8>>> {
    let end = rest.iter().position(|byte| *byte == b'\n').context("git ended its answer too early")?;
    let head = String::from_utf8_lossy(&rest[..end]).into_owned();
    *rest = &rest[end + 1..];
    let Some((_, size)) = head.rsplit_once(" blob ") else { return Ok(None) };
    let size: usize = size.parse().context("git answered in a form that is not known")?;
    let content = rest.get(..size).context("git ended its answer too early")?.to_vec();
    *rest = rest.get(size + 1..).unwrap_or_default();
    Ok(Some(content))
}

/// The file as it was last committed, if it was.
pub(super) async fn committed(file: &Path) -> Option<String> {
    let (folder, name) = (file.parent()?, file.file_name()?.to_str()?);
    let output = git(folder).args(["show", &format!("HEAD:./{name}")]).run_ok().await.ok()?;
    String::from_utf8(output.stdout).ok()
}

/// The repository that sealed files here belong to: as `--install` wrote it down, else that of a file that is there.
pub(super) async fn repository(checkout: &Checkout) -> Result<Option<String>> {
    if let Some(name) = checkout.ask_maybe(&["config", "--get", "homelab.repository"]).await? {
        return Ok(Some(name));
    }
    let names = checkout.sealed_files().await?;
    let sealed = names.iter().find_map(|name| {
        let text = super::read(&checkout.top.join(name)).ok()?;
        text.parse::<SealedFile>().ok()
    });
    Ok(sealed.map(|file| file.repository().to_string()))
}
