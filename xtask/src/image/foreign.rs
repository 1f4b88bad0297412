//! Loading images into a cluster that is not ours, by the tool that made it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{
    paths, programs,
    shell::{Cmd, say},
};

/// Loads these files, or says what the user has to do.
pub(super) fn load(kubeconfig: &Path, files: &[PathBuf]) -> Result<()> {
    let kubectl = programs::current()?.join("kubectl");
    let context = Cmd::new(kubectl).env("KUBECONFIG", kubeconfig).args(["config", "current-context"]).read();
    let context = context.with_context(|| format!("{} has no current context", kubeconfig.display()))?;
    let loaders = loaders(context.trim(), files);
    if let Some(words) = loaders.iter().find(|words| paths::which(&words[0]).is_some()) {
        return Cmd::new(&words[0]).args(&words[1..]).run().context("the images can not be loaded into your cluster");
    }
    let list = files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(" ");
    say(format!(
        "load these with your cluster's tool (kind, minikube or k3s ctr images import), if it does not have them yet: {list}"
    ));
    Ok(())
}

/// The commands that fit a context's name.
fn loaders(context: &str, files: &[PathBuf]) -> Vec<Vec<String>> {
    let files = files.iter().map(|f| f.display().to_string());
    let words = |start: &[&str]| start.iter().map(|w| (*w).to_owned()).chain(files.clone()).collect();
    match context.strip_prefix("kind-") {
        Some(name) => vec![words(&["kind", "load", "image-archive", "--name", name])],
        None if context == "minikube" => vec![words(&["minikube", "image", "load"])],
        None if context == "default" => vec![words(&["k3s", "ctr", "images", "import"])],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_tells_the_tool() {
        let files = [PathBuf::from("a.tar")];
        assert_eq!(loaders("kind-home", &files)[0].join(" "), "kind load image-archive --name home a.tar");
        assert!(loaders("production", &files).is_empty());
    }
}
