//! The project's own checks, cheap ones first, and the end-to-end tests on a real cluster.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Counts, Options, Report, chart, nextest, step};
use crate::{
    cargo::cargo,
    cluster, codegen, image,
    programs::{self, Programs},
    shell::say,
    tidy,
};

/// The cluster that the tests use.
const CLUSTER: &str = "test";
/// The step that runs every test on it.
const ON_CLUSTER: &str = "end-to-end, libraries on a cluster";
/// The four libraries and what they share: each must hold without its features, too.
const LIBRARIES: [&str; 5] = ["homelab-core", "homelab-secrets", "homelab-gitops", "homelab-rollout", "homelab-mesh"];

/// Runs everything but the peer suites.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    // Only downloads: compilers of two kinds at once would take longer than one after the other.
    let prefetch = (!options.fast).then(|| programs::prefetch(programs::CLUSTER));
    let checks = programs::ensure(programs::CHECKS)?;
    let nextest = checks.path("cargo-nextest")?;
    step(report, "format", || once(cargo().args(["fmt", "--all", "--check"]).run()));
    step(report, "lints", || once(lints()));
    step(report, "lints without features", || once(lints_bare()));
    let mut on_cluster = None;
    step(report, "tests compile", || {
        on_cluster = Some(nextest::list(nextest)?);
        Ok(Counts::one_passed())
    });
    let Some(on_cluster) = on_cluster else {
        report.not_run("unit, contract and property tests", 0, "the tests do not compile");
        return Ok(());
    };
    step(report, "unit, contract and property tests", || nextest::unit(nextest));
    step(report, "documentation's examples", nextest::doc);
    step(report, "dependencies", || once(dependencies(&checks)));
    step(report, "tidy", || once(tidy::run()));
    step(report, "generated files", || once(codegen::run(true)));
    if let Some(Err(error)) = prefetch.and_then(|handle| handle.join().ok()) {
        say(format!("downloading ahead failed, which is tried again below: {error:#}"));
    }
    match options.fast {
        true => report.not_run(ON_CLUSTER, on_cluster, &format!("{on_cluster} tests (--fast)")),
        false => with_cluster(options, report, nextest, on_cluster),
    }
    Ok(())
}

fn with_cluster(options: &Options, report: &mut Report, nextest: &Path, tests: usize) {
    step(report, "chart", chart::run);
    let mut built = None;
    step(report, "images", || {
        built = Some(image::all(crate::cargo::HOMELAB.profile)?);
        Ok(Counts::one_passed())
    });
    let Some(built) = built else {
        return report.not_run(ON_CLUSTER, tests, "there are no images");
    };
    let mut cluster = None;
    step(report, "cluster", || {
        // With --keep one works on the tests themselves, and ten seconds for a new cluster each time are many.
        let make = if options.keep { cluster::up } else { cluster::fresh };
        let up = make(CLUSTER, options.kubeconfig.clone())?;
        image::load_into(&up, &built.images)?;
        cluster = Some(up);
        Ok(Counts::one_passed())
    });
    let Some(cluster) = cluster else {
        return report.not_run(ON_CLUSTER, tests, "there is no cluster");
    };
    let passed = step(report, ON_CLUSTER, || {
        let env = [cluster.env()?, built.env()].concat();
        nextest::cluster(nextest, &env)
    });
    if !passed {
        keep_logs(&cluster);
    }
    if options.keep {
        say(format!("the cluster stays: eval \"$(cargo xtask cluster env --name {CLUSTER})\""));
    } else {
        step(report, "cluster goes without a trace", || once(cluster::down(CLUSTER, options.kubeconfig.clone())));
    }
}

fn once(result: Result<()>) -> Result<Counts> {
    result.map(|()| Counts::one_passed())
}

fn lints() -> Result<()> {
    let cmd = cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--all-features"]);
    cmd.args(["--", "-D", "warnings"]).run().context("clippy has something to say; its messages are above")
}

/// All in one call: each alone would compile the kinds of Kubernetes again for a feature more or less.
fn lints_bare() -> Result<()> {
    let packages = LIBRARIES.iter().flat_map(|library| ["--package", library]);
    let cmd =
        cargo().args(["clippy", "--quiet"]).args(packages).args(["--no-default-features", "--", "-D", "warnings"]);
    cmd.run().context("a library does not hold without its features; the messages are above")
}

/// No advisories: their database is not to be had from a registry. Not `--offline`: on a new machine the crates of other
/// platforms, which are judged too, have not been downloaded yet.
fn dependencies(checks: &Programs) -> Result<()> {
    let cmd = crate::shell::Cmd::new(checks.path("cargo-deny")?).dir(&crate::paths::workspace());
    cmd.args(["--locked", "--log-level", "error", "check", "bans", "licenses", "sources"])
        .run()
        .context("cargo-deny objects to a dependency; deny.toml says what is allowed")
}

/// Copies the components' logs out of a cluster that is about to go.
pub(crate) fn keep_logs(cluster: &cluster::Cluster) {
    let cluster::Cluster::Own(spec) = cluster else { return };
    let to = crate::paths::workspace().join("target/cluster-logs");
    let copied = crate::paths::make(&to).and_then(|()| {
        crate::shell::Cmd::new("cp")
            .args(["-r", &spec.text("logs"), &to.join(&spec.name).display().to_string()])
            .quiet()
    });
    match copied {
        Ok(()) => say(format!("logs of the cluster's components: {}", to.join(&spec.name).display())),
        Err(error) => say(format!("the logs of the cluster's components could not be kept: {error:#}")),
    }
}
