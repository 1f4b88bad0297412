//! The sealed files of one commit, found by their secrets' paths: what the mount `git` shows.

use std::collections::{BTreeMap, BTreeSet};

use super::SUFFIX;
use super::file::SealedFile;

/// All sealed files of one commit. They stay sealed; it holds no key and no value.
#[derive(Clone, Debug)]
pub struct Snapshot {
    commit: String,
    /// By the secret's logical path.
    secrets: BTreeMap<String, Found>,
    problems: Vec<String>,
}

#[derive(Clone, Debug)]
struct Found {
    /// Name of the file in the repository.
    name: String,
    file: SealedFile,
}

impl Snapshot {
    /// Takes the sealed ones out of a commit's files (name and text). A file that is not readable is left out and
    /// reported; of two files for one secret both are, since nothing says which counts.
    pub fn read<'a>(commit: &str, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut this = Self { commit: commit.into(), secrets: BTreeMap::new(), problems: Vec::new() };
        let mut twice = BTreeSet::new();
        for (name, text) in files.into_iter().filter(|(name, _)| name.ends_with(SUFFIX)) {
            match text.parse::<SealedFile>() {
                Err(error) => this.problems.push(format!("{name}: {error}")),
                Ok(file) => {
                    let path = file.logical_path();
                    if let Some(other) = this.secrets.insert(path.clone(), Found { name: name.into(), file }) {
                        let other = other.name;
                        this.problems.push(format!("{name} and {other} are both the secret {path}: keep one"));
                        twice.insert(path);
                    }
                }
            }
        }
        this.secrets.retain(|path, _| !twice.contains(path));
        this.problems.sort_unstable();
        this
    }

    /// The commit that they are from.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The file of a secret by its logical path, `git/REPOSITORY/PATH`.
    pub fn get(&self, path: &str) -> Option<&SealedFile> {
        self.secrets.get(path).map(|found| &found.file)
    }

    /// The names of the files in the repository, and the files, by logical path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &SealedFile)> {
        self.secrets.values().map(|found| (found.name.as_str(), &found.file))
    }

    /// What is left out, and why; without values.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}
