//! The sealed files of one commit, found by their secrets' paths: what a read-only mount shows.

use std::collections::{BTreeMap, BTreeSet};

use super::SUFFIX;
use super::file::SealedFile;
use super::name::RepositoryName;

/// All sealed files of one repository at one commit. They stay sealed; it holds no key and no value.
#[derive(Clone, Debug)]
pub struct Snapshot {
    commit: String,
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
    /// Takes what is sealed for `repository` out of a commit's files (name and text). A file that is not readable, or of
    /// another repository, is left out and reported; of two files for one path both are, since nothing says which counts.
    pub fn read<'a>(
        repository: &RepositoryName,
        commit: &str,
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut this = Self { commit: commit.into(), secrets: BTreeMap::new(), problems: Vec::new() };
        let mut twice = BTreeSet::new();
        for (name, text) in files.into_iter().filter(|(name, _)| name.ends_with(SUFFIX)) {
            match text.parse::<SealedFile>() {
                Err(error) => this.problems.push(format!("{name}: {error}")),
                Ok(file) if file.repository() != repository => {
                    this.problems
                        .push(format!("{name}: belongs to repository {}, not {repository}", file.repository()));
                }
                Ok(file) => {
                    let path = file.path().to_owned();
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

    /// The file of the secret `path`.
    pub fn get(&self, path: &str) -> Option<&SealedFile> {
        self.secrets.get(path).map(|found| &found.file)
    }

    /// Names in a folder (empty, or with a slash at its end), sorted; those of folders end with a slash.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let names = self.secrets.keys().filter_map(|path| path.strip_prefix(folder));
        let names = names.map(|rest| rest.find('/').map_or(rest, |slash| &rest[..=slash]));
        names.map(ToOwned::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What is left out, and why; without values.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}
