//! `pins.toml`: every version of something from outside.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::paths;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pins {
    /// Programs by name.
    pub(crate) programs: BTreeMap<String, Program>,
    /// Debian packages of this machine.
    pub(crate) debian: Debian,
    /// The root file system under the project's image.
    pub(crate) image: RootFs,
}

/// One program, or several from the same source.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Program {
    /// Version; part of the folder's name in the cache.
    pub(crate) version: String,
    /// How long it takes from nothing on two cores.
    pub(crate) seconds: u64,
    /// The programs that it yields, as paths inside what is unpacked or built.
    pub(crate) files: Vec<String>,
    /// How it is come by.
    #[serde(flatten)]
    pub(crate) source: Source,
}

/// How a program is come by.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub(crate) enum Source {
    /// Compiled from a wrapper module.
    Go {
        /// Flags for the linker besides `-s -w`.
        #[serde(default)]
        ldflags: String,
        /// Whether C is linked in.
        #[serde(default)]
        cgo: bool,
        /// What is left out of the module that it is in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parts: Option<Parts>,
    },
    /// Taken out of a Python package.
    Wheel {
        /// `name==version`.
        package: String,
        /// Archives inside archives, outermost first.
        #[serde(default)]
        unpack: Vec<String>,
    },
    /// Compiled from a C file of ours.
    C,
}

/// A Go module of which not everything is built.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts {
    /// Its path.
    pub(crate) module: String,
    /// Files of it, and those of the wrapper that take their places.
    pub(crate) replace: BTreeMap<String, String>,
    /// Files of it that are kept beside the program.
    #[serde(default)]
    pub(crate) keep: Vec<String>,
}

/// Debian packages of this machine, by purpose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Debian {
    /// For a cluster's node.
    pub(crate) cluster: Vec<Package>,
    /// For downloading Python packages.
    pub(crate) python: Vec<Package>,
    /// For making images.
    pub(crate) image: Vec<Package>,
}

/// A package and how to see that it is there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) package: String,
    /// A command on PATH, or a file.
    pub(crate) needs: String,
}

/// A Debian root file system.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootFs {
    /// Debian's release.
    pub(crate) suite: String,
    /// Packages beyond the minimal base.
    pub(crate) include: Vec<String>,
}

/// Reads the pins.
pub(crate) fn load() -> Result<Pins> {
    let path = paths::package().join("pins.toml");
    toml::from_str(&paths::read(&path)?)
        .with_context(|| format!("{} does not parse; compare it with git's", path.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_file_parses_and_its_modules_exist() {
        let pins = super::load().unwrap();
        for (name, program) in &pins.programs {
            if let super::Source::Go { .. } = program.source {
                let module = crate::paths::package().join("programs").join(name).join("go.mod");
                let text = std::fs::read_to_string(&module).unwrap();
                assert!(
                    text.contains(&format!("v{}", program.version)),
                    "{name}: go.mod has another version than pins.toml"
                );
            }
        }
    }

    #[test]
    fn the_dockerfile_has_the_pinned_helm() {
        let pins = super::load().unwrap();
        let dockerfile = std::fs::read_to_string(crate::paths::workspace().join("Dockerfile")).unwrap();
        let helm = format!("cmd/helm@v{} ", pins.programs["helm-kubectl"].version);
        assert!(
            format!("{dockerfile} ").replace('\n', " ").contains(&helm),
            "the Dockerfile has another helm than {helm}"
        );
    }
}
