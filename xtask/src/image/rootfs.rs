//! The Debian root file system under the project's image.

use std::time::Duration;

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use super::layer::Layer;
use crate::{
    debian, lock, pins,
    programs::hex,
    shell::{Cmd, during},
};

/// The layer, from the cache or made now by `mmdebstrap`.
pub(crate) fn layer() -> Result<Layer> {
    let pins = pins::load()?;
    let key = hex(&Sha256::digest(serde_json::to_vec(&pins.image)?));
    let _lock = lock::take("rootfs")?;
    Layer::cached(&format!("rootfs-{key}"), |out| {
        debian::ensure(&pins.debian.image, "the image's root file system")?;
        let title =
            format!("making a Debian {} root file system with {}", pins.image.suite, pins.image.include.join(", "));
        during(&title, Duration::from_secs(50), || {
            let cmd = Cmd::new("mmdebstrap")
                .args(["--quiet", "--variant=minbase", &format!("--include={}", pins.image.include.join(","))])
                .args(["man", "doc", "locale"].map(|dir| format!("--dpkgopt=path-exclude=/usr/share/{dir}/*")));
            // Times in the archive do not depend on today.
            cmd.arg(&pins.image.suite).arg(out).env("SOURCE_DATE_EPOCH", "0").quiet()
        })
    })
}
