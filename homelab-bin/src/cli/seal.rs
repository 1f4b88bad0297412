//! `homelab seal`: plain files into sealed ones, and what Git needs to live with those. No key is on this machine: the
//! secret server seals and opens, as the person that asks.

mod check;
mod git;
mod input;
mod install;
mod merge;
mod remote;
mod rotate;
mod target;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail};
use homelab_secrets::sealed::{MAX_FILE, SUFFIX, SealedFile};
use zeroize::Zeroizing;

pub(super) use self::input::Plain;
pub(super) use self::remote::Remote;
pub(crate) use self::rotate::run as rotate;
pub(super) use self::target::Target;
use super::output;
use crate::args::{Global, Seal};

pub(crate) async fn run(global: &Global, args: Seal) -> Result<()> {
    if args.check {
        return check::run(&args.files, args.staged).await;
    }
    if args.install {
        return install::run(global, &args.server, args.repository.as_deref()).await;
    }
    if args.merge {
        return merge::run(&args.files).await;
    }
    let [file] = args.files.as_slice() else {
        bail!("name one FILE: a plain one to seal, or a sealed one with --open");
    };
    if args.textconv {
        return textconv(global, &args, file).await;
    }
    let text = read(file)?;
    if args.open {
        let sealed = parse(file, &text)?;
        let data = Remote::connect(global, &args.server).await?.open(&sealed).await?;
        return output::bytes(input::shown(data.expose())?.as_bytes());
    }
    if SealedFile::is_sealed(&text) {
        return rename(global, &args, file, &text).await;
    }
    seal(global, &args, file, &text).await
}

/// Seals a plain file.
async fn seal(global: &Global, args: &Seal, file: &Path, text: &str) -> Result<()> {
    let data = input::parse(file, text)?;
    let out = place(args, file)?;
    let earlier = if args.in_place { git::committed(file).await } else { existing(&out)? };
    let previous = earlier.as_deref().filter(|text| SealedFile::is_sealed(text));
    let previous = previous.map(|text| parse(&out, text)).transpose()?;
    let target = Target::find(&out, args.path.as_deref(), args.repository.as_deref(), previous.as_ref()).await?;
    let sealed = Remote::connect(global, &args.server).await?.seal(&target, &data.values, previous.as_ref()).await?;
    write(&out, &sealed.to_string())?;
    output::note(&format!("sealed {} as {}", out.display(), sealed.logical_path()));
    if !data.not_text.is_empty() {
        let keys = data.not_text.join(", ");
        output::note(&format!("not text, as YAML reads it: {keys}; quotes keep a value as it is written"));
    }
    if !args.in_place && file != Path::new("-") {
        output::note(&format!("the plain file {} is still there: delete it, and do not commit it", file.display()));
    }
    Ok(())
}

/// Gives a sealed file's secret a new path: opened under the old one, sealed under the new one.
async fn rename(global: &Global, args: &Seal, file: &Path, text: &str) -> Result<()> {
    let old = parse(file, text)?;
    let Some(path) = args.path.as_deref().filter(|path| *path != old.path()) else {
        bail!("{} is sealed already; `homelab edit {0}` changes it, --path gives it a new path", file.display());
    };
    let out = args.out.as_deref().unwrap_or(file);
    let remote = Remote::connect(global, &args.server).await?;
    let data = remote.open(&old).await?;
    let target = Target::find(out, Some(path), Some(old.repository().as_str()), None).await?;
    let sealed = remote.seal(&target, data.expose(), None).await?;
    write(out, &sealed.to_string())?;
    output::note(&format!("{} was {} and is {} now", out.display(), old.logical_path(), sealed.logical_path()));
    Ok(())
}

/// What `git diff` shows. It must not fail: Git would show nothing at all.
async fn textconv(global: &Global, args: &Seal, file: &Path) -> Result<()> {
    let text = read(file)?;
    let opened = async {
        let sealed = parse(file, &text)?;
        let data = Remote::connect(global, &args.server).await?.open(&sealed).await?;
        input::shown(data.expose())
    };
    match opened.await {
        Ok(plain) => output::bytes(plain.as_bytes()),
        Err(error) => {
            output::note(&format!("shown sealed: {}", output::chain(&error)));
            output::bytes(text.as_bytes())
        }
    }
}

/// The file that is written.
fn place(args: &Seal, file: &Path) -> Result<PathBuf> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if args.in_place {
        if !name.ends_with(SUFFIX) {
            bail!(
                "{}: only a file whose name ends in {SUFFIX} is sealed in place, since Git knows it by that",
                file.display()
            );
        }
        return Ok(file.into());
    }
    if let Some(out) = &args.out {
        return Ok(out.clone());
    }
    if file == Path::new("-") {
        bail!("name the sealed file with --out when the plain one comes on stdin");
    }
    if name.ends_with(SUFFIX) {
        bail!("{} holds plain values under the name of a sealed file: seal it with --in-place", file.display());
    }
    let endings = [".yaml", ".yml", ".json", ".env"];
    let stem = endings.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let stem = if stem.is_empty() { "env" } else { stem };
    Ok(file.with_file_name(format!("{stem}{SUFFIX}")))
}

/// What stands where a sealed file will be written: a sealed file, or nothing.
fn existing(out: &Path) -> Result<Option<String>> {
    if !out.exists() {
        return Ok(None);
    }
    let text = read(out)?;
    if !SealedFile::is_sealed(&text) {
        bail!("{} exists and is not sealed: move it away, or seal it itself with --in-place", out.display());
    }
    Ok(Some(text.to_string()))
}

/// Reads text of a file, or of stdin for `-`.
pub(super) fn read(file: &Path) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let limit = 4 * MAX_FILE as u64;
    let size = if file == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes).context("read stdin")?
    } else {
        let open = std::fs::File::open(file).with_context(|| format!("read {}", file.display()))?;
        open.take(limit).read_to_end(&mut bytes).with_context(|| format!("read {}", file.display()))?
    };
    if size as u64 == limit {
        bail!("{} is larger than {limit} bytes", file.display());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| anyhow::anyhow!("{} is not UTF-8 text", file.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads a sealed file's text, naming the file where it is wrong.
pub(super) fn parse(file: &Path, text: &str) -> Result<SealedFile> {
    SealedFile::from_str(text).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))
}

/// Writes a file whole or not at all.
pub(super) fn write(file: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let action = || format!("write {}", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder).with_context(action)?;
    let mode = file.metadata().map_or(0o666, |found| found.permissions().mode() & 0o777);
    let mut draft = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(folder)
        .with_context(action)?;
    std::io::Write::write_all(&mut draft, text.as_bytes()).with_context(action)?;
    draft.persist(file).with_context(action)?;
    Ok(())
}

/// Data for a person's editor or eyes.
pub(super) fn as_yaml(data: &serde_json::Map<String, serde_json::Value>) -> Result<Zeroizing<String>> {
    input::shown(data)
}

/// Data that a person wrote as YAML.
pub(super) fn from_yaml(text: &str) -> Result<Plain> {
    input::yaml("the text", text)
}
