//! An image as a tar file: OCI layout, with the manifest that `docker load` reads beside it.

use std::{fs::File, io::Write};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::layer::{Layer, header};
use crate::programs::hex;

/// An image: its name, how it starts and its layers.
pub(crate) struct Image {
    /// Full reference, such as `homelab.dev/homelab:dev`.
    pub(crate) name: String,
    /// `config` of the OCI image configuration: Entrypoint, User, Env …
    pub(crate) config: Value,
    /// Lowest first.
    pub(crate) layers: Vec<Layer>,
}

/// A small blob and its digest.
struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Image {
    /// The digest by which a container runtime knows it.
    pub(crate) fn digest(&self) -> Result<String> {
        Ok(self.manifest(&self.configuration()?)?.digest)
    }

    /// Writes it as a tar file without the layers that the reader says it has.
    pub(crate) fn write(&self, out: impl Write, has: impl Fn(&str) -> bool) -> Result<()> {
        let config = self.configuration()?;
        let manifest = self.manifest(&config)?;
        let mut tar = tar::Builder::new(out);
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut tar, "index.json", &self.index(&manifest)?)?;
        append(&mut tar, "manifest.json", &self.for_docker(&config)?)?;
        append(&mut tar, &blob_path(&config.digest), &config.bytes)?;
        append(&mut tar, &blob_path(&manifest.digest), &manifest.bytes)?;
        for layer in self.layers.iter().filter(|l| !has(&l.digest)) {
            let mut file =
                File::open(&layer.path).with_context(|| format!("layer {} is gone", layer.path.display()))?;
            let mut header = header(tar::EntryType::Regular, 0o644, layer.size);
            tar.append_data(&mut header, blob_path(&layer.digest), &mut file)?;
        }
        tar.into_inner()?.flush().with_context(|| format!("image {} can not be written", self.name))
    }

    fn configuration(&self) -> Result<Blob> {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let diffs: Vec<&str> = self.layers.iter().map(|l| l.digest.as_str()).collect();
        blob(&json!({
            "architecture": arch, "os": "linux", "created": "1970-01-01T00:00:00Z",
            "config": self.config, "rootfs": { "type": "layers", "diff_ids": diffs },
        }))
    }

    fn manifest(&self, config: &Blob) -> Result<Blob> {
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|l| json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": l.digest, "size": l.size }))
            .collect();
        blob(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.digest, "size": config.bytes.len(),
            },
        }))
    }

    fn index(&self, manifest: &Blob) -> Result<Vec<u8>> {
        let tag = self.name.rsplit(':').next().unwrap_or("latest");
        let entry = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest.digest, "size": manifest.bytes.len(),
            "annotations": { "io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag },
        });
        Ok(serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [entry] }))?)
    }

    fn for_docker(&self, config: &Blob) -> Result<Vec<u8>> {
        let layers: Vec<String> = self.layers.iter().map(|l| blob_path(&l.digest)).collect();
        let entry = json!({ "Config": blob_path(&config.digest), "RepoTags": [self.name], "Layers": layers });
        Ok(serde_json::to_vec(&json!([entry]))?)
    }
}

fn blob(value: &Value) -> Result<Blob> {
    let bytes = serde_json::to_vec(value)?;
    Ok(Blob { digest: format!("sha256:{}", hex(&Sha256::digest(&bytes))), bytes })
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
    tar.append_data(&mut header, path, bytes).with_context(|| format!("{path} can not be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image { name: "homelab.dev/x:dev".into(), config: json!({ "Entrypoint": ["/x"] }), layers: Vec::new() }
    }

    #[test]
    fn the_same_image_is_the_same_bytes() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        image().write(&mut a, |_| false).unwrap();
        image().write(&mut b, |_| false).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn the_archive_names_its_image_for_both_readers() {
        let mut bytes = Vec::new();
        image().write(&mut bytes, |_| false).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            names.push(entry.unwrap().path().unwrap().display().to_string());
        }
        assert_eq!(names[..3], ["oci-layout", "index.json", "manifest.json"]);
        assert!(names.contains(&blob_path(&image().digest().unwrap())));
    }
}
