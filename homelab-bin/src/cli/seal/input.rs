//! Plain files that are sealed: YAML, JSON, `.env`, and a Kubernetes Secret in the first two. Pure. No error quotes a
//! line, since any line may hold the secret.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use homelab_secrets::transfer::kubernetes;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// What a plain file holds.
#[derive(Default)]
pub(in crate::cli) struct Plain {
    pub(in crate::cli) values: Map<String, Value>,
    /// Keys whose value YAML read as a number, `true` or `false`: `0123` or `1e5` are not what they look like.
    pub(in crate::cli) not_text: Vec<String>,
}

/// Reads a plain file by the end of its name; YAML (and with it JSON) where that says nothing.
pub(super) fn parse(file: &Path, text: &str) -> Result<Plain> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let shown = file.display();
    if name == ".env" || name.ends_with(".env") || name.starts_with(".env.") {
        return Ok(Plain { values: env(text).map_err(|error| anyhow!("{shown}: {error}"))?, not_text: Vec::new() });
    }
    let json = name.ends_with(".json");
    let plain = if json { object(&shown.to_string(), from_json(text)) } else { yaml(&shown.to_string(), text) }?;
    let values = &plain.values;
    if values.get("kind").and_then(Value::as_str) == Some("Secret") && values.contains_key("apiVersion") {
        return Ok(Plain {
            values: kubernetes::values(values).map_err(|e| anyhow!("{shown}: {e}"))?,
            not_text: Vec::new(),
        });
    }
    Ok(Plain { not_text: if json { Vec::new() } else { plain.not_text }, ..plain })
}

/// Reads YAML, and JSON that YAML would not take.
pub(super) fn yaml(shown: &str, text: &str) -> Result<Plain> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let value = serde_saphyr::from_str_with_options(text, options).or_else(|error| {
        from_json(text).or_else(|_| {
            let place = error.location().map(|at| format!(": it breaks at line {} column {}", at.line(), at.column()));
            bail!("is not YAML{}", place.unwrap_or_default())
        })
    });
    object(shown, value)
}

fn from_json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| anyhow!("is not JSON: it breaks at line {} column {}", e.line(), e.column()))
}

fn object(shown: &str, value: Result<Value>) -> Result<Plain> {
    let values = match value.map_err(|error| anyhow!("{shown} {error}"))? {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => bail!("{shown} holds no keys with values: write `key: value`"),
    };
    let not_text = values.iter().filter(|(_, value)| value.is_number() || value.is_boolean());
    let not_text = not_text.map(|(key, _)| key.clone()).collect();
    Ok(Plain { values, not_text })
}

/// `KEY=VALUE` lines: `export` in front and `#` comments are left out; single quotes keep all, double quotes know
/// `\n \r \t \" \\ \$`, a value without quotes ends in front of ` #`. Nothing is ever replaced (`$HOME` stays).
fn env(text: &str) -> Result<Map<String, Value>> {
    let mut values = Map::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let total = text.lines().count();
    while !rest.is_empty() {
        let line = total - rest.lines().count() + 1;
        let (first, _) = rest.split_once('\n').unwrap_or((rest, ""));
        let bare = first.trim();
        if bare.is_empty() || bare.starts_with('#') {
            rest = rest.get(first.len() + 1..).unwrap_or_default();
            continue;
        }
        let wrong = || anyhow!("line {line} is not KEY=VALUE");
        let (key, after) = rest.split_once('=').filter(|(key, _)| !key.contains('\n')).ok_or_else(wrong)?;
        let key = key.trim();
        let key = key.strip_prefix("export ").unwrap_or(key).trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let (value, left) =
            env_value(after).ok_or_else(|| anyhow!("line {line}: the value of {key} has no end quote"))?;
        if values.insert(key.to_owned(), value.into()).is_some() {
            bail!("line {line}: {key} stands here twice");
        }
        rest = left;
    }
    Ok(values)
}

fn next_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, next)| next)
}

/// One value and what comes behind its line.
fn env_value(text: &str) -> Option<(String, &str)> {
    let start = text.trim_start_matches([' ', '\t']);
    if let Some(quoted) = start.strip_prefix('\'') {
        let (value, rest) = quoted.split_once('\'')?;
        return Some((value.to_owned(), next_line(rest)));
    }
    let Some(quoted) = start.strip_prefix('"') else {
        let line = text.split('\n').next().unwrap_or_default();
        let value = line.find(" #").map_or(line, |end| &line[..end]).trim();
        return Some((value.to_owned(), next_line(text)));
    };
    let (mut value, mut chars) = (String::new(), quoted.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, next_line(&quoted[at + 1..]))),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('"' | '\\' | '$') => value.push(c),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

/// YAML that reads back as exactly this; JSON, which is YAML too, where the writer would change something.
pub(super) fn shown(data: &Map<String, Value>) -> Result<Zeroizing<String>> {
    if data.is_empty() {
        return Ok(Zeroizing::new(String::new()));
    }
    let sorted: std::collections::BTreeMap<_, _> = data.iter().collect();
    if let Ok(text) = serde_saphyr::to_string(&sorted).map(Zeroizing::new)
        && yaml("", &text).is_ok_and(|read| read.values == *data)
    {
        return Ok(text);
    }
    Ok(Zeroizing::new(serde_json::to_string_pretty(&sorted)? + "\n"))
}

#[cfg(test)]
mod tests;
