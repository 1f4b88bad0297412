//! Images in the cluster's containerd.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Instant};

use anyhow::{Context, Result, bail};

use super::spec::Spec;
use crate::{
    image::archive::Image,
    shell::{Cmd, human, say, tail},
};

/// `ctr` on the cluster's containerd, in the namespace that the kubelet uses.
pub(crate) fn ctr(spec: &Spec) -> Cmd {
    Cmd::new("ctr").args(["--address", &spec.text("run/containerd.sock"), "--namespace", "k8s.io"])
}

/// Whether containerd answers.
pub(crate) fn answers(spec: &Spec) -> Result<()> {
    ctr(spec).args(["--connect-timeout", "2s", "version"]).quiet()
}

/// Imports an image unless it is there. Layers that containerd has are not sent again.
pub(crate) fn load(spec: &Spec, image: &Image) -> Result<()> {
    let digest = image.digest()?;
    let listed = ctr(spec).args(["images", "ls", &format!("name=={}", image.name)]).read()?;
    if listed.contains(&digest) {
        return Ok(());
    }
    let start = Instant::now();
    let blobs = ctr(spec).args(["content", "ls", "--quiet"]).read()?;
    let blobs: BTreeSet<&str> = blobs.lines().collect();
    import(spec, image, &blobs)
        .with_context(|| format!("image {} can not be imported into cluster {}", image.name, spec.name))?;
    say(format!("image {} is in cluster {} ({})", image.name, spec.name, human(start.elapsed())));
    Ok(())
}

/// Imports a tar file that someone else made.
pub(crate) fn load_file(spec: &Spec, file: &Path) -> Result<()> {
    let file = file.canonicalize().with_context(|| format!("image file {} can not be found", file.display()))?;
    ctr(spec).args(["images", "import"]).arg(&file).run().with_context(|| {
        format!("{} can not be imported into cluster {}; it must be a docker or OCI archive", file.display(), spec.name)
    })
}

fn import(spec: &Spec, image: &Image, blobs: &BTreeSet<&str>) -> Result<()> {
    let mut child = ctr(spec)
        .args(["images", "import", "-"])
        .into_inner()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("`ctr` can not be started; is containerd installed?")?;
    let pipe = child.stdin.take().context("the child has no standard input")?;
    let sent = image.write(std::io::BufWriter::new(pipe), |digest| blobs.contains(digest));
    let output = child.wait_with_output().context("`ctr` can not be waited for")?;
    if !output.status.success() {
        bail!("`ctr images import` failed: {}\n{}", output.status, tail(&String::from_utf8_lossy(&output.stderr), 10));
    }
    sent
}
