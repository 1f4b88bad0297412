//! Where things are: the workspace, the cache and what is in it.

use std::{
    env,
    fs::File,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The workspace's top folder.
pub(crate) fn workspace() -> PathBuf {
    // cargo sets the variable for `cargo xtask`; the built-in value serves a program that is started by hand.
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The folder of xtask's own package: pins and wrapper modules.
pub(crate) fn package() -> PathBuf {
    workspace().join("xtask")
}

/// The cache: programs, images, clusters, locks. Made when it is missing.
pub(crate) fn cache() -> Result<PathBuf> {
    let chosen = env::var_os("HOMELAB_CACHE").map(PathBuf::from);
    let standard = env::var_os("XDG_CACHE_HOME").map(|d| PathBuf::from(d).join("homelab"));
    let home = env::var_os("HOME").map(|d| PathBuf::from(d).join(".cache/homelab"));
    let dir = chosen.or(standard).or(home).context(
        "no place for the cache: neither HOMELAB_CACHE nor XDG_CACHE_HOME nor HOME is set; set HOMELAB_CACHE",
    )?;
    make(&dir)?;
    dir.canonicalize().with_context(|| format!("cache folder {} can not be resolved", dir.display()))
}

/// A folder of the cache, made when it is missing.
pub(crate) fn in_cache(name: &str) -> Result<PathBuf> {
    let dir = cache()?.join(name);
    make(&dir)?;
    Ok(dir)
}

/// Makes a folder and those above it.
pub(crate) fn make(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("folder {} can not be made; check its owner and the disk's free space", dir.display()))
}

/// Writes a file whole or not at all: a reader, or a run after a crash, never sees half of it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    write_mode(path, content.as_ref(), 0o644)
}

/// The same for keys: nobody else may read it.
pub(crate) fn write_private(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    write_mode(path, content.as_ref(), 0o600)
}

fn write_mode(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let part = path.with_extension(format!("part-{}", std::process::id()));
    // A file of an earlier process with this id would keep its own mode.
    let _ = std::fs::remove_file(&part);
    File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&part)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| {
            format!("file {} can not be written; check its folder and the disk's free space", path.display())
        })
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("file {} can not be read", path.display()))
}

/// Removes a folder with all in it; a missing one is fine.
pub(crate) fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("folder {} can not be removed; see what still uses it", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Where a program of this name is on PATH.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // Debian keeps the network programs in sbin, which a plain user's PATH lacks.
    let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    // Our own links are no find: a link to what is found must not come to point at itself.
    let ours = in_cache("bin/current").ok();
    let foreign = |dir: &PathBuf| ours.as_ref() != Some(dir);
    env::split_paths(&path).chain(extra).filter(foreign).map(|dir| dir.join(name)).find(|file| file.is_file())
}
