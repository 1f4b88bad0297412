//! `cargo xtask tidy`: the invariants of the design that no compiler holds.

mod crates;
mod rooms;
mod text;

use anyhow::{Result, bail};

use crate::{
    paths,
    shell::{Cmd, say},
};

/// A file of the repository.
struct File {
    /// Path from the workspace's top folder.
    path: String,
    /// Its content.
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of it is test code.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.split('/').any(|part| part == "tests")
    }

    /// The lines in front of an inline test module.
    fn code(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        // `mod tests;` only names another file; the code goes on behind it.
        let inline =
            |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{');
        let end = lines.windows(2).position(inline).unwrap_or(lines.len());
        lines[..end].to_vec()
    }
}

/// `cargo xtask tidy`.
pub(crate) fn run() -> Result<()> {
    let findings = findings()?;
    for finding in &findings {
        say(finding);
    }
    match findings.len() {
        0 => Ok(()),
        n => bail!("tidy found {n} things that are not as the design wants them; each is named above with its place"),
    }
}

fn findings() -> Result<Vec<String>> {
    let files = files()?;
    let mut found: Vec<String> = files.iter().flat_map(|f| [text::check(f), rooms::check(f)].concat()).collect();
    found.extend(crates::check(&files)?);
    found.sort();
    Ok(found)
}

/// All text files that git tracks or would track.
fn files() -> Result<Vec<File>> {
    let top = paths::workspace();
    let list = Cmd::new("git").dir(&top).args(["ls-files", "--cached", "--others", "--exclude-standard"]).read()?;
    // One that is deleted but not yet committed can not be read; a picture is no text.
    let read = |path: &str| Some(File { path: path.to_owned(), text: std::fs::read_to_string(top.join(path)).ok()? });
    Ok(list.lines().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let findings = findings().unwrap();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    #[test]
    fn inline_tests_are_no_code_and_a_named_test_file_ends_nothing() {
        let file = |text: &str| File { path: "a/src/b.rs".to_owned(), text: text.to_owned() };
        assert_eq!(file("a\n#[cfg(test)]\nmod tests {\n}\n").code(), ["a"]);
        assert_eq!(file("a\n#[cfg(test)]\nmod tests;\nb").code().len(), 4);
    }
}
