//! `KEY=VALUE`, `KEY=@FILE`, `-`: the data of a secret from the command line.
#![expect(clippy::disallowed_methods, reason = "reads the files that the command line names")]

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

/// Reads the data that the arguments name.
pub(super) fn read(pairs: &[String]) -> Result<Map<String, Value>> {
    if pairs.iter().any(|pair| pair == "-") {
        if pairs.len() > 1 {
            bail!("`-` reads the whole secret from stdin and can not be mixed with KEY=VALUE");
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read stdin")?;
        return object(&text);
    }
    pairs.iter().map(|pair| one(pair)).collect()
}

fn object(text: &str) -> Result<Map<String, Value>> {
    // The parser's own words would quote the input, which is secret: say only where it stopped.
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => bail!("stdin holds no JSON object; write {{\"key\": \"value\"}}"),
        Err(error) => bail!("stdin holds no JSON object: it breaks at line {} column {}", error.line(), error.column()),
    }
}

fn one(pair: &str) -> Result<(String, Value)> {
    let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        bail!("an argument is not KEY=VALUE (nor `-` for JSON on stdin)");
    };
    let value = match value.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("read file {file} for key `{key}` (a value that begins with @ is written \\@)"))?,
        None => value.strip_prefix('\\').filter(|rest| rest.starts_with('@')).unwrap_or(value).to_owned(),
    };
    Ok((key.to_owned(), Value::String(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[&str]) -> Result<String> {
        read(&pairs.iter().map(ToString::to_string).collect::<Vec<_>>()).map(|map| Value::Object(map).to_string())
    }

    #[test]
    fn pairs_are_text() {
        assert_eq!(
            check(&["a=1", "b=x=y", "c=", r"d=\@home"]).expect("pairs"),
            r#"{"a":"1","b":"x=y","c":"","d":"@home"}"#
        );
    }

    #[test]
    fn a_file_is_read_as_it_is() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "line\n").expect("written");
        assert_eq!(check(&[&format!("k=@{}", file.path().display())]).expect("a file"), r#"{"k":"line\n"}"#);
    }

    #[test]
    fn mistakes_do_not_repeat_the_value() {
        assert_eq!(
            check(&["hunter2"]).expect_err("no pair").to_string(),
            "an argument is not KEY=VALUE (nor `-` for JSON on stdin)"
        );
        let error = object("{\"k\": hunter2}").expect_err("no JSON").to_string();
        assert_eq!(error, "stdin holds no JSON object: it breaks at line 1 column 7");
    }
}
