//! The chart, which this program carries, installed by the helm of whoever runs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use homelab_core::process::Program;
use include_dir::{Dir, include_dir};

use crate::args::{self, Global};
use crate::cli::cluster::Cluster;
use crate::cli::output;

static CHART: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../charts/homelab");
const RELEASE: &str = "homelab";
const LIMIT: Duration = Duration::from_secs(180);

/// Installs the release, or brings it to this version; `awaits`: a store that is not there is not made.
pub(super) async fn install(global: &Global, cluster: &Cluster, chart: &args::Chart, awaits: bool) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder for the chart")?;
    let place = match &chart.folder {
        Some(place) => place.clone(),
        None => {
            CHART.extract(folder.path()).context("unpack the chart")?;
            folder.path().to_owned()
        }
    };
    output::note(&format!("helm upgrade --install {RELEASE} --namespace {} …", cluster.daemon));
    let helm = Program::new(&chart.helm).args(words(global, &cluster.daemon, chart, &place, awaits)).timeout(LIMIT);
    let helm = std::env::vars_os().fold(helm, |helm, (key, value)| helm.env(key, value));
    helm.run_ok().await.with_context(|| {
        format!("install homelab with `{}` (--helm names another helm; 3.14 or newer)", chart.helm.display())
    })?;
    Ok(())
}

fn words(global: &Global, namespace: &str, chart: &args::Chart, place: &Path, awaits: bool) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["upgrade", "--install", RELEASE].map(OsString::from).into();
    words.push(place.into());
    words.extend(["--namespace", namespace, "--create-namespace", "--reset-then-reuse-values"].map(OsString::from));
    let mut with = |flag: &str, value: Option<OsString>| words.extend(value.into_iter().flat_map(|v| [flag.into(), v]));
    with("--kubeconfig", global.kubeconfig.as_ref().map(PathBuf::from).map(OsString::from));
    with("--kube-context", global.context.as_ref().map(OsString::from));
    with("--kube-as-user", global.as_user.as_ref().map(OsString::from));
    global.as_groups.iter().for_each(|group| with("--kube-as-group", Some(group.into())));
    chart.values.iter().for_each(|file| with("--values", Some(file.into())));
    chart.set.iter().for_each(|value| with("--set", Some(value.into())));
    with("--set", Some(format!("bootstrap.waitForRestore={awaits}").into()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Dir<'_>) -> Vec<(PathBuf, Vec<u8>)> {
        let own = folder.files().map(|file| (file.path().to_owned(), file.contents().to_vec()));
        own.chain(folder.dirs().flat_map(files)).collect()
    }

    #[test]
    fn the_chart_of_the_program_is_the_one_of_this_repository() {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/homelab");
        let carried = files(&CHART);
        for (name, content) in &carried {
            assert_eq!(std::fs::read(place.join(name)).ok().as_ref(), Some(content), "{}", name.display());
        }
        let mut folders = vec![place];
        let mut there = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                if entry.is_dir() { folders.push(entry) } else { there += 1 }
            }
        }
        assert_eq!(carried.len(), there, "touch homelab-bin/src/cli/bootstrap/chart.rs: the chart has other files now");
    }

    #[test]
    fn helm_is_told_what_kubectl_would_be() {
        let global = Global { context: Some("home".into()), ..Global::default() };
        let chart = args::Chart {
            set: vec!["storage.type=hostPath".into()],
            values: vec!["mine.yaml".into()],
            folder: None,
            helm: "helm".into(),
        };
        let words = words(&global, "homelab", &chart, Path::new("/chart"), true);
        let text = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        insta::assert_snapshot!(text, @"upgrade --install homelab /chart --namespace homelab --create-namespace --reset-then-reuse-values --kube-context home --values mine.yaml --set storage.type=hostPath --set bootstrap.waitForRestore=true");
    }
}
