//! A chart as one archive, byte for byte the same for the same files. Pure: files are a map from path to content.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Component, Path};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// Files of a chart by path relative to its folder, with `/`.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Most bytes of an archive: it is kept in a Secret together with the values, and etcd takes 1 MiB less base64.
pub const MOST: usize = 700 * 1024;

/// Most bytes of an archive's content: an archive is small, what is in it need not be.
const MOST_UNPACKED: u64 = 32 << 20;

/// What `Chart.yaml` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Name.
    pub name: String,
    /// Version of the chart.
    pub version: String,
    /// Version of what it installs.
    #[serde(default)]
    pub app_version: Option<String>,
}

impl std::fmt::Display for Chart {
    /// `web 1.2.0`, or `web 1.2.0 (app 7)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)?;
        self.app_version.as_ref().map_or(Ok(()), |version| write!(f, " (app {version})"))
    }
}

/// Reads `Chart.yaml`.
pub fn chart(files: &Files) -> Result<Chart, Error> {
    let text = files.get("Chart.yaml").ok_or_else(|| {
        Error::Invalid("the folder has no Chart.yaml: name the folder of a Helm chart in spec.helm.chart".into())
    })?;
    let text = std::str::from_utf8(text).map_err(|_| Error::Invalid("Chart.yaml is not UTF-8".into()))?;
    serde_saphyr::from_str(text).map_err(|e| Error::Invalid(format!("Chart.yaml can not be read: {e}")))
}

/// Packs files: sorted, without times, owners and modes.
pub fn pack(files: &Files) -> Result<Vec<u8>, Error> {
    let broken = |e: std::io::Error| Error::Invalid(format!("the chart can not be packed: {e}"));
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for (path, content) in files {
        check(path)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, path, content.as_slice()).map_err(broken)?;
    }
    let mut gzip = builder.into_inner().map_err(broken)?;
    gzip.flush().map_err(broken)?;
    let bytes = gzip.finish().map_err(broken)?;
    if bytes.len() > MOST {
        let (size, most) = (bytes.len() / 1024, MOST / 1024);
        return Err(Error::Invalid(format!(
            "the chart is {size} KiB packed and a revision holds {most} KiB: move files that templates do not need out of its folder"
        )));
    }
    Ok(bytes)
}

/// The files of an archive. Links, devices and paths that lead out of it are refused.
pub fn unpack(archive: &[u8]) -> Result<Files, Error> {
    let broken = |e: std::io::Error| Error::Invalid(format!("the chart archive can not be read: {e}"));
    let mut files = Files::new();
    let mut left = MOST_UNPACKED;
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        match entry.header().entry_type() {
            tar::EntryType::Regular => {}
            tar::EntryType::Directory => continue,
            _ => return Err(Error::Invalid(format!("the chart archive holds something else than a file: {path}"))),
        }
        check(&path)?;
        let mut content = vec![];
        entry.take(left + 1).read_to_end(&mut content).map_err(broken)?;
        left = left.checked_sub(content.len() as u64).ok_or_else(|| {
            Error::Invalid(format!("the chart archive unpacks to more than {} MiB", MOST_UNPACKED >> 20))
        })?;
        files.insert(path, content);
    }
    Ok(files)
}

/// Digest of the files: equal content, equal digest, however they were packed.
pub fn digest(files: &Files) -> String {
    let mut hash = Sha256::new();
    for (path, content) in files {
        for field in [path.as_bytes(), content] {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(path: &str) -> Result<(), Error> {
    let inside = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    if inside && !path.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid(format!("the chart holds a path that leads out of it: {path}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files(names: &[&str]) -> Files {
        names.iter().map(|n| ((*n).to_owned(), format!("content of {n}").into_bytes())).collect()
    }

    #[test]
    fn a_chart_says_its_name() {
        let mut files = Files::new();
        let error = chart(&files).unwrap_err().to_string();
        assert_eq!(error, "the folder has no Chart.yaml: name the folder of a Helm chart in spec.helm.chart");
        files.insert("Chart.yaml".into(), b"apiVersion: v2\nname: web\nversion: 1.2.0\nappVersion: \"7\"\n".to_vec());
        assert_eq!(chart(&files).unwrap().to_string(), "web 1.2.0 (app 7)");
        files.insert("Chart.yaml".into(), b"name: web\n".to_vec());
        assert!(chart(&files).unwrap_err().to_string().starts_with("Chart.yaml can not be read: "));
    }

    #[test]
    fn paths_do_not_lead_out() {
        for path in ["../x", "/etc/passwd", "a/../../x", ""] {
            let error = pack(&files(&[path])).unwrap_err().to_string();
            assert!(error.starts_with("the chart holds a path that leads out of it"), "{error}");
        }
    }

    #[test]
    fn links_are_refused() {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "values.yaml", "/etc/passwd").unwrap();
        let bytes = builder.into_inner().unwrap().finish().unwrap();
        let error = unpack(&bytes).unwrap_err().to_string();
        assert_eq!(error, "the chart archive holds something else than a file: values.yaml");
    }

    #[test]
    fn too_large_a_chart_says_so() {
        let noise: Vec<u8> =
            (0_u32..400_000).flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_be_bytes()).collect();
        let error = pack(&[("big".to_owned(), noise)].into()).unwrap_err().to_string();
        assert!(error.contains("KiB packed and a revision holds 700 KiB"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(files in prop::collection::btree_map("[a-z]{1,4}(/[a-z]{1,4}){0,2}\\.yaml", prop::collection::vec(any::<u8>(), 0..99), 0..9)) {
            let bytes = pack(&files).unwrap();
            prop_assert_eq!(&bytes, &pack(&files).unwrap());
            prop_assert_eq!(unpack(&bytes).unwrap(), files);
        }
    }
}
