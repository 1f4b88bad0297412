//! Names of secrets.

use std::fmt;

use crate::Error;

const MAX_PATH: usize = 512;

/// One secret: a mount and a path in it, `kv/web/db`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretPath {
    full: String,
    mount: usize,
}

impl SecretPath {
    /// Reads `MOUNT/PATH`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        check(text, text)?;
        let wrong = || Error::Invalid(format!("{text:?} is not a path of a secret: write MOUNT/PATH, as in kv/web/db"));
        Ok(Self { mount: text.find('/').ok_or_else(wrong)?, full: text.into() })
    }

    /// The mount, `kv`.
    pub fn mount(&self) -> &str {
        &self.full[..self.mount]
    }

    /// The path inside the mount, `web/db`.
    pub fn inner(&self) -> &str {
        &self.full[self.mount + 1..]
    }

    /// The whole, `kv/web/db`.
    pub fn as_str(&self) -> &str {
        &self.full
    }
}

impl fmt::Display for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretPath({})", self.full)
    }
}

/// A folder of secrets: `kv/` or `kv/web/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    full: String,
    mount: usize,
}

impl Folder {
    /// Reads `MOUNT`, `MOUNT/` or `MOUNT/FOLDER/`; the slash at the end may be left out.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bare = text.strip_suffix('/').unwrap_or(text);
        check(bare, text)?;
        Ok(Self { full: format!("{bare}/"), mount: bare.find('/').unwrap_or(bare.len()) })
    }

    /// The mount.
    pub fn mount(&self) -> &str {
        &self.full[..self.mount]
    }

    /// The folder inside the mount, empty or with a slash at its end.
    pub fn inner(&self) -> &str {
        &self.full[self.mount + 1..]
    }

    /// The whole, with a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.full
    }
}

/// Segments that are not empty, `.` or `..`, without control characters: what a policy matches is what is read.
fn check(path: &str, shown: &str) -> Result<(), Error> {
    let wrong = |why: &str| Err(Error::Invalid(format!("{shown:?} is not a path of a secret: {why}")));
    if path.len() > MAX_PATH {
        return Err(Error::Invalid(format!(
            "a path of a secret may have {MAX_PATH} bytes, this one has {}",
            path.len()
        )));
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return wrong("an empty part, `.` and `..` are not allowed");
    }
    if path.chars().any(|c| c.is_control()) {
        return wrong("control characters are not allowed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_a_mount_and_plain_parts() {
        let path = SecretPath::parse("kv/web/db").unwrap();
        assert_eq!((path.mount(), path.inner(), path.as_str()), ("kv", "web/db", "kv/web/db"));
        for wrong in ["", "kv", "kv/", "/kv/a", "kv//a", "kv/a/", "kv/../a", "kv/./a", "kv/a\nb", &"k/".repeat(300)] {
            assert!(SecretPath::parse(wrong).is_err(), "{wrong:?}");
        }
        insta::assert_snapshot!(SecretPath::parse("kv").unwrap_err(), @r#""kv" is not a path of a secret: write MOUNT/PATH, as in kv/web/db"#);
    }

    #[test]
    fn folders_end_with_a_slash() {
        for (text, full, inner) in
            [("kv", "kv/", ""), ("kv/", "kv/", ""), ("kv/web", "kv/web/", "web/"), ("kv/web/", "kv/web/", "web/")]
        {
            let folder = Folder::parse(text).unwrap();
            assert_eq!((folder.as_str(), folder.mount(), folder.inner()), (full, "kv", inner));
        }
        assert!(Folder::parse("kv//").is_err() && Folder::parse("/").is_err() && Folder::parse("").is_err());
    }
}
