//! One layer of an image: a tar file whose bytes depend on nothing but its content.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::{paths, programs::hex, shell::Cmd};

/// A layer in the cache.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Layer {
    /// `sha256:…` of the tar file.
    pub(crate) digest: String,
    /// Its size.
    pub(crate) size: u64,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// A file that an image gets.
pub(crate) struct Entry {
    /// Absolute path inside, without the leading slash.
    pub(crate) to: &'static str,
    /// The file on this machine.
    pub(crate) from: PathBuf,
    /// Its permissions.
    pub(crate) mode: u32,
}

impl Layer {
    /// A layer of these files; taken from the cache when the same files were packed before.
    pub(crate) fn of_files(mut entries: Vec<Entry>) -> Result<Self> {
        entries.sort_by_key(|e| e.to);
        let mut key = Sha256::new();
        for e in &entries {
            key.update(format!("{} {:o} {}\n", e.to, e.mode, sha256(&e.from)?));
        }
        Self::cached(&hex(&key.finalize()), |out| pack(&entries, out))
    }

    /// The layer of this key from the cache, or made now.
    pub(crate) fn cached(key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let dir = paths::in_cache("layers")?;
        let note = dir.join(format!("{key}.json"));
        if let Some(layer) = Self::read(&note) {
            return Ok(layer);
        }
        let part = dir.join(format!("part-{}.tar", std::process::id()));
        make(&part)?;
        let hash = sha256(&part)?;
        let path = dir.join(format!("{hash}.tar"));
        std::fs::rename(&part, &path)
            .with_context(|| format!("layer {} can not be put in its place", path.display()))?;
        let size = path.metadata().with_context(|| format!("layer {} is gone", path.display()))?.len();
        let layer = Self { digest: format!("sha256:{hash}"), size, path };
        paths::write(&note, serde_json::to_vec(&layer)?)?;
        Ok(layer)
    }

    fn read(note: &Path) -> Option<Self> {
        let layer: Self = serde_json::from_slice(&std::fs::read(note).ok()?).ok()?;
        layer.path.metadata().is_ok_and(|m| m.len() == layer.size).then_some(layer)
    }
}

/// Writes a tar file: folders first, no time, no owner but root, in the order given.
fn pack(entries: &[Entry], out: &Path) -> Result<()> {
    let file = File::create(out).with_context(|| format!("layer {} can not be made", out.display()))?;
    let mut tar = tar::Builder::new(BufWriter::new(file));
    for dir in folders(entries) {
        let mut header = header(EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, dir, std::io::empty())?;
    }
    for e in entries {
        let mut from = File::open(&e.from).with_context(|| format!("{} can not be read", e.from.display()))?;
        let mut header = header(EntryType::Regular, e.mode, from.metadata()?.len());
        tar.append_data(&mut header, e.to, &mut from)
            .with_context(|| format!("{} can not be packed", e.from.display()))?;
    }
    tar.into_inner()?.flush().with_context(|| format!("layer {} can not be written; is the disk full?", out.display()))
}

/// A header without anything that differs from run to run.
pub(crate) fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The folders above the files, each once, parents first.
fn folders(entries: &[Entry]) -> Vec<String> {
    let above = entries.iter().flat_map(|e| Path::new(e.to).ancestors().skip(1).map(Path::to_path_buf));
    let mut dirs: Vec<String> = above.map(|p| format!("{}/", p.display())).filter(|p| p != "/").collect();
    dirs.sort();
    dirs.dedup();
    dirs
}

/// A file's digest. By program: a debug build hashes hundreds of megabytes far too slowly itself.
pub(crate) fn sha256(file: &Path) -> Result<String> {
    let said = Cmd::new("sha256sum").arg(file).read()?;
    let hash = said.split_whitespace().next().map(|h| h.trim_start_matches('\\').to_owned());
    hash.with_context(|| format!("sha256sum said nothing about {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_once_and_parents_first() {
        let entry = |to| Entry { to, from: PathBuf::new(), mode: 0o644 };
        assert_eq!(folders(&[entry("usr/bin/a"), entry("usr/bin/b"), entry("c")]), ["usr/", "usr/bin/"]);
    }
}
