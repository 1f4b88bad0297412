//! Building the workspace's own programs.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    paths,
    shell::{Cmd, say},
};

/// A program of the workspace.
pub(crate) struct Program {
    /// Its package.
    pub(crate) package: &'static str,
    /// Its binary target.
    pub(crate) binary: &'static str,
    /// The profile to build it with.
    pub(crate) profile: &'static str,
    /// The feature with which a build of profile `dev` shares every dependency with the workspace's tests: a program alone
    /// asks less of tokio and others than all together, and cargo would compile them, and all that use them, once more.
    shared: Option<&'static str>,
}

/// The daemon and command line, as developers build it.
pub(crate) const HOMELAB: Program =
    Program { package: "homelab-bin", binary: "homelab", profile: "dev", shared: Some("development") };
/// What runs in other people's pods, as it ships.
pub(crate) const AGENT: Program =
    Program { package: "homelab-agent", binary: "homelab-agent", profile: "agent", shared: None };
/// The application that demo and tests roll out.
pub(crate) const TESTAPP: Program =
    Program { package: "homelab-testapp", binary: "homelab-testapp", profile: "dev", shared: None };

/// A `cargo` command in the workspace: the cargo that runs this program, with its toolchain.
pub(crate) fn cargo() -> Cmd {
    once_in_ci(Cmd::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).dir(&paths::workspace()))
}

/// Continuous integration compiles everything once: what serves the next compilation only costs time and disk there.
pub(crate) fn once_in_ci(cmd: Cmd) -> Cmd {
    if std::env::var_os("CI").is_some() { cmd.env("CARGO_INCREMENTAL", "0") } else { cmd }
}

impl Program {
    /// Builds it without any shared library and says where it is.
    ///
    /// The flag is given to the program alone, by `cargo rustc`: in RUSTFLAGS it would rebuild every dependency, and the
    /// file must run in images that have no or another libc.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        self.build_as(self.profile)
    }

    /// The same with another profile.
    pub(crate) fn build_as(&self, profile: &str) -> Result<PathBuf> {
        say(format!("building {} (profile {profile})", self.binary));
        let features = self.shared.filter(|_| profile == "dev").map(|feature| format!("--features={feature}"));
        let said = cargo()
            .args(["rustc", "--quiet", "--package", self.package, "--bin", self.binary, "--profile", profile])
            .args(features)
            .args(["--message-format=json-render-diagnostics", "--", "-C", "target-feature=+crt-static"])
            .read_shown()
            .with_context(|| format!("{} does not build; its messages are above", self.binary))?;
        executable(&said, self.binary).with_context(|| format!("cargo built no program {}", self.binary))
    }
}

/// Builds a program of the workspace that runs on this machine only, and says where it is.
pub(crate) fn build_here(package: &str, binary: &str, profile: &str) -> Result<PathBuf> {
    // In development as the tests are built, whose dependencies are then the same.
    let selection = if profile == "dev" { vec!["--workspace", "--all-features"] } else { vec!["--package", package] };
    let said = cargo()
        .args(["build", "--quiet", "--bin", binary, "--profile", profile, "--message-format=json-render-diagnostics"])
        .args(selection)
        .read_shown()
        .with_context(|| format!("{binary} does not build; its messages are above"))?;
    executable(&said, binary).with_context(|| format!("cargo built no program {binary}"))
}

/// The file that cargo's messages name for this binary.
fn executable(messages: &str, binary: &str) -> Option<PathBuf> {
    let parsed = messages.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    let ours = parsed.filter(|m| m["reason"] == "compiler-artifact" && m["target"]["name"] == binary);
    ours.filter_map(|m| m["executable"].as_str().map(PathBuf::from)).next_back()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_is_found_among_other_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"homelab"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"homelab"},"executable":"/t/homelab"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(super::executable(messages, "homelab"), Some("/t/homelab".into()));
        assert_eq!(super::executable(messages, "other"), None);
    }
}
