//! A chart's folder on disk, and its archive.
#![expect(clippy::disallowed_methods, reason = "reads and writes the files of a chart")]

use std::path::Path;

use crate::archive::{self, Files};
use crate::error::Error;

/// The files of a chart's folder. Hidden files and folders are left out, except `.helmignore`; links are refused.
pub fn read(folder: &Path) -> Result<Files, Error> {
    let mut files = Files::new();
    walk(folder, "", &mut files)?;
    Ok(files)
}

/// The files of a chart's folder as an archive.
pub fn pack(folder: &Path) -> Result<Vec<u8>, Error> {
    archive::pack(&read(folder)?)
}

/// Writes the files of an archive under `folder`.
pub fn unpack(bytes: &[u8], folder: &Path) -> Result<(), Error> {
    for (path, content) in archive::unpack(bytes)? {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| io("make", parent, &e))?;
        }
        std::fs::write(&path, content).map_err(|e| io("write", &path, &e))?;
    }
    Ok(())
}

fn walk(folder: &Path, prefix: &str, files: &mut Files) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(|e| io("read", folder, &e))? {
        let entry = entry.map_err(|e| io("read", folder, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && name != ".helmignore" {
            continue;
        }
        let (path, relative) = (entry.path(), format!("{prefix}{name}"));
        let kind = entry.file_type().map_err(|e| io("read", &path, &e))?;
        if kind.is_dir() {
            walk(&path, &format!("{relative}/"), files)?;
        } else if kind.is_file() {
            files.insert(relative, std::fs::read(&path).map_err(|e| io("read", &path, &e))?);
        } else {
            return Err(Error::Invalid(format!("{relative} in the chart is a link; put the file itself there")));
        }
    }
    Ok(())
}

pub(super) fn io(verb: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::Api {
        action: format!("{verb} {}", path.display()),
        message: error.to_string(),
        class: homelab_core::class::Class::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_survives_its_archive() {
        let from = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(from.path().join("templates/.git")).unwrap();
        std::fs::write(from.path().join("Chart.yaml"), "name: web\nversion: 1.0.0\n").unwrap();
        std::fs::write(from.path().join("templates/a.yaml"), "a").unwrap();
        std::fs::write(from.path().join("templates/.git/x"), "no").unwrap();
        let to = tempfile::tempdir().unwrap();
        unpack(&pack(from.path()).unwrap(), to.path()).unwrap();
        let files = read(to.path()).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["Chart.yaml", "templates/a.yaml"]);
        assert_eq!(archive::chart(&files).unwrap().to_string(), "web 1.0.0");
        std::os::unix::fs::symlink("/etc/passwd", to.path().join("link")).unwrap();
        assert_eq!(pack(to.path()).unwrap_err().to_string(), "link in the chart is a link; put the file itself there");
    }
}
